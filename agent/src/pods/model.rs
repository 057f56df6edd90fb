//! What is kept of the API server's objects, and how it comes. Plain data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use smol_str::SmolStr;

/// `metadata.uid` of a pod, with dashes; of a static pod the hash of its file, which its control groups carry instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub SmolStr);

/// 64 hexadecimal digits, as container runtimes name containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub SmolStr);

/// What spans say of the pod and the container that their process is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    pub namespace: SmolStr,
    pub pod: SmolStr,
    /// Empty until the API server has told which container the process is in.
    pub container: SmolStr,
    /// Resource attributes, by the semantic conventions, the service's name among them; each key once.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
    /// Nothing more is to come soon (the container's name, what owns the pod): until then spans wait a little.
    pub is_complete: bool,
}

/// The value of a resource attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(SmolStr),
    Integer(i64),
    Texts(Vec<SmolStr>),
}

/// The service at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: SmolStr,
    pub namespace: SmolStr,
}

/// What is asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Those of this node.
    Pods,
    Namespaces,
    Services,
    /// This one.
    Node,
    /// What owns the pods of this node: ReplicaSets and Jobs.
    Owners,
    /// Those of all nodes, only where that is wished.
    ClusterPods,
}

/// Something that the API server told.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// All that there are of a kind will be told now.
    Begin(Kind),
    /// All have been told: what was not, is gone.
    Complete(Kind),
    Pod(Box<Pod>),
    /// By its key and the UID that the API server knows it by.
    PodGone(PodUid, SmolStr),
    /// What owns the ReplicaSet or the Job with that UID.
    Ancestor(SmolStr, Ancestor),
    Namespace(Namespace),
    NamespaceGone(SmolStr),
    /// Where a service, or a pod of any node ([`Kind::ClusterPods`]), is reached.
    Addresses(Kind, Addresses),
    /// It is no longer reached there.
    AddressesGone(Kind, Addresses),
    Node(Box<Node>),
    /// A kind cannot be followed now; what is known of it stays.
    Failed(Kind, Failure),
}

/// Why a kind cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The agent may not ask.
    Forbidden,
    /// The API server cannot be reached, or answers wrongly.
    Other,
}

/// A pod of this node. Of labels and annotations, those that the configuration needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// As its control groups are named.
    pub key: PodUid,
    pub uid: SmolStr,
    pub namespace: SmolStr,
    pub name: SmolStr,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub controller: Option<Owner>,
    /// What owns the controller.
    pub ancestor: Ancestor,
    /// Its own; none where it has its node's, or gave it back.
    pub addresses: Vec<IpAddr>,
    /// `status.startTime`; empty until it is told.
    pub started: SmolStr,
    /// Those of the specification, those that begin first among them.
    pub containers: Vec<Container>,
}

/// The object that made another and looks after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub kind: SmolStr,
    pub name: SmolStr,
    pub uid: SmolStr,
}

/// What owns a pod's controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ancestor {
    /// It is being asked.
    Unknown,
    /// It cannot be asked.
    Untold,
    #[default]
    None,
    Known(Owner),
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub name: SmolStr,
    /// As the specification has it.
    pub image: SmolStr,
    /// What runs now; `None` until the status tells.
    pub run: Option<ContainerRun>,
    /// Its run before that, while the status tells of it.
    pub before: Option<ContainerRun>,
}

/// One run of a container: from its start to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRun {
    pub id: ContainerId,
    /// `containerd`, `cri-o`, `docker`
    pub runtime: SmolStr,
    pub image_id: SmolStr,
    pub restarts: u32,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    pub name: SmolStr,
    pub uid: SmolStr,
    /// The value of the label that says whether its pods are traced.
    pub label: Option<SmolStr>,
}

/// Where something is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Its UID, as a number that nothing else has.
    pub holder: u64,
    pub addresses: Vec<IpAddr>,
    pub peer: Peer,
}

/// This node, as far as spans tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub uid: SmolStr,
    pub host_name: SmolStr,
    pub provider_id: SmolStr,
    pub machine_id: SmolStr,
    /// `amd64`, `arm64`
    pub architecture: SmolStr,
    pub region: SmolStr,
    pub zone: SmolStr,
    pub instance_type: SmolStr,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Pods,
        Self::Namespaces,
        Self::Services,
        Self::Node,
        Self::Owners,
        Self::ClusterPods,
    ];

    /// As metrics and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::Services => "services",
            Self::Node => "node",
            Self::Owners => "owners",
            Self::ClusterPods => "cluster_pods",
        }
    }
}
