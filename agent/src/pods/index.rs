//! What the API server told, as far as this node needs it. In: updates. Out: choices, workloads, peers. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::cgroup::Place;
use super::choice::Choice;
use super::model::{Peer, PodUid, Update, Workload};

/// See the file's head.
#[derive(Debug, Default)]
pub struct Index {}

/// Whose choice or description may be another now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everybody's.
    pub all: bool,
    pub pods: BTreeSet<PodUid>,
}

impl Index {
    /// Takes an update in, and adds whom it concerns.
    pub fn apply(&mut self, _update: Update, _changes: &mut Changes) {}

    /// Whether processes of this pod are traced.
    pub fn choice(&self, _pod: &PodUid) -> Choice {
        Choice::Unknown
    }

    /// What spans say of a place; `None` where its pod is not known.
    pub fn workload(&self, _place: &Place) -> Option<Arc<Workload>> {
        None
    }

    /// The service that a client meant by this address.
    pub fn peer(&self, _address: IpAddr, _port: u16) -> Option<Peer> {
        None
    }
}
