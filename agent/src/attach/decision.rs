//! Whether a process is traced, and why, or why not. In: what is selected, what is known of the process and what its pod
//! says. Out: a [`Decision`]. Pure.
//!
//! An exclusion wins over everything, a number that was named over the pod, and a pod's refusal over all other selections.

use std::fmt;

use super::tracked::Reason;
use super::Selection;
use crate::capture::event::HostPid;
use crate::pods::{Choice, Place, Why};

/// The executable of the process that holds a pod's namespaces, which every container runtime starts by this path.
const SANDBOX: &str = "/pause";

/// A process that is to be decided of.
#[derive(Debug)]
pub struct Case<'a> {
    pub pid: HostPid,
    /// Empty: a kernel thread, or it cannot be read.
    pub executable_path: &'a str,
    pub place: &'a Place,
    /// What Kubernetes says of its pod; `None` outside pods, and without Kubernetes.
    pub choice: Option<Choice>,
    pub inherited: Option<Inherited>,
}

/// It was started by a traced process, one that is not traced for its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    pub parent: HostPid,
    /// See [`super::tracked::Tracked::is_named`].
    pub is_named: bool,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Traced(Reason),
    /// The API server has not told of its pod yet.
    Pending,
    Left(Left),
}

/// Why a process is not traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    Excluded,
    NotSelected,
    /// It holds the pod's namespaces and serves nobody.
    Sandbox,
    /// It is in a pod's control group, but in no container.
    ContainerRuntime,
    Pod(Why),
    /// Its pod was not told of in time, or not at all.
    PodUnknown,
    /// It is chosen, and will be looked at in a moment.
    NotLookedAt,
}

/// `port` looks for a port that was named and that the process listens on.
pub fn decide(
    selection: &Selection,
    case: &Case<'_>,
    port: impl FnOnce() -> Option<u16>,
) -> Decision {
    if selection.excludes(case.executable_path) {
        return Decision::Left(Left::Excluded);
    }
    let other = || other(selection, case, port);
    let left = match &case.choice {
        _ if is_named(selection, case) => Left::NotSelected,
        Some(Choice::Refused(why)) => return Decision::Left(Left::Pod(why.clone())),
        None => Left::NotSelected,
        Some(_) if case.place.container.is_none() => Left::ContainerRuntime,
        Some(_) if case.executable_path == SANDBOX => Left::Sandbox,
        Some(Choice::Traced(why)) => return Decision::Traced(Reason::Pod(why.clone())),
        Some(Choice::Unknown) => return Decision::Pending,
        Some(Choice::Unchosen(why)) => Left::Pod(why.clone()),
    };
    other().map_or(Decision::Left(left), Decision::Traced)
}

/// What is decided when the pod has not been told of in time.
pub fn decide_without_pod(
    selection: &Selection,
    case: &Case<'_>,
    port: impl FnOnce() -> Option<u16>,
) -> Decision {
    if selection.excludes(case.executable_path) {
        return Decision::Left(Left::Excluded);
    }
    other(selection, case, port).map_or(Decision::Left(Left::PodUnknown), Decision::Traced)
}

/// Whether its own number was named, or that of a process it descends from.
pub fn is_named(selection: &Selection, case: &Case<'_>) -> bool {
    selection.pids.contains(&case.pid) || case.inherited.is_some_and(|inherited| inherited.is_named)
}

fn other(
    selection: &Selection,
    case: &Case<'_>,
    port: impl FnOnce() -> Option<u16>,
) -> Option<Reason> {
    if selection.chooses(case.pid, case.executable_path) {
        return Some(Reason::Selected);
    }
    let child = case.inherited.map(|inherited| inherited.parent);
    child
        .map(Reason::Child)
        .or_else(|| port().map(Reason::Port))
}

impl Left {
    /// What to do to have it traced; empty where there is nothing.
    pub fn remedy(&self, pid: HostPid, port: Option<u16>) -> String {
        match (self, port) {
            (Self::Excluded, _) => "take it out of --exclude-exec".to_owned(),
            (Self::NotSelected, Some(port)) => format!("--pid {} or --port {port}", pid.0),
            (Self::NotSelected, None) => format!("--pid {}", pid.0),
            (Self::Pod(why), _) => why.remedy.clone().unwrap_or_default(),
            (Self::Sandbox | Self::ContainerRuntime | Self::NotLookedAt, _) => String::new(),
            (Self::PodUnknown, _) => "see whether the agent reaches the API server".to_owned(),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded => f.write_str("an exclusion names it"),
            Self::NotSelected => f.write_str("nothing selects it"),
            Self::Sandbox => f.write_str("is the pod's sandbox"),
            Self::ContainerRuntime => f.write_str("is of the container runtime"),
            Self::Pod(why) => why.fmt(f),
            Self::NotLookedAt => f.write_str("chosen, but not looked at yet"),
            Self::PodUnknown => f.write_str("the API server has not told of its pod"),
        }
    }
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;
    use crate::pods::{ContainerId, PodUid};

    const PID: HostPid = HostPid(7);

    fn why(text: &'static str) -> Why {
        text.into()
    }

    fn selection(pids: &[HostPid], all: bool) -> Selection {
        let excluded = [Glob::new("sshd").unwrap()];
        Selection::new(pids.to_vec(), vec![80], all, &[], &excluded).unwrap()
    }

    fn in_container() -> Place {
        Place {
            pod: Some(PodUid("uid".into())),
            container: Some(ContainerId("id".into())),
        }
    }

    fn of_path(selection: &Selection, path: &str, choice: Option<Choice>) -> Decision {
        let place = in_container();
        let case = Case {
            pid: PID,
            executable_path: path,
            place: &place,
            choice,
            inherited: None,
        };
        decide(selection, &case, || None)
    }

    fn of(selection: &Selection, choice: Choice) -> Decision {
        of_path(selection, "/app", Some(choice))
    }

    #[test]
    fn the_pod_decides() {
        let nobody = selection(&[], false);
        let labelled = why("namespace shop is labelled");
        assert_eq!(
            of(&nobody, Choice::Traced(labelled.clone())),
            Decision::Traced(Reason::Pod(labelled))
        );
        let not = why("namespace shop is not labelled");
        assert_eq!(
            of(&nobody, Choice::Unchosen(not.clone())),
            Decision::Left(Left::Pod(not))
        );
        assert_eq!(of(&nobody, Choice::Unknown), Decision::Pending);
    }

    #[test]
    fn other_selections_go_on_beside_pods_but_not_against_their_refusal() {
        let all = selection(&[], true);
        assert_eq!(
            of(&all, Choice::Unchosen(why("not labelled"))),
            Decision::Traced(Reason::Selected)
        );
        let disabled = why("annotation says disabled");
        let left = Decision::Left(Left::Pod(disabled.clone()));
        assert_eq!(of(&all, Choice::Refused(disabled.clone())), left);
        let named = selection(&[PID], false);
        assert_eq!(
            of(&named, Choice::Refused(disabled)),
            Decision::Traced(Reason::Selected)
        );
        assert_eq!(
            of(&named, Choice::Unknown),
            Decision::Traced(Reason::Selected)
        );
    }

    #[test]
    fn an_exclusion_wins_over_the_pod_and_the_number() {
        let named = selection(&[PID], false);
        let labelled = Some(Choice::Traced(why("labelled")));
        assert_eq!(
            of_path(&named, "/usr/sbin/sshd", labelled),
            Decision::Left(Left::Excluded)
        );
    }

    #[test]
    fn sandboxes_and_container_runtimes_are_left() {
        let nobody = selection(&[], false);
        let labelled = || Some(Choice::Traced(why("labelled")));
        assert_eq!(
            of_path(&nobody, SANDBOX, labelled()),
            Decision::Left(Left::Sandbox)
        );
        let place = Place {
            container: None,
            ..in_container()
        };
        let case = Case {
            pid: PID,
            executable_path: "/usr/bin/conmon",
            place: &place,
            choice: labelled(),
            inherited: None,
        };
        let decision = decide(&nobody, &case, || None);
        assert_eq!(decision, Decision::Left(Left::ContainerRuntime));
    }

    #[test]
    fn children_and_listeners_outside_pods_are_as_before() {
        let ports = selection(&[], false);
        let place = Place::default();
        let case = |inherited| Case {
            pid: PID,
            executable_path: "/app",
            place: &place,
            choice: None,
            inherited,
        };
        let parent = Inherited {
            parent: HostPid(1),
            is_named: true,
        };
        assert_eq!(
            decide(&ports, &case(Some(parent)), || None),
            Decision::Traced(Reason::Child(HostPid(1)))
        );
        assert_eq!(
            decide(&ports, &case(None), || Some(80)),
            Decision::Traced(Reason::Port(80))
        );
        assert_eq!(
            decide(&ports, &case(None), || None),
            Decision::Left(Left::NotSelected)
        );
    }

    #[test]
    fn without_its_pod_only_other_selections_count() {
        let place = in_container();
        let case = Case {
            pid: PID,
            executable_path: "/app",
            place: &place,
            choice: Some(Choice::Unknown),
            inherited: None,
        };
        let left = Decision::Left(Left::PodUnknown);
        let nobody = selection(&[], false);
        assert_eq!(decide_without_pod(&nobody, &case, || None), left);
        let all = selection(&[], true);
        let traced = Decision::Traced(Reason::Selected);
        assert_eq!(decide_without_pod(&all, &case, || None), traced);
    }
}
