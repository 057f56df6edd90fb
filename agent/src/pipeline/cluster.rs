//! Kubernetes as the loop knows it: what the API server tells, and how it is doing. There where it is on.

use crate::config::Config;
use crate::pods::watch::{self, Watch};
use crate::pods::{Index, Update};

/// The watch; it stops when it is dropped.
pub(crate) struct Cluster {
    watch: Watch,
}

impl Cluster {
    /// Follows this node's pods where Kubernetes is on. Waits for nothing.
    pub fn follow(config: &Config) -> Option<Self> {
        let kubernetes = config.kubernetes.as_ref()?;
        Some(Self {
            watch: watch::start(kubernetes),
        })
    }

    /// How it is doing.
    pub fn status(&self, index: &Index) -> crate::pods::status::Status {
        crate::pods::status::of(index, &self.watch.meter)
    }
}

/// What the API server tells next; never, where Kubernetes is off.
pub(super) async fn next(cluster: &mut Option<Cluster>) -> Vec<Update> {
    let told = match cluster {
        Some(cluster) => cluster.watch.updates.recv().await,
        None => None,
    };
    match told {
        Some(updates) => updates,
        // The watch ends only with the agent.
        None => std::future::pending().await,
    }
}
