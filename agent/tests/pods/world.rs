//! A cluster for tests: an index, and short ways to say what the API server told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use spanlet::pods::model::{Ancestor, Container, ContainerRun, Namespace, Node, Owner, Pod, Value};
use spanlet::pods::{
    Changes, Choice, Config, ContainerId, Index, Kind, Place, PodUid, Update, Workload,
};

/// An index and what it said last.
pub struct World {
    pub index: Index,
}

impl World {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    /// The node is known, and no namespace but kube-system.
    pub fn with(config: Config) -> Self {
        let index = Index::new(Arc::new(config));
        let mut world = Self { index };
        world.tell(Update::Begin(Kind::Namespaces));
        world.namespace("kube-system", None);
        world.tell(Update::Complete(Kind::Namespaces));
        world.tell(Update::Begin(Kind::Pods));
        world.tell(Update::Complete(Kind::Pods));
        world.tell(Update::Node(Box::default()));
        world
    }

    pub fn tell(&mut self, update: Update) -> Changes {
        let mut changes = Changes::default();
        self.index.apply(update, &mut changes);
        changes
    }

    pub fn namespace(&mut self, name: &str, label: Option<&str>) -> Changes {
        self.tell(Update::Namespace(namespace(name, label)))
    }

    pub fn pod(&mut self, pod: Pod) -> Changes {
        self.tell(Update::Pod(Box::new(pod)))
    }

    /// What is decided of a pod, and why: `+ …` traced, `- …` refused, `0 …` not chosen, `?` not known yet.
    pub fn choice(&self, uid: &str) -> String {
        match self.index.choice(&key(uid)) {
            Choice::Traced(why) => format!("+ {why}"),
            Choice::Refused(why) => format!("- {why}"),
            Choice::Unchosen(why) => format!("0 {why}"),
            Choice::Unknown => "?".to_owned(),
        }
    }

    pub fn workload(&self, uid: &str, container: &str) -> Arc<Workload> {
        let place = Place {
            pod: Some(key(uid)),
            container: Some(ContainerId(container.into())),
        };
        self.index.workload(&place).unwrap()
    }

    pub fn peer(&self, address: &str) -> Option<String> {
        let peer = self.index.peer(address.parse().unwrap())?;
        Some(format!("{}/{}", peer.namespace, peer.name))
    }
}

/// The attributes of a workload, as text.
pub fn said(workload: &Workload) -> BTreeMap<String, String> {
    let pairs = workload.attributes.iter().map(|(key, value)| {
        let value = match value {
            Value::Text(text) => text.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Texts(texts) => texts.join(" "),
        };
        (key.to_string(), value)
    });
    let said: BTreeMap<_, _> = pairs.collect();
    assert_eq!(said.len(), workload.attributes.len(), "each key once");
    said
}

pub fn key(uid: &str) -> PodUid {
    PodUid(uid.into())
}

pub fn gone(uid: &str) -> Update {
    Update::PodGone(key(uid), uid.into())
}

pub fn changed(uids: &[&str]) -> Changes {
    Changes {
        all: false,
        pods: uids.iter().map(|uid| key(uid)).collect(),
    }
}

pub fn namespace(name: &str, label: Option<&str>) -> Namespace {
    Namespace {
        name: name.into(),
        uid: format!("uid-of-{name}").into(),
        label: label.map(Into::into),
    }
}

/// A pod `web-1` of the namespace `shop` that nothing owns, with one container that has not started.
pub fn pod(uid: &str) -> Pod {
    Pod {
        key: key(uid),
        uid: uid.into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        containers: vec![container("main")],
        ..Pod::default()
    }
}

pub fn container(name: &str) -> Container {
    Container {
        name: name.into(),
        image: format!("registry.example:5000/{name}:v2").into(),
        ..Container::default()
    }
}

pub fn run(id: &str, restarts: u32) -> Option<ContainerRun> {
    Some(ContainerRun {
        id: ContainerId(id.into()),
        runtime: "containerd".into(),
        image_id: "registry.example:5000/main@sha256:0f".into(),
        restarts,
    })
}

pub fn owner(kind: &str, name: &str) -> Owner {
    Owner {
        kind: kind.into(),
        name: name.into(),
        uid: format!("uid-of-{name}").into(),
    }
}

pub fn owned(uid: &str, controller: Owner, ancestor: Ancestor) -> Pod {
    Pod {
        controller: Some(controller),
        ancestor,
        ..pod(uid)
    }
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

pub fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub fn node() -> Node {
    Node {
        uid: "uid-of-node".into(),
        host_name: "node-1.example".into(),
        provider_id: "aws:///eu-west-1a/i-0123".into(),
        machine_id: "machine".into(),
        architecture: "arm64".into(),
        region: "eu-west-1".into(),
        zone: "eu-west-1a".into(),
        instance_type: "m7g.large".into(),
    }
}
