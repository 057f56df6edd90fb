//! Touches the API server: asks the agent of every node, by running its own `spanlet` in its pod. In: a command. Out: for
//! each node its answer, or why there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, Node, Pod};
use kube::api::{Api, AttachParams, AttachedProcess, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde::de::DeserializeOwned;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What the chart calls the agent's pods and their container.
const AGENTS: &str = "app.kubernetes.io/name=spanlet";
const CONTAINER: &str = "agent";
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 16;
/// How long a node may take to answer; `probes` itself takes half a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read: some thousand processes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Bytes of an error.
const ERROR_BYTES_MAX: u64 = 4096;

/// Which cluster, and whom in it.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Unset: as kubectl finds it (`KUBECONFIG`, the user's own), or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    /// The agents' namespace; unset: they are looked for in all.
    pub agent_namespace: Option<String>,
    /// Only these nodes; empty: all.
    pub nodes: Vec<String>,
}

/// What a node said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer<T> {
    pub node: String,
    /// Its agent's pod, `namespace/name`; empty where there is none.
    pub agent: String,
    #[serde(flatten)]
    pub said: Said<T>,
}

/// Its answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said<T> {
    Report(T),
    Error(String),
}

/// Why no node can be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no cluster to ask: {0} (name one with --kubeconfig or --context)")]
    Config(String),
    #[error("cannot list the agents' pods: {0}")]
    Agents(String),
    #[error("no agent was found: no pod has the label {AGENTS} (is the chart installed?)")]
    NoAgents,
}

/// The API server of a cluster, and the namespace that the user works in.
pub async fn connect(target: &Target) -> Result<(Client, String), Error> {
    // Not an error: it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config(target).await.map_err(Error::Config)?;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| Error::Config(error.to_string()))?;
    Ok((client, namespace))
}

async fn config(target: &Target) -> Result<Config, String> {
    let options = KubeConfigOptions {
        context: target.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &target.kubeconfig {
        let file = Kubeconfig::read_from(path).map_err(|error| error.to_string())?;
        let config = Config::from_custom_kubeconfig(file, &options).await;
        return config.map_err(|error| error.to_string());
    }
    if target.context.is_some() {
        let config = Config::from_kubeconfig(&options).await;
        return config.map_err(|error| error.to_string());
    }
    Config::infer().await.map_err(|error| error.to_string())
}

/// Runs `spanlet` with these arguments in the agent of each node; it is to print JSON. In the order of the nodes' names.
pub async fn ask<T: DeserializeOwned + Send + 'static>(
    client: &Client,
    target: &Target,
    arguments: &[&str],
) -> Result<Vec<Answer<T>>, Error> {
    let agents = agents(client, target).await?;
    let mut answers = Vec::new();
    let served: BTreeSet<&String> = agents.keys().collect();
    // Who may not list nodes does not learn of those without an agent.
    let nodes = Api::<Node>::all(client.clone())
        .list_metadata(&ListParams::default())
        .await;
    for node in nodes.iter().flatten() {
        let name = node.name_any();
        if !served.contains(&name) && wanted(target, &name) {
            answers.push(Answer {
                node: name,
                agent: String::new(),
                said: Said::Error("no agent's pod is on this node".to_owned()),
            });
        }
    }
    let mut asked = JoinSet::new();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    for (node, pod) in agents {
        let (client, turns) = (client.clone(), turns.clone());
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        asked.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let agent = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
            let answer = tokio::time::timeout(PATIENCE, ask_one(client, &pod, arguments)).await;
            let late = || Err(format!("no answer within {} s", PATIENCE.as_secs()));
            let said = match answer.unwrap_or_else(|_| late()) {
                Ok(report) => Said::Report(report),
                Err(reason) => Said::Error(reason),
            };
            Answer { node, agent, said }
        });
    }
    answers.extend(asked.join_all().await);
    answers.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(answers)
}

fn wanted(target: &Target, node: &str) -> bool {
    target.nodes.is_empty() || target.nodes.iter().any(|name| name == node)
}

/// The agent's pod of each node; of two (one is being replaced) the one that stays.
async fn agents(client: &Client, target: &Target) -> Result<BTreeMap<String, Pod>, Error> {
    let api: Api<Pod> = match &target.agent_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let list = api.list(&ListParams::default().labels(AGENTS)).await;
    let list = list.map_err(|error| Error::Agents(error.to_string()))?;
    if list.items.is_empty() {
        return Err(Error::NoAgents);
    }
    let mut agents = BTreeMap::new();
    for pod in list {
        // Others of the chart (its tests) have the label too.
        let spec = pod.spec.as_ref();
        let is_agent = spec.is_some_and(|spec| {
            let mut containers = spec.containers.iter();
            containers.any(|container| container.name == CONTAINER)
        });
        let Some(node) = spec.and_then(|spec| spec.node_name.clone()) else {
            continue;
        };
        let is_leaving = pod.metadata.deletion_timestamp.is_some();
        if is_agent && wanted(target, &node) && !(is_leaving && agents.contains_key(&node)) {
            agents.insert(node, pod);
        }
    }
    Ok(agents)
}

async fn ask_one<T: DeserializeOwned>(
    client: Client,
    pod: &Pod,
    arguments: Vec<String>,
) -> Result<T, String> {
    if let Some(reason) = not_running(pod) {
        return Err(reason);
    }
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let parameters = AttachParams::default().container(CONTAINER).stderr(true);
    let command = std::iter::once("/spanlet".to_owned()).chain(arguments);
    let process = api.exec(&pod.name_any(), command, &parameters).await;
    let answer = answer(process.map_err(|error| error.to_string())?).await?;
    serde_json::from_slice(&answer).map_err(|error| {
        format!("its answer is not understood: {error} (is it of another version?)")
    })
}

/// Why the agent cannot be asked, as far as its pod tells.
fn not_running(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let mut containers = status.container_statuses.unwrap_or_default().into_iter();
    let agent = containers.find(|container| container.name == CONTAINER);
    let (now, before) = match agent {
        Some(agent) => (agent.state.unwrap_or_default(), agent.last_state),
        None => (ContainerState::default(), None),
    };
    if now.running.is_some() {
        return None;
    }
    let phase = status
        .phase
        .unwrap_or_else(|| "of an unknown phase".to_owned());
    let waits = now.waiting.and_then(|waiting| waiting.reason);
    let ended = now.terminated.or_else(|| before?.terminated);
    let last_words = ended.and_then(|ended| ended.message);
    let mut reason = format!("its agent's pod is {}", waits.unwrap_or(phase));
    if let Some(words) = last_words {
        reason.push_str(": ");
        reason.push_str(words.trim());
    }
    Some(reason)
}

/// What the command wrote; `doctor` fails where nothing can be traced, and says why all the same.
async fn answer(mut process: AttachedProcess) -> Result<Vec<u8>, String> {
    let status = process.take_status();
    let (output, errors) = tokio::join!(
        read(process.stdout(), ANSWER_BYTES_MAX),
        read(process.stderr(), ERROR_BYTES_MAX)
    );
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let errors = String::from_utf8_lossy(&errors).trim().to_owned();
    match status {
        _ if !output.is_empty() => Ok(output),
        _ if !errors.is_empty() => Err(errors),
        Some(status) => Err(status.message.unwrap_or_else(|| "it failed".to_owned())),
        None => Err("the connection to it broke".to_owned()),
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What is cut short is no JSON, and told as such.
        let _ = stream.take(bytes_max).read_to_end(&mut bytes).await;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "status": status })).unwrap()
    }

    #[test]
    fn an_agent_that_does_not_run_is_told_with_its_last_words() {
        let pending = pod(serde_json::json!({"phase": "Pending"}));
        assert_eq!(not_running(&pending).unwrap(), "its agent's pod is Pending");
        let crashing = pod(
            serde_json::json!({"phase": "Running", "containerStatuses": [{
                "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "message": "no such key\n"}},
            }]}),
        );
        let told = "its agent's pod is CrashLoopBackOff: no such key";
        assert_eq!(not_running(&crashing).unwrap(), told);
        let running = pod(
            serde_json::json!({"phase": "Running", "containerStatuses": [{
                "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"running": {}},
            }]}),
        );
        assert_eq!(not_running(&running), None);
    }
}
