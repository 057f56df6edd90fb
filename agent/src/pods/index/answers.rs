//! What the index says: whom to trace, what spans say of a place, who is at an address. In: what was told. Out: [`Choice`],
//! [`Workload`], [`Peer`]. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use super::Index;
use crate::pods::attributes::{self, Running, Surroundings};
use crate::pods::cgroup::Place;
use crate::pods::choice::{self, Choice, Label, Why};
use crate::pods::model::{Ancestor, ContainerId, Failure, Kind, Peer, Pod, PodUid, Workload};

/// All that is said of a pod.
pub(super) type View = (Choice, Vec<Workload>);

impl Index {
    /// Whether processes of this pod are traced.
    pub fn choice(&self, pod: &PodUid) -> Choice {
        match self.pods.get(pod) {
            Some(known) => self.choice_of(&known.what),
            None => self.choice_of_unknown(),
        }
    }

    /// What spans say of a place; `None` where its pod is not known.
    pub fn workload(&self, place: &Place) -> Option<Arc<Workload>> {
        let pod = &self.pods.get(place.pod.as_ref()?)?.what;
        Some(Arc::new(self.workload_of(pod, place.container.as_ref())))
    }

    /// The service that is reached there now. It is named only if nothing else can be meant: not by an address that a
    /// pod shares with its node.
    pub fn peer(&self, address: IpAddr) -> Option<Arc<Peer>> {
        let address = address.to_canonical();
        let books = [&self.local, &self.services, &self.cluster];
        books
            .into_iter()
            .find_map(|book| book.get(address))
            .cloned()
    }

    fn choice_of(&self, pod: &Pod) -> Choice {
        choice::of(pod, self.label_of(&pod.namespace), &self.config)
    }

    fn label_of(&self, namespace: &SmolStr) -> Label<'_> {
        let state = &self.states[Kind::Namespaces as usize];
        match self.namespaces.get(namespace) {
            Some(known) => Label::Told(known.what.as_deref()),
            None if self.namespaces.len() >= self.config.limits.namespaces => {
                Label::Never("there are more namespaces than are kept")
            }
            None if state.is_complete => Label::Later,
            None => match state.failure {
                Some(Failure::Forbidden) => Label::Never("the agent may not list namespaces"),
                Some(Failure::Other) | None => Label::Later,
            },
        }
    }

    fn choice_of_unknown(&self) -> Choice {
        let state = &self.states[Kind::Pods as usize];
        let limit = self.config.limits.pods;
        if self.present() >= limit {
            let text = format!("pod is not known: {limit} others are");
            let remedy = Some("set pods_max in [kubernetes]".to_owned());
            return Choice::Unchosen(Why {
                text: text.into(),
                remedy,
            });
        }
        match state.failure {
            Some(Failure::Forbidden) if !state.is_complete => {
                Choice::Unchosen("pod is not known: the agent may not list pods".into())
            }
            _ => Choice::Unknown,
        }
    }

    pub(super) fn view(&self, pod: &Pod) -> View {
        let runs = pod.containers.iter().filter_map(|c| c.run.as_ref());
        let ids = runs.map(|run| Some(&run.id)).chain([None]);
        let workloads = ids.map(|id| self.workload_of(pod, id)).collect();
        (self.choice_of(pod), workloads)
    }

    fn workload_of(&self, pod: &Pod, id: Option<&ContainerId>) -> Workload {
        let running = running(pod, id);
        let around = Surroundings {
            cluster_uid: self.cluster_uid.as_ref(),
            node: self.node.as_deref(),
        };
        let is_known = running.is_some_and(|(_, run)| run.is_some()) || id.is_none();
        Workload {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            container: running.map_or(SmolStr::default(), |(container, _)| container.name.clone()),
            attributes: attributes::of(pod, running, around, &self.config),
            is_complete: is_known
                && pod.ancestor != Ancestor::Unknown
                && self.is_settled(Kind::Node)
                && self.is_settled(Kind::Namespaces),
        }
    }

    /// Whether nothing is waited for that everybody's spans tell.
    fn is_settled(&self, kind: Kind) -> bool {
        let state = &self.states[kind as usize];
        state.is_complete || state.failure.is_some()
    }
}

/// The container with an id, and which run of it. A pod's only container is known without its status.
fn running<'a>(pod: &'a Pod, id: Option<&ContainerId>) -> Option<Running<'a>> {
    let id = id?;
    for container in &pod.containers {
        let mut runs = container.run.iter().chain(&container.before);
        if let Some(run) = runs.find(|run| run.id == *id) {
            return Some((container, Some(run)));
        }
    }
    match pod.containers.as_slice() {
        [only] => Some((only, None)),
        _ => None,
    }
}
