//! What the API server told, as far as this node needs it. In: updates. Out: whose choice or description
//! is another ([`Changes`]); what is said of them is in [`answers`]. Pure.
//!
//! What is told again as it was changes nothing; [`Changes`] names only pods that are traced otherwise now, or described
//! otherwise. What the API server stops telling stays as it was: only a complete new telling, or word that something is
//! gone, takes it away.

mod answers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use smol_str::SmolStr;

use super::addresses::Book;
use super::attributes;
use super::model::{Addresses, Ancestor, Failure, Kind, Namespace, Node, Pod, PodUid, Update};
use super::Config;
use answers::View;

/// The namespace whose UID stands for the cluster's (semantic conventions, `k8s.cluster.uid`).
const CLUSTER_NAMESPACE: &str = "kube-system";

/// See the file's head.
#[derive(Debug, Default)]
pub struct Index {
    config: Arc<Config>,
    pods: HashMap<PodUid, Known<Pod>>,
    /// Pods that were deleted, in order.
    gone: VecDeque<PodUid>,
    namespaces: HashMap<SmolStr, Known<Option<SmolStr>>>,
    services: Book,
    local: Book,
    cluster: Book,
    node: Option<Box<Node>>,
    cluster_uid: Option<SmolStr>,
    states: [State; Kind::ALL.len()],
}

/// Something, and in which telling it was told last.
#[derive(Debug)]
struct Known<T> {
    what: T,
    telling: u32,
    is_gone: bool,
}

impl Known<Pod> {
    /// Whether another pod is here, which one that only says so does not replace: a key that is not the pod's own UID is
    /// written by who made it.
    fn is_taken(&self, by: &Pod) -> bool {
        let is_other = (&self.what.namespace, &self.what.name) != (&by.namespace, &by.name);
        is_other && !self.is_gone && by.key.0 != by.uid
    }
}

/// How far a kind was told.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    telling: u32,
    is_complete: bool,
    failure: Option<Failure>,
    dropped: u64,
}

/// Whose choice or description may be another now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everybody's.
    pub all: bool,
    pub pods: BTreeSet<PodUid>,
}

/// What is kept of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub objects: usize,
    /// Because of the kind's bound; of pods also because they say that they are another.
    pub dropped: u64,
}

impl Index {
    /// Nothing is known yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Another configuration, from now on. Labels and annotations that were of no use before are known once the watch has
    /// told them.
    pub fn configure(&mut self, config: Arc<Config>, changes: &mut Changes) {
        if !config.cluster_pods {
            // Nobody would say when an address is another's.
            self.cluster = Book::default();
            self.states[Kind::ClusterPods as usize] = State::default();
        }
        self.config = config;
        changes.all = true;
    }

    /// Takes an update in, and adds whom it concerns.
    pub fn apply(&mut self, update: Update, changes: &mut Changes) {
        match update {
            Update::Begin(kind) => self.begin(kind),
            Update::Complete(kind) => self.complete(kind, changes),
            Update::Pod(pod) => self.pod(*pod, changes),
            Update::PodGone(key, uid) => {
                let is_it = |pod: &Known<Pod>| pod.what.uid == uid;
                if self.pods.get(&key).is_some_and(is_it) {
                    self.pod_gone(&key);
                }
            }
            Update::Ancestor(controller, ancestor) => {
                let is_of =
                    |pod: &Pod| pod.controller.as_ref().is_some_and(|o| o.uid == controller);
                self.alter(is_of, changes, |index| {
                    for pod in index.pods.values_mut().filter(|pod| is_of(&pod.what)) {
                        pod.what.ancestor = ancestor.clone();
                    }
                });
                self.enter_addresses(is_of);
            }
            Update::Namespace(namespace) => self.namespace(namespace, changes),
            Update::NamespaceGone(name) => {
                let is_in = |pod: &Pod| pod.namespace == name;
                self.alter(is_in, changes, |index| drop(index.namespaces.remove(&name)));
            }
            Update::Addresses(kind, told) => self.addresses(kind, told),
            Update::AddressesGone(kind, told) => {
                self.book(kind).leave(told.holder, &told.addresses);
            }
            Update::Node(node) => {
                self.state(Kind::Node).is_complete = true;
                self.state(Kind::Node).failure = None;
                if self.node.as_ref() != Some(&node) {
                    self.alter(|_| true, changes, |index| index.node = Some(node));
                }
            }
            Update::Failed(kind, failure) => self.failed(kind, failure, changes),
        }
    }

    /// How much is kept of a kind.
    pub fn kept(&self, kind: Kind) -> Kept {
        let objects = match kind {
            Kind::Pods => self.present(),
            Kind::Namespaces => self.namespaces.len(),
            Kind::Services => self.services.len(),
            Kind::Node => usize::from(self.node.is_some()),
            Kind::Owners => {
                let known = |pod: &&Known<Pod>| matches!(pod.what.ancestor, Ancestor::Known(_));
                self.pods.values().filter(known).count()
            }
            Kind::ClusterPods => self.cluster.len(),
        };
        let dropped = match kind {
            Kind::Services => self.services.dropped,
            Kind::ClusterPods => self.cluster.dropped,
            _ => self.states[kind as usize].dropped,
        };
        Kept { objects, dropped }
    }

    /// Pods that were not deleted.
    fn present(&self) -> usize {
        self.pods.len() - self.gone.len()
    }

    fn state(&mut self, kind: Kind) -> &mut State {
        &mut self.states[kind as usize]
    }

    fn book(&mut self, kind: Kind) -> &mut Book {
        match kind {
            Kind::Services => &mut self.services,
            Kind::ClusterPods => &mut self.cluster,
            _ => &mut self.local,
        }
    }

    /// Makes a change to pods, or to what is said of them, and adds those of which something else is said now.
    fn alter(
        &mut self,
        concerns: impl Fn(&Pod) -> bool,
        changes: &mut Changes,
        change: impl FnOnce(&mut Self),
    ) {
        let concerned = self.pods.iter().filter(|(_, pod)| concerns(&pod.what));
        let before: Vec<(PodUid, View)> = concerned
            .map(|(key, pod)| (key.clone(), self.view(&pod.what)))
            .collect();
        change(self);
        for (key, before) in before {
            let now = self.pods.get(&key).map(|pod| self.view(&pod.what));
            if now.as_ref() != Some(&before) {
                changes.pods.insert(key);
            }
        }
    }

    fn begin(&mut self, kind: Kind) {
        let state = self.state(kind);
        state.telling = state.telling.wrapping_add(1);
        match kind {
            Kind::Services | Kind::ClusterPods => self.book(kind).begin(),
            Kind::Pods | Kind::Namespaces | Kind::Node | Kind::Owners => {}
        }
    }

    fn complete(&mut self, kind: Kind, changes: &mut Changes) {
        let state = self.state(kind);
        let telling = state.telling;
        // The first time, what was not told may be known not to be there.
        let is_first = !std::mem::replace(&mut state.is_complete, true);
        let was_failing = state.failure.take().is_some();
        match kind {
            Kind::Pods => self.forget_untold_pods(telling),
            Kind::Namespaces => {
                let untold: Vec<SmolStr> = self
                    .namespaces
                    .iter()
                    .filter(|(_, namespace)| namespace.telling != telling)
                    .map(|(name, _)| name.clone())
                    .collect();
                for name in untold {
                    self.apply(Update::NamespaceGone(name), changes);
                }
            }
            Kind::Services | Kind::ClusterPods => self.book(kind).complete(),
            Kind::Node | Kind::Owners => {}
        }
        changes.all |= is_first || was_failing;
    }

    fn forget_untold_pods(&mut self, telling: u32) {
        let untold = |pod: &Known<Pod>| pod.telling != telling && !pod.is_gone;
        let pods = self.pods.iter().filter(|(_, pod)| untold(pod));
        let untold: Vec<PodUid> = pods.map(|(key, _)| key.clone()).collect();
        untold.iter().for_each(|key| self.pod_gone(key));
    }

    fn pod(&mut self, pod: Pod, changes: &mut Changes) {
        let key = pod.key.clone();
        if self
            .pods
            .get(&key)
            .is_some_and(|known| known.is_taken(&pod))
        {
            self.state(Kind::Pods).dropped += 1;
            return;
        }
        let is_new = !self.pods.contains_key(&key);
        if is_new && self.present() >= self.config.limits.pods {
            self.state(Kind::Pods).dropped += 1;
            return;
        }
        let telling = self.state(Kind::Pods).telling;
        if is_new {
            changes.pods.insert(key.clone());
        }
        self.gone.retain(|gone| *gone != key);
        self.leave_addresses(&key);
        let is_it = |other: &Pod| other.key == key;
        self.alter(is_it, changes, |index| {
            let known = Known {
                what: pod,
                telling,
                is_gone: false,
            };
            index.pods.insert(key.clone(), known);
        });
        self.enter_addresses(is_it);
    }

    /// It is remembered for a while, for its last spans; its addresses are not, because others get them.
    fn pod_gone(&mut self, key: &PodUid) {
        self.leave_addresses(key);
        let Some(pod) = self.pods.get_mut(key).filter(|pod| !pod.is_gone) else {
            return;
        };
        pod.is_gone = true;
        self.gone.push_back(key.clone());
        while self.gone.len() > self.config.limits.gone {
            if let Some(oldest) = self.gone.pop_front() {
                self.pods.remove(&oldest);
            }
        }
    }

    fn enter_addresses(&mut self, which: impl Fn(&Pod) -> bool) {
        for pod in self.pods.values() {
            if which(&pod.what) && !pod.is_gone {
                let told = Addresses {
                    holder: super::holder(&pod.what.key.0),
                    addresses: pod.what.addresses.clone(),
                    peer: attributes::peer(&pod.what, &self.config),
                };
                self.local.enter(told, usize::MAX);
            }
        }
    }

    fn leave_addresses(&mut self, key: &PodUid) {
        if let Some(pod) = self.pods.get(key) {
            let holder = super::holder(&key.0);
            self.local.leave(holder, &pod.what.addresses);
        }
    }

    fn namespace(&mut self, namespace: Namespace, changes: &mut Changes) {
        let name = namespace.name;
        if name == CLUSTER_NAMESPACE && self.cluster_uid.as_ref() != Some(&namespace.uid) {
            let uid = Some(namespace.uid);
            self.alter(|_| true, changes, |index| index.cluster_uid = uid);
        }
        let is_full = self.namespaces.len() >= self.config.limits.namespaces;
        if is_full && !self.namespaces.contains_key(&name) {
            self.state(Kind::Namespaces).dropped += 1;
            return;
        }
        let known = Known {
            what: namespace.label,
            telling: self.state(Kind::Namespaces).telling,
            is_gone: false,
        };
        if let Some(before) = self.namespaces.get_mut(&name) {
            if before.what == known.what {
                before.telling = known.telling;
                return;
            }
        }
        let is_in = |pod: &Pod| pod.namespace == name;
        self.alter(is_in, changes, |index| {
            drop(index.namespaces.insert(name.clone(), known));
        });
    }

    fn addresses(&mut self, kind: Kind, told: Addresses) {
        let limits = &self.config.limits;
        let most = match kind {
            Kind::Services => limits.services,
            _ => limits.cluster_pods,
        };
        self.book(kind).enter(told, most);
    }

    fn failed(&mut self, kind: Kind, failure: Failure, changes: &mut Changes) {
        if self.state(kind).failure != Some(failure) {
            self.state(kind).failure = Some(failure);
            // What cannot be known is not waited for.
            changes.all |= !self.state(kind).is_complete;
        }
    }
}
