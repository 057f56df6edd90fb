//! What Kubernetes knows of this node's processes: in from the API server, out to the choice of who is traced and to what
//! spans say of their pod.
//!
//! [`cgroup`] names a process's pod and container, [`watch`] follows the API server, [`index`] keeps what it told,
//! [`choice`] decides by it, [`attributes`] says it in the words of the semantic conventions; [`events`] tells administrators
//! what is wrong.

mod addresses;
mod attributes;
pub mod cgroup;
pub mod choice;
mod config;
pub mod events;
mod image;
pub mod index;
pub mod model;
pub mod notice;
pub mod selector;
pub mod status;
pub mod watch;

pub use cgroup::Place;
pub use choice::{Choice, Why};
pub use config::{Config, Limits};
pub use index::{Changes, Index};
pub use model::{ContainerId, Kind, Peer, PodUid, Update, Workload};
pub use status::Status;

/// A UID as a number: the same for the same text, as long as the agent runs.
pub(crate) fn holder(uid: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}
