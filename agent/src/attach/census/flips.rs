//! What becomes of processes when labels flip, without a kernel: tests only.

use std::sync::Arc;

use super::{Census, Chosen, Reason, Tracked};
use crate::attach::{ProcessFacts, Resolution, Selection, Standing};
use crate::capture::event::HostPid;
use crate::pods::model::{Container, ContainerRun, Kind, Namespace, Pod};
use crate::pods::{Changes, Config, ContainerId, Index, Place, PodUid, Update};

const PID: HostPid = HostPid(7);

fn census(all: bool) -> Census {
    let selection = Selection::new(vec![], vec![], all, &[], &[]).unwrap();
    Census::new(selection, Some(Index::new(Arc::new(Config::default()))))
}

fn namespace(label: Option<&str>) -> Update {
    Update::Namespace(Namespace {
        name: "shop".into(),
        uid: "n".into(),
        label: label.map(Into::into),
    })
}

/// A pod of two containers; `id`: what its status says of the first.
fn pod(trace: Option<&str>, id: Option<&str>) -> Update {
    let container = |name: &str, id: Option<&str>| Container {
        name: name.into(),
        run: id.map(|id| ContainerRun {
            id: ContainerId(id.into()),
            ..ContainerRun::default()
        }),
        ..Container::default()
    };
    let annotations = trace.map(|value| ("spanlet.dev/trace".to_owned(), value.to_owned()));
    Update::Pod(Box::new(Pod {
        key: PodUid("uid".into()),
        uid: "uid".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        annotations: annotations.into_iter().collect(),
        containers: vec![container("web", id), container("side", None)],
        ..Pod::default()
    }))
}

fn facts() -> ProcessFacts {
    ProcessFacts {
        pid: PID,
        executable_path: "/app".to_owned(),
        place: Place {
            pod: Some(PodUid("uid".into())),
            container: Some(ContainerId("id".into())),
        },
        ..ProcessFacts::default()
    }
}

impl Census {
    /// What is changed by what was told.
    fn changed(&mut self, updates: Vec<Update>) -> Changes {
        self.told(updates);
        self.pods.as_mut().unwrap().take_changes()
    }

    fn adds(&mut self, reason: Reason) {
        let mut facts = facts();
        self.describe(&mut facts, &reason);
        let tracked = Tracked {
            facts,
            reason,
            ..Tracked::default()
        };
        self.tracked.insert(PID, tracked);
    }

    /// Why it is traced now; `None`: it is left.
    fn still(&self) -> Option<String> {
        let chosen: Chosen = self.chosen_still(PID)?;
        Some(chosen.reason.to_string())
    }
}

fn known(label: Option<&str>) -> Vec<Update> {
    let (namespaces, pods) = (Kind::Namespaces, Kind::Pods);
    vec![
        Update::Begin(namespaces),
        namespace(label),
        Update::Complete(namespaces),
        Update::Node(Box::default()),
        Update::Begin(pods),
        pod(None, None),
        Update::Complete(pods),
    ]
}

#[test]
fn a_label_that_comes_and_goes_has_the_pod_traced_and_left() {
    let mut census = census(false);
    census.changed(known(None));
    let changes = census.changed(vec![namespace(Some("enabled"))]);
    assert!(changes.pods.contains(&PodUid("uid".into())));
    let pods = census.pods.as_mut().unwrap();
    assert!(pods.has_new(&changes), "its processes are looked for");
    assert!(!pods.has_new(&changes), "once");
    census.adds(Reason::Pending);
    assert_eq!(
        census.still().as_deref(),
        Some("namespace shop is labelled")
    );
    census.adds(Reason::Pod("namespace shop is labelled".into()));
    let changes = census.changed(vec![namespace(None)]);
    assert!(changes.pods.contains(&PodUid("uid".into())));
    assert_eq!(census.still(), None);
    assert!(!census.pods.as_mut().unwrap().has_new(&changes));
}

#[test]
fn an_annotation_has_one_pod_left_and_all_does_not_bring_it_back() {
    let mut all = census(true);
    all.changed(known(None));
    all.adds(Reason::Selected);
    assert_eq!(all.still().as_deref(), Some("selected"));
    all.changed(vec![pod(Some("disabled"), None)]);
    assert_eq!(all.still(), None);
}

#[test]
fn who_is_named_by_its_number_stays() {
    let mut census = census(false);
    census.changed(known(Some("disabled")));
    census.adds(Reason::Selected);
    census.tracked.get_mut(&PID).unwrap().is_named = true;
    assert_eq!(census.still().as_deref(), Some("selected"));
}

#[test]
fn a_pod_that_is_not_known_any_more_is_traced_as_it_was() {
    let mut census = census(false);
    census.adds(Reason::Pod("namespace shop is labelled".into()));
    assert_eq!(
        census.still().as_deref(),
        Some("namespace shop is labelled")
    );
}

#[test]
fn a_process_that_is_gone_is_resolved_by_what_its_pod_turns_out_to_be() {
    let mut census = census(false);
    let gone = ProcessFacts {
        standing: Standing::Pending,
        ..facts()
    };
    let resolution = census.resolution(&gone);
    assert_eq!(resolution, Resolution::Traced(Standing::Pending, None));
    census.changed(known(Some("enabled")));
    let resolution = census.resolution(&gone);
    assert!(matches!(
        &resolution,
        Resolution::Traced(Standing::Incomplete, Some(_))
    ));
    census.changed(vec![pod(None, Some("id"))]);
    let Resolution::Traced(Standing::Known, Some(workload)) = census.resolution(&gone) else {
        panic!("its container has a name");
    };
    assert_eq!(workload.container, "web");
    census.changed(vec![namespace(None)]);
    assert_eq!(census.resolution(&gone), Resolution::Refused);
}

#[test]
fn without_kubernetes_pods_say_nothing() {
    let selection = Selection::new(vec![], vec![], true, &[], &[]).unwrap();
    let census = Census::new(selection, None);
    let resolution = census.resolution(&facts());
    assert_eq!(resolution, Resolution::Traced(Standing::Known, None));
}
