//! What is kept of the API server's objects, and how it comes. Plain data.

use std::net::IpAddr;

use smol_str::SmolStr;

/// `metadata.uid` of a pod, with dashes. A static pod's control groups carry a hash of its file instead: the index knows
/// both.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub SmolStr);

/// 64 hexadecimal digits, as container runtimes name containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub SmolStr);

/// What spans say of the pod and the container that their process is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    pub namespace: SmolStr,
    pub pod: SmolStr,
    /// Empty until the API server has told which container the process is in.
    pub container: SmolStr,
    /// Resource attributes, by the semantic conventions, the service's name among them.
    pub attributes: Vec<(&'static str, SmolStr)>,
    /// More may become known soon (the container's name): spans wait for it a little.
    pub is_complete: bool,
}

/// The service at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: SmolStr,
    pub namespace: SmolStr,
}

/// Something that the API server told.
#[derive(Clone, Debug)]
pub enum Update {
    /// To be replaced by what the watch tells.
    Address(IpAddr, Peer),
}
