//! The pod and the container of a process, by the path of its control group. Pure.

use super::model::{ContainerId, PodUid};

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `None`: not in a pod.
    pub pod: Option<PodUid>,
    pub container: Option<ContainerId>,
}

/// Reads the text of `/proc/PID/cgroup`.
pub fn place(_text: &str) -> Place {
    Place::default()
}
