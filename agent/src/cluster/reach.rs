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
use tokio::time::timeout;

/// What the chart calls the agent's pods and their container.
const AGENTS: &str = "app.kubernetes.io/name=spanlet,app.kubernetes.io/component=agent";
const CONTAINER: &str = "agent";
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 16;
/// How long a node may take to answer, and the API server; `probes` itself takes half a second.
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
    #[error(
        "cannot list pods of all namespaces: {0} (name the agents' one with --agent-namespace)"
    )]
    OfAll(String),
    #[error("no agent was found: no pod of a DaemonSet has the labels {AGENTS} (is the chart installed?)")]
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
    let agents = by_node(agents(client, target).await?, target);
    if agents.is_empty() && target.nodes.is_empty() {
        return Err(Error::NoAgents);
    }
    let mut answers = Vec::new();
    let served: BTreeSet<&String> = agents.keys().collect();
    // Who may not list nodes does not learn of those without an agent.
    let api = Api::<Node>::all(client.clone());
    let all = ListParams::default();
    let nodes = timeout(PATIENCE, api.list_metadata(&all)).await;
    for node in nodes.iter().flatten().flatten() {
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
    for (node, pods) in agents {
        let pod = match <[Pod; 1]>::try_from(pods) {
            Ok([pod]) => pod,
            Err(pods) => {
                let names: Vec<_> = pods.iter().map(name).collect();
                let reason = "several pods say that they are its agent: name a namespace with --agent-namespace";
                answers.push(Answer {
                    node,
                    agent: names.join(", "),
                    said: Said::Error(reason.to_owned()),
                });
                continue;
            }
        };
        let (client, turns) = (client.clone(), turns.clone());
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        asked.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let agent = name(&pod);
            let answer = timeout(PATIENCE, ask_one(client, &pod, arguments)).await;
            let said = match answer.unwrap_or_else(|_| Err(late())) {
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

async fn agents(client: &Client, target: &Target) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = match &target.agent_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let agents = ListParams::default().labels(AGENTS);
    match timeout(PATIENCE, api.list(&agents)).await {
        Ok(Ok(list)) => Ok(list.items),
        Ok(Err(kube::Error::Api(status)))
            if status.code == 403 && target.agent_namespace.is_none() =>
        {
            Err(Error::OfAll(status.message))
        }
        Ok(Err(error)) => Err(Error::Agents(error.to_string())),
        Err(_) => Err(Error::Agents(late())),
    }
}

/// The agent's pod of each node; of two of a namespace (one is being replaced) the one that stays. Everybody may label a
/// pod: of two namespaces nobody is believed.
fn by_node(pods: Vec<Pod>, target: &Target) -> BTreeMap<String, Vec<Pod>> {
    let mut agents = BTreeMap::<String, Vec<Pod>>::new();
    for pod in pods {
        let spec = pod.spec.as_ref();
        let Some(node) = spec.and_then(|spec| spec.node_name.clone()) else {
            continue;
        };
        if !is_agent(&pod) || !wanted(target, &node) {
            continue;
        }
        let others = agents.entry(node).or_default();
        match others
            .iter_mut()
            .find(|other| other.namespace() == pod.namespace())
        {
            Some(_) if pod.metadata.deletion_timestamp.is_some() => {}
            Some(other) => *other = pod,
            None => others.push(pod),
        }
    }
    agents
}

fn is_agent(pod: &Pod) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut owners = pod.owner_references().iter();
    let is_owned = owners.any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    is_owned && containers.any(|container| container.name == CONTAINER)
}

/// `namespace/name`
fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

fn late() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
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
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "status": status })).unwrap()
    }

    /// A pod of an agent's kind: on a node, of a namespace, owned so.
    fn agent(node: &str, namespace: &str, name: &str, owner: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": namespace, "name": name,
                "ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "o", "uid": "u", "controller": true}]},
            "spec": {"nodeName": node, "containers": [{"name": CONTAINER}]},
        }))
        .unwrap()
    }

    #[test]
    fn an_agent_is_of_a_daemon_set_and_of_two_namespaces_neither_is_believed() {
        let mut leaving = agent("b", "spanlet", "old", "DaemonSet");
        leaving.metadata.deletion_timestamp =
            serde_json::from_str("\"2026-11-21T20:00:00Z\"").unwrap();
        let pods = vec![
            agent("a", "spanlet", "a1", "DaemonSet"),
            agent("a", "evil", "a2", "ReplicaSet"),
            agent("b", "spanlet", "new", "DaemonSet"),
            leaving,
            agent("c", "evil", "c2", "DaemonSet"),
            agent("c", "spanlet", "c1", "DaemonSet"),
        ];
        let found = by_node(pods, &Target::default());
        let found: Vec<_> = found
            .iter()
            .map(|(node, pods)| {
                (
                    node.as_str(),
                    pods.iter().map(super::name).collect::<Vec<_>>().join(" "),
                )
            })
            .collect();
        let expected = [
            ("a", "spanlet/a1"),
            ("b", "spanlet/new"),
            ("c", "evil/c2 spanlet/c1"),
        ];
        assert_eq!(found, expected.map(|(node, pods)| (node, pods.to_owned())));
    }

    /// An API server that takes the connection and answers so, or never.
    async fn asked(answer: Option<&'static str>) -> Error {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                open.push(stream);
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let asked = ask::<serde_json::Value>(&client, &Target::default(), &[]).await;
        asked.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let silent = asked(None).await.to_string();
        assert_eq!(
            silent,
            "cannot list the agents' pods: no answer within 20 s"
        );
    }

    #[tokio::test]
    async fn who_may_not_look_in_all_namespaces_is_told_the_way() {
        let body = r#"{"kind":"Status","status":"Failure","code":403,"message":"no","reason":"Forbidden"}"#;
        let head = "HTTP/1.1 403 X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length";
        let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
        let forbidden = asked(Some(answer.leak())).await.to_string();
        assert!(forbidden.contains("--agent-namespace"), "{forbidden}");
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
