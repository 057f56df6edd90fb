//! What is chosen of Kubernetes: whose pods are traced, what is told of them, how much is kept. Plain data, checked by
//! [`crate::config`].

use std::path::PathBuf;

use globset::GlobMatcher;
use kube::core::Selector;
use smol_str::SmolStr;

use super::model::{Ancestor, Pod};

/// The configuration of this place.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node, as the API server calls it.
    pub node_name: String,
    /// `None`: the service account of the agent's pod.
    pub kubeconfig: Option<PathBuf>,
    /// `k8s.cluster.name`
    pub cluster_name: Option<SmolStr>,
    /// `deployment.environment.name`
    pub environment: Option<SmolStr>,
    /// The label of namespaces and pods, and the annotation of pods, that says whether they are traced.
    pub label: String,
    pub exclude_namespaces: Vec<SmolStr>,
    pub select_pods: Vec<Selector>,
    /// Match `NAMESPACE/KIND/NAME` of a pod, of what made it and of what owns that.
    pub select_workloads: Vec<GlobMatcher>,
    /// Labels and annotations of pods that spans tell.
    pub pod_labels: Vec<String>,
    pub pod_annotations: Vec<String>,
    /// `app.kubernetes.io/*` name services.
    pub well_known_labels: bool,
    /// Follow the addresses of all pods of the cluster.
    pub cluster_pods: bool,
    /// The agent's own pod: namespace and name.
    pub own: Option<(SmolStr, SmolStr)>,
    pub limits: Limits,
}

/// Every bound of this place, and what happens when it is reached: each thing that is not kept is counted.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Pods of this node (about 4 KB each). Reached: a further one is not known, and so not traced.
    pub pods: usize,
    /// Pods that were deleted (about 4 KB each), for their last spans. Reached: the oldest is forgotten.
    pub gone: usize,
    /// Namespaces (about 100 bytes each). Reached: the label of a further one is not known.
    pub namespaces: usize,
    /// Addresses of services (about 250 bytes each). Reached: calls to further ones do not name the service.
    pub services: usize,
    /// Addresses of pods of all nodes (about 250 bytes each). Reached: calls to further ones do not name the service.
    pub cluster_pods: usize,
}

/// Annotations with this prefix are resource attributes (OpenTelemetry, "Resource attributes in K8s").
pub(super) const RESOURCE_PREFIX: &str = "resource.opentelemetry.io/";
/// What the kubelet writes on the image of a static pod: the hash of its file, which is its name in control groups.
pub(super) const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// What Deployments write on their pods: the end of their ReplicaSet's name.
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";

pub(super) const INSTANCE: &str = "app.kubernetes.io/instance";
pub(super) const NAME: &str = "app.kubernetes.io/name";
pub(super) const VERSION: &str = "app.kubernetes.io/version";

pub(super) const KNATIVE_SERVICE: &str = "serving.knative.dev/service";
pub(super) const KNATIVE_REVISION: &str = "serving.knative.dev/revision";
pub(super) const KNATIVE_CONFIGURATION: &str = "serving.knative.dev/configuration";

/// Labels that are of use whatever is configured.
const LABELS: [&str; 7] = [
    INSTANCE,
    NAME,
    VERSION,
    TEMPLATE_HASH,
    KNATIVE_SERVICE,
    KNATIVE_REVISION,
    KNATIVE_CONFIGURATION,
];

impl Config {
    /// Whether a label of pods is kept.
    pub(super) fn keeps_label(&self, key: &str) -> bool {
        let is_selected = || {
            let mut expressions = self.select_pods.iter().cloned().flatten();
            expressions.any(|expression| super::selector::key(&expression) == key)
        };
        LABELS.contains(&key)
            || key == self.label
            || self.pod_labels.iter().any(|chosen| chosen == key)
            || is_selected()
    }

    /// Whether an annotation of pods is kept.
    pub(super) fn keeps_annotation(&self, key: &str) -> bool {
        key == self.label
            || key.starts_with(RESOURCE_PREFIX)
            || self.pod_annotations.iter().any(|chosen| chosen == key)
    }

    pub(super) fn is_own(&self, pod: &Pod) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|(namespace, name)| (namespace, name) == (&pod.namespace, &pod.name))
    }

    pub(super) fn has_workloads(&self) -> bool {
        !self.select_workloads.is_empty()
    }

    /// The configured workload that a pod is of.
    pub(super) fn selects_workload(&self, pod: &Pod) -> Option<&str> {
        if !self.has_workloads() {
            return None;
        }
        let mut names = vec![format!("{}/Pod/{}", pod.namespace, pod.name)];
        let ancestor = match &pod.ancestor {
            Ancestor::Known(owner) => Some(owner),
            Ancestor::Unknown | Ancestor::Untold | Ancestor::None => None,
        };
        for owner in pod.controller.iter().chain(ancestor) {
            names.push(format!("{}/{}/{}", pod.namespace, owner.kind, owner.name));
        }
        let matches = |glob: &&GlobMatcher| names.iter().any(|name| glob.is_match(name));
        let glob = self.select_workloads.iter().find(matches)?;
        Some(glob.glob().glob())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            kubeconfig: None,
            cluster_name: None,
            environment: None,
            label: "spanlet.dev/trace".to_owned(),
            exclude_namespaces: vec!["kube-system".into()],
            select_pods: Vec::new(),
            select_workloads: Vec::new(),
            pod_labels: Vec::new(),
            pod_annotations: Vec::new(),
            well_known_labels: false,
            cluster_pods: false,
            own: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pods: 1024,
            gone: 128,
            namespaces: 10_000,
            services: 20_000,
            cluster_pods: 50_000,
        }
    }
}
