//! What spans say of a pod and a container, in the words of the semantic conventions.
//!
//! In: a pod, a container of it, the node, the cluster. Out: resource attributes. Services are named as OpenTelemetry's
//! "Resource attributes in K8s" wants it, which the OpenTelemetry operator follows; a Knative service is called as its owner
//! called it. An annotation `resource.opentelemetry.io/KEY` wins over all of it.

use std::borrow::Cow;

use smol_str::{format_smolstr, SmolStr};

use super::config::{
    INSTANCE, KNATIVE_CONFIGURATION, KNATIVE_REVISION, KNATIVE_SERVICE, NAME, RESOURCE_PREFIX,
    TEMPLATE_HASH, VERSION,
};
use super::image::Image;
use super::model::{Ancestor, Container, ContainerRun, Node, Owner, Peer, Pod, Value};
use super::Config;

/// A container of a pod, and the run of it that a process belongs to, if that is known.
pub type Running<'a> = (&'a Container, Option<&'a ContainerRun>);

/// What there is besides the pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    pub cluster_uid: Option<&'a SmolStr>,
    pub node: Option<&'a Node>,
}

type Attributes = Vec<(Cow<'static, str>, Value)>;

/// The attributes of a process in a container of a pod.
pub fn of(
    pod: &Pod,
    running: Option<Running<'_>>,
    around: Surroundings<'_>,
    config: &Config,
) -> Attributes {
    let mut attributes = Attributes::new();
    service(pod, running, config, &mut attributes);
    cluster(around, config, &mut attributes);
    of_pod(pod, config, &mut attributes);
    if let Some(running) = running {
        of_container(running, &mut attributes);
    }
    if let Some(node) = around.node {
        of_node(node, config, &mut attributes);
    }
    for (key, value) in &pod.annotations {
        if let Some(key) = key
            .strip_prefix(RESOURCE_PREFIX)
            .filter(|_| !value.is_empty())
        {
            attributes.retain(|(other, _)| other != key);
            attributes.push((Cow::Owned(key.to_owned()), Value::Text(value.into())));
        }
    }
    attributes
}

/// The service that is reached at a pod's address.
pub fn peer(pod: &Pod, config: &Config) -> Peer {
    Peer {
        name: service_name(pod, config),
        namespace: service_namespace(pod),
    }
}

fn service(pod: &Pod, running: Option<Running<'_>>, config: &Config, attributes: &mut Attributes) {
    let version = || Image::of(&running?.0.image).version().map(SmolStr::from);
    let instance = || {
        let container = &running?.0.name;
        let (namespace, pod) = (&pod.namespace, &pod.name);
        Some(format_smolstr!("{namespace}.{pod}.{container}"))
    };
    text(attributes, "service.name", service_name(pod, config));
    text(attributes, "service.namespace", service_namespace(pod));
    let version = well_known(pod, VERSION, config).or_else(version);
    optional(attributes, "service.version", version);
    optional(attributes, "service.instance.id", instance());
    let faas_name = label(pod, KNATIVE_SERVICE).or_else(|| label(pod, KNATIVE_CONFIGURATION));
    if let Some(name) = faas_name {
        text(attributes, "faas.name", name);
        optional(attributes, "faas.version", label(pod, KNATIVE_REVISION));
        text(attributes, "faas.instance", pod.name.clone());
    }
}

fn service_name(pod: &Pod, config: &Config) -> SmolStr {
    resource_annotation(pod, "service.name")
        .or_else(|| label(pod, KNATIVE_SERVICE))
        .or_else(|| well_known(pod, INSTANCE, config))
        .or_else(|| well_known(pod, NAME, config))
        .or_else(|| workload_name(pod))
        .unwrap_or_else(|| pod.name.clone())
}

fn service_namespace(pod: &Pod) -> SmolStr {
    resource_annotation(pod, "service.namespace").unwrap_or_else(|| pod.namespace.clone())
}

/// The name of what owns a pod, the furthest first.
fn workload_name(pod: &Pod) -> Option<SmolStr> {
    let owners = owners(pod);
    let known = owners
        .iter()
        .rev()
        .find(|owner| key_of(&owner.kind).is_some());
    known.map(|owner| owner.name.clone())
}

/// What owns a pod, the nearest first.
fn owners(pod: &Pod) -> Vec<Owner> {
    let mut owners: Vec<Owner> = pod.controller.iter().cloned().collect();
    match &pod.ancestor {
        Ancestor::Known(owner) => owners.push(owner.clone()),
        Ancestor::Unknown | Ancestor::Untold => owners.extend(deployment(pod)),
        Ancestor::None => {}
    }
    owners
}

/// A Deployment ends the names of its ReplicaSets with the hash that it writes on their pods.
fn deployment(pod: &Pod) -> Option<Owner> {
    let controller = pod.controller.as_ref()?;
    let hash = pod.labels.get(TEMPLATE_HASH)?;
    let name = controller.name.strip_suffix(hash.as_str())?;
    let name = name.strip_suffix('-')?;
    (controller.kind == "ReplicaSet").then(|| Owner {
        kind: "Deployment".into(),
        name: name.into(),
        uid: SmolStr::default(),
    })
}

fn key_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Deployment" => "k8s.deployment.name",
        "ReplicaSet" => "k8s.replicaset.name",
        "StatefulSet" => "k8s.statefulset.name",
        "DaemonSet" => "k8s.daemonset.name",
        "CronJob" => "k8s.cronjob.name",
        "Job" => "k8s.job.name",
        "ReplicationController" => "k8s.replicationcontroller.name",
        _ => return None,
    })
}

fn cluster(around: Surroundings<'_>, config: &Config, attributes: &mut Attributes) {
    optional(attributes, "k8s.cluster.name", config.cluster_name.clone());
    optional(attributes, "k8s.cluster.uid", around.cluster_uid.cloned());
    let environment = config.environment.clone();
    optional(attributes, "deployment.environment.name", environment);
}

fn of_pod(pod: &Pod, config: &Config, attributes: &mut Attributes) {
    text(attributes, "k8s.namespace.name", pod.namespace.clone());
    text(attributes, "k8s.pod.name", pod.name.clone());
    text(attributes, "k8s.pod.uid", pod.uid.clone());
    let started = Some(pod.started.clone()).filter(|started| !started.is_empty());
    optional(attributes, "k8s.pod.start_time", started);
    for owner in owners(pod) {
        if let Some(key) = key_of(&owner.kind) {
            text(attributes, key, owner.name);
        }
    }
    for (prefix, chosen, all) in [
        ("k8s.pod.label.", &config.pod_labels, &pod.labels),
        (
            "k8s.pod.annotation.",
            &config.pod_annotations,
            &pod.annotations,
        ),
    ] {
        for key in chosen {
            if let Some(value) = all.get(key) {
                let key = Cow::Owned(format!("{prefix}{key}"));
                attributes.push((key, Value::Text(value.into())));
            }
        }
    }
}

fn of_container((container, run): Running<'_>, attributes: &mut Attributes) {
    let image = Image::of(&container.image);
    text(attributes, "k8s.container.name", container.name.clone());
    text(attributes, "container.image.name", image.name.into());
    // What a runtime takes where nothing is said.
    let implied = image.digest.is_none().then_some("latest");
    if let Some(tag) = image.tag.or(implied) {
        let tags = Value::Texts(vec![tag.into()]);
        attributes.push(("container.image.tags".into(), tags));
    }
    let Some(run) = run else { return };
    let restarts = Value::Integer(run.restarts.into());
    attributes.push(("k8s.container.restart_count".into(), restarts));
    text(attributes, "container.id", run.id.0.clone());
    text(attributes, "container.runtime.name", run.runtime.clone());
    let digest = run
        .image_id
        .split_once("://")
        .map_or(&*run.image_id, |(_, rest)| rest);
    if digest.contains('@') {
        let digests = Value::Texts(vec![digest.into()]);
        attributes.push(("container.image.repo_digests".into(), digests));
    }
}

fn of_node(node: &Node, config: &Config, attributes: &mut Attributes) {
    let known = |text: &SmolStr| Some(text.clone()).filter(|text| !text.is_empty());
    text(
        attributes,
        "k8s.node.name",
        config.node_name.as_str().into(),
    );
    optional(attributes, "k8s.node.uid", known(&node.uid));
    let cloud = Cloud::of(&node.provider_id);
    let instance = cloud.instance.map(SmolStr::from);
    optional(attributes, "cloud.provider", cloud.provider.map(Into::into));
    optional(
        attributes,
        "cloud.account.id",
        cloud.account.map(Into::into),
    );
    optional(attributes, "cloud.region", known(&node.region));
    optional(attributes, "cloud.availability_zone", known(&node.zone));
    text(attributes, "host.name", node.host_name.clone());
    optional(
        attributes,
        "host.id",
        instance.or_else(|| known(&node.machine_id)),
    );
    optional(attributes, "host.type", known(&node.instance_type));
    optional(attributes, "host.arch", known(&node.architecture));
}

/// What a node's `spec.providerID` says.
#[derive(Default)]
struct Cloud<'a> {
    provider: Option<&'static str>,
    account: Option<&'a str>,
    /// The instance's id where the provider's id holds it.
    instance: Option<&'a str>,
}

impl<'a> Cloud<'a> {
    fn of(provider_id: &'a str) -> Self {
        let Some((scheme, path)) = provider_id.split_once("://") else {
            return Self::default();
        };
        let mut parts = path.split('/');
        match scheme {
            "aws" => Self {
                provider: Some("aws"),
                instance: parts.next_back().filter(|id| id.starts_with("i-")),
                account: None,
            },
            "gce" => Self {
                provider: Some("gcp"),
                account: parts.next().filter(|project| !project.is_empty()),
                instance: None,
            },
            "azure" => Self {
                provider: Some("azure"),
                account: parts.nth(2),
                instance: None,
            },
            "ibm" => Self {
                provider: Some("ibm_cloud"),
                ..Self::default()
            },
            "qcloud" => Self {
                provider: Some("tencent_cloud"),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }
}

fn resource_annotation(pod: &Pod, key: &str) -> Option<SmolStr> {
    let value = pod.annotations.get(&format!("{RESOURCE_PREFIX}{key}"));
    value.filter(|value| !value.is_empty()).map(SmolStr::from)
}

fn label(pod: &Pod, key: &str) -> Option<SmolStr> {
    let value = pod.labels.get(key).filter(|value| !value.is_empty());
    value.map(SmolStr::from)
}

fn well_known(pod: &Pod, key: &str, config: &Config) -> Option<SmolStr> {
    config.well_known_labels.then(|| label(pod, key)).flatten()
}

fn text(attributes: &mut Attributes, key: &'static str, value: SmolStr) {
    attributes.push((key.into(), Value::Text(value)));
}

fn optional(attributes: &mut Attributes, key: &'static str, value: Option<SmolStr>) {
    if let Some(value) = value {
        text(attributes, key, value);
    }
}
