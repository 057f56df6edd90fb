//! Touches the API server: follows this node's pods and what they need. In: a configuration. Out: updates, in order for each
//! kind, and how it goes ([`Meter`]).
//!
//! Asked are: this node's pods, all namespaces (metadata), all services, this node; of the pods' controllers each once
//! (metadata); and the pods of all nodes where that is wished. What the agent may not ask, or what does not answer, is told as
//! such and asked again and again; the rest goes on. Nothing here ends, and nothing waits for it: who takes the updates
//! may come when it likes.

mod failure;
mod follow;
mod meter;
mod objects;
mod owners;

use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::HeaderValue;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::model::{Kind, Update};
use super::Config;
use failure::Problem;
use follow::{follow, Pause, Told};
pub use meter::{Meter, Source, Trouble};
use objects::{NamespaceObject, NodeObject, PodObject, ServiceObject};
use owners::Owners;

/// Where updates come in; ends never.
pub type Updates = mpsc::Receiver<Vec<Update>>;

/// Messages of updates that wait to be taken; then the API server is not read on.
const MESSAGES_MAX: usize = 16;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one object, or a page of them, may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a connection may be silent: an API server sends a bookmark after 75 s at most.
pub const SILENCE: Duration = Duration::from_secs(90);
/// How often the node is asked for anew.
const NODE_EVERY: Duration = Duration::from_secs(300);
/// Objects in one answer, where there can be many.
const PAGE_OBJECTS: u32 = 250;

/// Follows the API server until it is dropped.
#[derive(Debug)]
pub struct Watch {
    pub updates: Updates,
    pub meter: Arc<Meter>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to follow. Must be called inside a tokio runtime; waits for nothing.
pub fn start(config: &Arc<Config>) -> Watch {
    let (told, updates) = mpsc::channel(MESSAGES_MAX);
    let meter = Arc::<Meter>::default();
    let sink = Sink {
        config: config.clone(),
        told,
        meter: meter.clone(),
    };
    Watch {
        updates,
        meter,
        task: tokio::spawn(run(sink)),
    }
}

/// Where those who ask put what they are told.
struct Sink {
    config: Arc<Config>,
    told: mpsc::Sender<Vec<Update>>,
    meter: Arc<Meter>,
}

impl Sink {
    async fn tell(&self, kind: Kind, updates: Vec<Update>) {
        self.meter.told(kind, updates.len());
        self.send(updates).await;
    }

    async fn send(&self, updates: Vec<Update>) {
        // Nobody takes them only when all ends.
        let _ = self.told.send(updates).await;
    }

    async fn fail(&self, kind: Kind, problem: &Problem) {
        if self.meter.failed(kind, problem.trouble, &problem.message) {
            tracing::warn!("Kubernetes: {} (said once)", problem.message);
        }
        let failed = Update::Failed(kind, problem.failure());
        self.send(vec![failed]).await;
    }
}

async fn run(sink: Sink) {
    let client = connect(&sink).await;
    let (owners, asked) = Owners::new(&client);
    tokio::join!(
        pods(&sink, &client, &owners),
        owners.answer(&sink, asked),
        namespaces(&sink, &client),
        services(&sink, &client),
        node(&sink, &client),
        cluster_pods(&sink, &client),
    );
}

/// Says how the API server is reached, again until it can be said.
async fn connect(sink: &Sink) -> Client {
    let mut pause = Pause::default();
    loop {
        match client(sink).await {
            Ok(client) => return client,
            Err(error) => {
                let problem = Problem::unreachable(&format!("no way to the API server: {error}"));
                for kind in [Kind::Pods, Kind::Namespaces, Kind::Services, Kind::Node] {
                    sink.fail(kind, &problem).await;
                }
            }
        }
        sleep(pause.next()).await;
    }
}

async fn client(sink: &Sink) -> anyhow::Result<Client> {
    let layer = meter::Layer(sink.meter.clone());
    let config = access(&sink.config).await?;
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

/// How the API server is reached.
pub(super) async fn access(config: &Config) -> anyhow::Result<kube::Config> {
    let mut config = match &config.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::incluster()?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // Who asks tries again itself, and says so.
    config.default_retry = false;
    let agent = concat!("spanlet/", env!("CARGO_PKG_VERSION"));
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(agent)));
    Ok(config)
}

async fn pods(sink: &Sink, client: &Client, owners: &Owners) {
    let api: Api<PodObject> = Api::all(client.clone());
    let ours = format!("spec.nodeName={}", sink.config.node_name);
    // From the API server's memory, as the kubelet does: it may be a moment old, and the watch goes on from there.
    let config = watcher::Config::default().fields(&ours).any_semantic();
    let take = |told| match told {
        Told::Begin => {
            owners.begin();
            None
        }
        Told::There(object) => {
            let object: PodObject = object;
            let mut pod = object.pod(&sink.config);
            owners.complete(&mut pod);
            Some(Update::Pod(Box::new(pod)))
        }
        Told::Gone(object) => {
            let pod = object.pod(&sink.config);
            Some(Update::PodGone(pod.key, pod.uid))
        }
    };
    follow(sink, Kind::Pods, api, config, take).await;
}

async fn namespaces(sink: &Sink, client: &Client) {
    let api: Api<NamespaceObject> = Api::all(client.clone());
    // From the API server's memory they would come all in one answer, however many.
    let config = watcher::Config::default().page_size(PAGE_OBJECTS);
    let take = |told| match told {
        Told::Begin => None,
        Told::There(object) => {
            let object: NamespaceObject = object;
            Some(Update::Namespace(object.namespace(&sink.config)))
        }
        Told::Gone(object) => {
            let namespace = object.namespace(&sink.config);
            Some(Update::NamespaceGone(namespace.name))
        }
    };
    follow(sink, Kind::Namespaces, api, config, take).await;
}

async fn services(sink: &Sink, client: &Client) {
    let api: Api<ServiceObject> = Api::all(client.clone());
    let config = watcher::Config::default().page_size(PAGE_OBJECTS);
    let kind = Kind::Services;
    let take = |told| {
        let update = match told {
            Told::Begin => return None,
            Told::There(object) => Update::Addresses(kind, ServiceObject::addresses(object)),
            Told::Gone(object) => Update::AddressesGone(kind, object.addresses()),
        };
        Some(update).filter(has_addresses)
    };
    follow(sink, kind, api, config, take).await;
}

async fn cluster_pods(sink: &Sink, client: &Client) {
    if !sink.config.cluster_pods {
        return;
    }
    let api: Api<PodObject> = Api::all(client.clone());
    let config = watcher::Config::default().page_size(PAGE_OBJECTS);
    let kind = Kind::ClusterPods;
    let take = |told| {
        let update = match told {
            Told::Begin => return None,
            Told::There(object) if PodObject::is_reached(&object) => {
                Update::Addresses(kind, object.reached(&sink.config))
            }
            Told::There(object) | Told::Gone(object) => {
                Update::AddressesGone(kind, object.reached(&sink.config))
            }
        };
        Some(update).filter(has_addresses)
    };
    follow(sink, kind, api, config, take).await;
}

fn has_addresses(update: &Update) -> bool {
    match update {
        Update::Addresses(_, told) | Update::AddressesGone(_, told) => !told.addresses.is_empty(),
        _ => true,
    }
}

/// A node changes little, and tells that it lives many times an hour: it is asked now and then.
async fn node(sink: &Sink, client: &Client) {
    let api: Api<NodeObject> = Api::all(client.clone());
    let mut pause = Pause::default();
    loop {
        let answer = timeout(ANSWER, api.get(&sink.config.node_name)).await;
        match Problem::of_answer(answer, "get", "nodes") {
            Ok(node) => {
                let update = Update::Node(Box::new(node.node()));
                sink.tell(Kind::Node, vec![update]).await;
                pause = Pause::default();
                sleep(NODE_EVERY).await;
            }
            Err(problem) => {
                sink.fail(Kind::Node, &problem).await;
                sleep(pause.next()).await;
            }
        }
    }
}
