//! What the sources say of `[kubernetes]` in, the configuration of [`crate::pods`] out, or `None` where it is off. Looks
//! whether there is a service account.

use std::path::Path;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use kube::core::Selector;

use super::check::in_range;
use super::layers::Layers;
use super::raw::RawKubernetes;
use super::{fault, Faults};
use crate::pods::{selector, Config, Limits};

/// Where a pod finds the token of its service account (Kubernetes, "Accessing the API from a Pod").
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Whether this is a pod that may ask the API server.
pub(super) fn in_pod(env: impl Fn(&str) -> Option<String>) -> bool {
    env("KUBERNETES_SERVICE_HOST").is_some() && Path::new(TOKEN).exists()
}

/// What is chosen, if Kubernetes is asked at all. All of it is checked in any case.
pub(super) fn config(layers: &Layers, in_pod: bool, faults: &mut Faults) -> Option<Arc<Config>> {
    let node_name = text(layers, |raw| raw.node_name.clone());
    let kubeconfig = layers.pick(|raw| raw.kubernetes.kubeconfig.clone());
    let has_way = in_pod || kubeconfig.is_some();
    let enabled = layers.pick(|raw| raw.kubernetes.enabled);
    let is_on = enabled.unwrap_or(node_name.is_some() && has_way);
    if is_on && node_name.is_none() {
        let what = "has no value: give the node's name, or set SPANLET_NODE_NAME";
        fault(faults, "kubernetes.node_name", what);
    }
    if is_on && !has_way {
        let what = "there is no service account, and no kubeconfig is given";
        fault(faults, "kubernetes.enabled", what);
    }
    let config = Config {
        node_name: node_name.unwrap_or_default(),
        kubeconfig,
        cluster_name: text(layers, |raw| raw.cluster_name.clone()).map(Into::into),
        environment: text(layers, |raw| raw.environment.clone()).map(Into::into),
        label: label(layers, faults),
        exclude_namespaces: list(layers, |raw| raw.exclude_namespaces.clone())
            .into_iter()
            .map(Into::into)
            .collect(),
        select_pods: selectors(layers, faults),
        select_workloads: workloads(layers, faults),
        pod_labels: keys(layers, "pod_labels", |raw| raw.pod_labels.clone(), faults),
        pod_annotations: keys(
            layers,
            "pod_annotations",
            |raw| raw.pod_annotations.clone(),
            faults,
        ),
        well_known_labels: is_set(layers, |raw| raw.well_known_labels),
        cluster_pods: is_set(layers, |raw| raw.cluster_pods),
        own: text(layers, |raw| raw.pod_namespace.clone())
            .zip(text(layers, |raw| raw.pod_name.clone()))
            .map(|(namespace, name)| (namespace.into(), name.into())),
        limits: limits(layers, faults),
    };
    is_on.then(|| Arc::new(config))
}

fn text(layers: &Layers, of: impl Fn(&RawKubernetes) -> Option<String>) -> Option<String> {
    layers
        .pick(|raw| of(&raw.kubernetes))
        .filter(|text| !text.is_empty())
}

fn list(layers: &Layers, of: impl Fn(&RawKubernetes) -> Option<Vec<String>>) -> Vec<String> {
    layers.pick(|raw| of(&raw.kubernetes)).unwrap_or_default()
}

fn is_set(layers: &Layers, of: impl Fn(&RawKubernetes) -> Option<bool>) -> bool {
    layers.pick(|raw| of(&raw.kubernetes)).unwrap_or_default()
}

fn label(layers: &Layers, faults: &mut Faults) -> String {
    let label = text(layers, |raw| raw.label.clone()).unwrap_or_default();
    if let Some(what) = selector::key_fault(&label) {
        fault(faults, "kubernetes.label", what);
    }
    label
}

fn keys(
    layers: &Layers,
    name: &str,
    of: impl Fn(&RawKubernetes) -> Option<Vec<String>>,
    faults: &mut Faults,
) -> Vec<String> {
    let keys = list(layers, of);
    for what in keys.iter().filter_map(|key| selector::key_fault(key)) {
        fault(faults, format!("kubernetes.{name}"), what);
    }
    keys
}

fn selectors(layers: &Layers, faults: &mut Faults) -> Vec<Selector> {
    let texts = list(layers, |raw| raw.select_pods.clone());
    let selectors = texts.iter().filter_map(|text| {
        selector::parse(text)
            .map_err(|what| fault(faults, "kubernetes.select_pods", what))
            .ok()
    });
    selectors.collect()
}

fn workloads(layers: &Layers, faults: &mut Faults) -> Vec<GlobMatcher> {
    let texts = list(layers, |raw| raw.select_workloads.clone());
    let globs = texts.iter().filter_map(|text| workload(text, faults));
    globs.collect()
}

fn workload(text: &str, faults: &mut Faults) -> Option<GlobMatcher> {
    let at = "kubernetes.select_workloads";
    if text.matches('/').count() != 2 {
        fault(faults, at, format!("`{text}` is not NAMESPACE/KIND/NAME"));
        return None;
    }
    GlobBuilder::new(text)
        .literal_separator(true)
        .case_insensitive(true)
        .build()
        .map_err(|error| fault(faults, at, error))
        .ok()
        .map(|glob| glob.compile_matcher())
}

fn limits(layers: &Layers, faults: &mut Faults) -> Limits {
    let mut most = |name: &str, of: fn(&RawKubernetes) -> Option<usize>, most: usize| {
        let value = layers.pick(|raw| of(&raw.kubernetes));
        in_range(format!("kubernetes.{name}"), value, 1..=most, faults)
    };
    Limits {
        pods: most("pods_max", |raw| raw.pods_max, 100_000),
        namespaces: most("namespaces_max", |raw| raw.namespaces_max, 1_000_000),
        services: most("services_max", |raw| raw.services_max, 1_000_000),
        cluster_pods: most("cluster_pods_max", |raw| raw.cluster_pods_max, 1_000_000),
        ..Limits::default()
    }
}
