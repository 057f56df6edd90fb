//! What is read of the API server's objects: only fields that are of use, so that the rest is skipped while it is read. In:
//! JSON. Out: what the index keeps. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer};
use smol_str::SmolStr;

use crate::pods::config::{CONFIG_MIRROR, RESOURCE_PREFIX};
use crate::pods::model::{
    Addresses, Ancestor, Container, ContainerId, ContainerRun, Namespace, Node, Owner, Peer, Pod,
    PodUid,
};
use crate::pods::{attributes, holder, Config};

/// Bytes of an annotation's value that is told as an attribute; a longer one is left out.
const ANNOTATION_BYTES_MAX: usize = 1024;
/// Annotations of a pod that are resource attributes; further ones are left out.
const RESOURCE_ANNOTATIONS_MAX: usize = 64;
/// Bytes that a label's value has at most. Of an annotation that is to say the same, no more is looked at.
const LABEL_BYTES_MAX: usize = 63;

/// Declares what is read of a kind of object: all of it, or its metadata alone.
macro_rules! objects {
    ($($(#[$about:meta])* $name:ident: $kind:literal $plural:literal of $group:literal, $scope:ty, metadata $metadata:literal {
        $($field:ident: $type:ty),*
    })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        pub struct $name {
            #[serde(default, deserialize_with = "metadata")]
            pub metadata: ObjectMeta,
            $(#[serde(default)] pub $field: $type,)*
        }

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = $scope;
            fn kind((): &()) -> Cow<'_, str> { $kind.into() }
            fn group((): &()) -> Cow<'_, str> { $group.into() }
            fn version((): &()) -> Cow<'_, str> { "v1".into() }
            fn plural((): &()) -> Cow<'_, str> { $plural.into() }
            fn metadata_api() -> bool { $metadata }
            fn meta(&self) -> &ObjectMeta { &self.metadata }
            fn meta_mut(&mut self) -> &mut ObjectMeta { &mut self.metadata }
        }
    )*};
}

objects! {
    PodObject: "Pod" "pods" of "", NamespaceResourceScope, metadata false { spec: PodSpec, status: PodStatus }
    NamespaceObject: "Namespace" "namespaces" of "", ClusterResourceScope, metadata true {}
    ServiceObject: "Service" "services" of "", NamespaceResourceScope, metadata false { spec: ServiceSpec }
    NodeObject: "Node" "nodes" of "", ClusterResourceScope, metadata false { spec: NodeSpec, status: NodeStatus }
    ReplicaSetObject: "ReplicaSet" "replicasets" of "apps", NamespaceResourceScope, metadata true {}
    JobObject: "Job" "jobs" of "batch", NamespaceResourceScope, metadata true {}
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    host_network: bool,
    init_containers: Vec<ContainerSpec>,
    containers: Vec<ContainerSpec>,
    ephemeral_containers: Vec<ContainerSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    name: SmolStr,
    image: SmolStr,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    phase: SmolStr,
    start_time: SmolStr,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: SmolStr,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: SmolStr,
    #[serde(rename = "containerID")]
    container_id: SmolStr,
    #[serde(rename = "imageID")]
    image_id: SmolStr,
    restart_count: u32,
    last_state: LastState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LastState {
    terminated: Terminated,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: SmolStr,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// `None` of a headless service; absent where nothing is reached inside the cluster.
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<SmolStr>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    #[serde(rename = "providerID")]
    provider_id: SmolStr,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    node_info: NodeInfo,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeInfo {
    #[serde(rename = "machineID")]
    machine_id: SmolStr,
    architecture: SmolStr,
}

/// `metadata` without what grows: who manages which field.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    let read = Metadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        labels: read.labels,
        annotations: read.annotations,
        owner_references: read.owner_references,
        ..ObjectMeta::default()
    })
}

impl PodObject {
    /// What is kept of a pod of this node.
    pub fn pod(self, config: &Config) -> Pod {
        let addresses = match self.is_reached() {
            true => self.addresses(),
            false => Vec::new(),
        };
        let controller = controller(&self.metadata);
        let has_ancestor = controller
            .as_ref()
            .is_some_and(|owner| is_asked(&owner.kind));
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let uid = text(metadata.uid);
        let annotations = metadata.annotations.unwrap_or_default();
        let mirror = annotations
            .get(CONFIG_MIRROR)
            .filter(|mirror| is_mirrored(mirror, controller.as_ref()));
        Pod {
            key: PodUid(mirror.map_or_else(|| uid.clone(), SmolStr::from)),
            uid,
            namespace: text(metadata.namespace),
            name: text(metadata.name),
            labels: chosen(metadata.labels, |key| config.keeps_label(key)),
            annotations: annotations_of(annotations, config),
            ancestor: match has_ancestor {
                true => Ancestor::Unknown,
                false => Ancestor::None,
            },
            controller,
            addresses,
            started: status.start_time.clone(),
            containers: containers(spec, &status),
        }
    }

    /// Where a pod of any node is reached, or was: by its owner's name as far as it is known without asking.
    pub fn reached(mut self, config: &Config) -> Addresses {
        let addresses = match self.spec.host_network {
            true => Vec::new(),
            false => self.addresses(),
        };
        self.spec = PodSpec::default();
        let pod = self.pod(config);
        Addresses {
            holder: holder(&pod.uid),
            addresses,
            peer: attributes::peer(&pod, config),
        }
    }

    /// Its addresses are its own and not given back.
    pub fn is_reached(&self) -> bool {
        let has_ended = matches!(self.status.phase.as_str(), "Succeeded" | "Failed");
        !self.spec.host_network && !has_ended
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.status.pod_ips.iter();
        ips.filter_map(|pod| pod.ip.parse().ok()).collect()
    }
}

impl NamespaceObject {
    pub fn namespace(self, config: &Config) -> Namespace {
        let labels = self.metadata.labels.unwrap_or_default();
        Namespace {
            name: text(self.metadata.name),
            uid: text(self.metadata.uid),
            label: labels.get(&config.label).map(SmolStr::from),
        }
    }
}

impl ServiceObject {
    /// Where a service is reached; nowhere if it is headless.
    pub fn addresses(self) -> Addresses {
        let ips = self.spec.cluster_ips.iter();
        Addresses {
            holder: holder(&self.metadata.uid.unwrap_or_default()),
            addresses: ips.filter_map(|ip| ip.parse().ok()).collect(),
            peer: Peer {
                name: text(self.metadata.name),
                namespace: text(self.metadata.namespace),
            },
        }
    }
}

impl NodeObject {
    pub fn node(self) -> Node {
        let labels = self.metadata.labels.unwrap_or_default();
        let label = |key: &str| labels.get(key).map(SmolStr::from).unwrap_or_default();
        let name = text(self.metadata.name);
        let host_name = label("kubernetes.io/hostname");
        Node {
            uid: text(self.metadata.uid),
            host_name: match host_name.is_empty() {
                true => name,
                false => host_name,
            },
            provider_id: self.spec.provider_id,
            machine_id: self.status.node_info.machine_id,
            architecture: self.status.node_info.architecture,
            region: label("topology.kubernetes.io/region"),
            zone: label("topology.kubernetes.io/zone"),
            instance_type: label("node.kubernetes.io/instance-type"),
        }
    }
}

/// The owner that looks after an object.
pub fn controller(metadata: &ObjectMeta) -> Option<Owner> {
    let owners = metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    controllers.next().map(|owner| Owner {
        kind: (&owner.kind).into(),
        name: (&owner.name).into(),
        uid: (&owner.uid).into(),
    })
}

/// Whether the kubelet can have written of a pod of its own files: whose UID is a hash there, and which the node owns.
fn is_mirrored(mirror: &str, controller: Option<&Owner>) -> bool {
    const HASH_DIGITS: usize = 32;
    let is_hash = mirror.len() == HASH_DIGITS && mirror.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash && controller.is_some_and(|owner| owner.kind == "Node")
}

/// Whether objects of a kind may be owned by another that is of interest.
pub fn is_asked(kind: &str) -> bool {
    matches!(kind, "ReplicaSet" | "Job")
}

fn containers(spec: PodSpec, status: &PodStatus) -> Vec<Container> {
    let kinds = [
        (spec.init_containers, &status.init_container_statuses),
        (spec.containers, &status.container_statuses),
        (
            spec.ephemeral_containers,
            &status.ephemeral_container_statuses,
        ),
    ];
    let told = kinds.into_iter().flat_map(|(specs, statuses)| {
        let of = |name: SmolStr| statuses.iter().find(move |status| status.name == name);
        specs.into_iter().map(move |spec| container(spec, of))
    });
    told.collect()
}

fn container<'a>(
    spec: ContainerSpec,
    status: impl Fn(SmolStr) -> Option<&'a ContainerStatus>,
) -> Container {
    let status = status(spec.name.clone());
    let run = |id: &SmolStr, restarts: u32, image_id: &SmolStr| {
        let (runtime, id) = id.split_once("://")?;
        Some(ContainerRun {
            id: ContainerId(id.into()),
            runtime: runtime.into(),
            image_id: image_id.clone(),
            restarts,
        })
    };
    let (now, before) = match status {
        Some(status) => {
            let before = &status.last_state.terminated.container_id;
            let restarts = status.restart_count;
            let image = &status.image_id;
            let now = run(&status.container_id, restarts, image);
            (now, run(before, restarts.saturating_sub(1), image))
        }
        None => (None, None),
    };
    Container {
        name: spec.name,
        image: spec.image,
        // Until it is started again, a container that ended is told as both.
        before: before.filter(|before| now.as_ref().is_none_or(|now| now.id != before.id)),
        run: now,
    }
}

fn chosen(
    all: Option<BTreeMap<String, String>>,
    keep: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let all = all.unwrap_or_default().into_iter();
    all.filter(|(key, _)| keep(key)).collect()
}

fn annotations_of(all: BTreeMap<String, String>, config: &Config) -> BTreeMap<String, String> {
    let mut resource = 0;
    let mut kept = chosen(Some(all), |key| config.keeps_annotation(key));
    if let Some(value) = kept.get_mut(&config.label) {
        let end = value
            .char_indices()
            .nth(LABEL_BYTES_MAX)
            .map(|(end, _)| end);
        value.truncate(end.unwrap_or(value.len()));
    }
    kept.retain(|key, value| {
        resource += usize::from(key.starts_with(RESOURCE_PREFIX));
        value.len() <= ANNOTATION_BYTES_MAX && resource <= RESOURCE_ANNOTATIONS_MAX
    });
    kept
}

fn text(value: Option<String>) -> SmolStr {
    value.unwrap_or_default().into()
}
