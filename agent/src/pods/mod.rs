//! What Kubernetes knows of this node's processes: in from the API server, out to the choice of who is traced and to what
//! spans say of their pod.
//!
//! [`cgroup`] names a process's pod and container, [`watch`] follows the API server, [`index`] keeps what it told,
//! [`choice`] decides by it.

pub mod cgroup;
pub mod choice;
pub mod index;
pub mod model;
pub mod watch;

pub use cgroup::Place;
pub use choice::{Choice, Why};
pub use index::{Changes, Index};
pub use model::{ContainerId, PodUid, Update, Workload};
