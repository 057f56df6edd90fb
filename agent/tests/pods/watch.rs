//! The watch against an API server that misbehaves, and what it costs one that does not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use spanlet::pods::model::Ancestor;
use spanlet::pods::status::{self, State, Status};
use spanlet::pods::watch::{self, Watch};
use spanlet::pods::{Changes, Config, Index, Kind, Update};

use crate::server::{event, list, Answer, Server};
use crate::world::{said, World};

/// How the kubelet calls a pod of its own files.
const HASH: &str = "8b2a1f0c9d3e4f5a6b7c8d9e0f1a2b3c";
const LONG: Duration = Duration::from_secs(60);

/// A watch, what it told, and the index of it.
struct Follower {
    world: World,
    watch: Watch,
    told: Vec<Update>,
    patience: Duration,
}

impl Follower {
    fn of(server: &Server) -> Self {
        Self::with(server, Config::default())
    }

    fn with(server: &Server, config: Config) -> Self {
        let config = Arc::new(Config {
            node_name: "node-1".into(),
            kubeconfig: Some(server.kubeconfig()),
            ..config
        });
        Self {
            world: World {
                index: Index::new(config.clone()),
            },
            watch: watch::start(&config),
            told: Vec::new(),
            patience: LONG,
        }
    }

    fn status(&self) -> Status {
        status::of(&self.world.index, &self.watch.meter)
    }

    fn state(&self, kind: Kind) -> String {
        let status = self.status();
        let of = status
            .kinds
            .iter()
            .find(|status| status.kind == kind.name());
        match of.map(|status| &status.state) {
            Some(State::Failing { error, .. }) => error.clone(),
            Some(State::Following) => "following".to_owned(),
            Some(State::Starting) | None => "starting".to_owned(),
        }
    }

    /// Takes updates until the condition holds.
    async fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        let found = tokio::time::timeout(self.patience, async {
            while !holds(self) {
                for update in self.watch.updates.recv().await.unwrap() {
                    self.told.push(update.clone());
                    self.world.index.apply(update, &mut Changes::default());
                }
            }
        });
        let found = found.await;
        assert!(found.is_ok(), "{}\n{:#?}", self.status(), self.told);
    }

    fn tellings(&self, kind: Kind) -> usize {
        let complete = self
            .told
            .iter()
            .filter(|update| **update == Update::Complete(kind));
        complete.count()
    }
}

fn pod(uid: &str, ip: &str) -> Value {
    json!({
        "metadata": {
            "name": uid, "namespace": "shop", "uid": uid, "resourceVersion": "5",
            "labels": {"app": "x", "pod-template-hash": "5d"},
            "annotations": {"spanlet.dev/trace": "enabled", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "rs", "controller": true}],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "web:v2", "env": [{"name": "SECRET", "value": "s"}]}]},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-11-21T20:00:00Z",
            "containerStatuses": [{"name": "main", "containerID": "containerd://c1", "image": "web:v2", "imageID": "web@sha256:0f", "restartCount": 1,
                "ready": true, "lastState": {"terminated": {"containerID": "containerd://c0", "exitCode": 1}}}],
        },
    })
}

fn service(name: &str, ips: &[&str]) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "5"},
        "spec": {"clusterIP": ips.first(), "clusterIPs": ips, "ports": [{"port": 80}]},
    })
}

fn replica_set() -> Value {
    json!({"metadata": {"name": "web-5d", "uid": "rs", "ownerReferences":
        [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]}})
}

fn node() -> Value {
    json!({
        "metadata": {"name": "node-1", "uid": "n", "labels": {"topology.kubernetes.io/zone": "z1", "kubernetes.io/hostname": "host-1"}},
        "spec": {"providerID": "kind://x"},
        "status": {"nodeInfo": {"machineID": "m", "architecture": "amd64"}, "images": [{"names": ["big"]}]},
    })
}

async fn good() -> Server {
    let namespaces = vec![
        json!({"metadata": {"name": "kube-system", "uid": "cluster", "resourceVersion": "2"}}),
        json!({"metadata": {"name": "shop", "uid": "s", "resourceVersion": "3", "labels": {"spanlet.dev/trace": "enabled"}}}),
    ];
    let services = vec![
        service("cart", &["10.96.0.7"]),
        service("headless", &["None"]),
        service("outside", &[]),
    ];
    Server::start()
        .await
        .answer(
            "list pods",
            [Answer::Json(list(vec![pod("a", "10.244.0.5")]))],
        )
        .answer("list namespaces", [Answer::Json(list(namespaces))])
        .answer("list services", [Answer::Json(list(services))])
        .answer("get nodes", [Answer::Json(node())])
        .answer("get replicasets", [Answer::Json(replica_set())])
}

#[tokio::test]
async fn all_is_told_and_no_more_is_asked() {
    let server = good().await;
    let mut follower = Follower::of(&server);
    let is_whole = |follower: &Follower| {
        let pods = follower.tellings(Kind::Pods) > 0 && follower.tellings(Kind::Services) > 0;
        pods && follower.world.workload("a", "c1").is_complete
    };
    follower.until(is_whole).await;
    let said = said(&follower.world.workload("a", "c1"));
    for (key, value) in [
        ("service.name", "web"),
        ("k8s.cluster.uid", "cluster"),
        ("k8s.container.restart_count", "1"),
        ("cloud.availability_zone", "z1"),
        ("host.name", "host-1"),
        ("k8s.pod.start_time", "2026-11-21T20:00:00Z"),
    ] {
        assert_eq!(said[key], value, "{key}");
    }
    assert_eq!(follower.world.choice("a"), "+ annotation says enabled");
    assert_eq!(follower.world.peer("10.96.0.7").unwrap(), "shop/cart");
    assert_eq!(follower.world.peer("10.244.0.5").unwrap(), "shop/web");
    assert_eq!(follower.world.index.kept(Kind::Services).objects, 1);
    assert!(follower.status().is_good(), "{}", follower.status());
    // A list and a watch of each kind, and each object once.
    let mut asked = server.asked();
    let is_watched =
        |asked: &[String]| asked.iter().filter(|q| q.starts_with("watch")).count() == 3;
    while !is_watched(&asked) {
        tokio::task::yield_now().await;
        asked = server.asked();
    }
    assert_eq!(asked.len(), 8, "{asked:#?}");
    // What there can be many of comes in pages.
    for question in ["list namespaces", "list services"] {
        let is_paged = |asked: &&String| {
            asked.starts_with(question)
                && asked.contains("limit=")
                && !asked.contains("resourceVersion=0")
        };
        assert_eq!(asked.iter().filter(is_paged).count(), 1, "{asked:#?}");
    }
    assert!(asked
        .iter()
        .all(|q| !q.contains("pods") || q.contains("spec.nodeName%3Dnode-1")));
}

#[tokio::test]
async fn what_is_too_old_is_told_again() {
    let gone = json!({"kind": "Status", "code": 410, "message": "too old", "reason": "Expired"});
    let lists = [
        Answer::Json(list(vec![pod("a", "10.244.0.5"), pod("b", "10.244.0.6")])),
        Answer::Json(list(vec![pod("b", "10.244.0.6")])),
    ];
    let watches = [
        Answer::Events(vec![event("ERROR", gone)]),
        Answer::Events(vec![]),
    ];
    let server = good()
        .await
        .answer("list pods", lists)
        .answer("watch pods", watches);
    let mut follower = Follower::of(&server);
    follower.until(|f| f.tellings(Kind::Pods) == 1).await;
    assert!(follower.world.peer("10.244.0.5").is_some());
    follower.until(|f| f.tellings(Kind::Pods) == 2).await;
    assert_eq!(follower.world.peer("10.244.0.5"), None);
    assert!(follower.world.peer("10.244.0.6").is_some());
    // It is remembered for its last spans, and no failure.
    assert_eq!(follower.world.choice("a"), "+ annotation says enabled");
    assert_eq!(follower.state(Kind::Pods), "following");
}

/// The API server says so at once where its memory does not reach back so far.
#[tokio::test]
async fn a_watch_that_cannot_start_where_the_list_ended_is_made_up_for() {
    let watches = [Answer::Refuse(410), Answer::Events(vec![])];
    let server = good().await.answer("watch pods", watches);
    let mut follower = Follower::of(&server);
    follower.until(|f| f.tellings(Kind::Pods) == 2).await;
    assert_eq!(follower.state(Kind::Pods), "following");
}

/// Services come in pages: until the last, who looks is told so.
#[tokio::test]
async fn a_part_is_not_all() {
    let mut first = list(vec![service("cart", &["10.96.0.7"])]);
    first["metadata"]["continue"] = "more".into();
    let pages = [Answer::Json(first), Answer::Silence];
    let server = good().await.answer("list services", pages);
    let mut follower = Follower::of(&server);
    follower
        .until(|f| f.world.peer("10.96.0.7").is_some())
        .await;
    assert_eq!(follower.state(Kind::Services), "starting");
    assert!(!follower.status().is_good());
}

#[tokio::test]
async fn changes_come_by_the_watch() {
    let mut ended = pod("a", "10.244.0.5");
    ended["status"]["phase"] = "Succeeded".into();
    let mut host = pod("h", "192.0.2.1");
    host["spec"]["hostNetwork"] = true.into();
    let mut fixed = pod("m", "10.244.0.9");
    fixed["metadata"]["annotations"]["kubernetes.io/config.mirror"] = HASH.into();
    let mut liar = fixed.clone();
    liar["metadata"]["uid"] = "l".into();
    fixed["metadata"]["ownerReferences"][0]["kind"] = "Node".into();
    let mut other = fixed.clone();
    other["metadata"]["uid"] = "o".into();
    other["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "a".into();
    let events = ["ADDED", "MODIFIED", "ADDED", "ADDED", "ADDED"]
        .iter()
        .zip([host, ended, liar, other, fixed]);
    let events = events.map(|(kind, pod)| event(kind, pod)).collect();
    let server = good().await.answer("watch pods", [Answer::Events(events)]);
    let mut follower = Follower::of(&server);
    follower.until(|f| f.world.choice(HASH) != "?").await;
    // What the kubelet would not write so is a pod like others.
    for (key, uid) in [(HASH, "m"), ("l", "l"), ("o", "o")] {
        let workload = follower.world.workload(key, "c1");
        assert_eq!(said(&workload)["k8s.pod.uid"], uid);
    }
    assert_eq!(follower.tellings(Kind::Pods), 1);
    assert_eq!(follower.world.choice("h"), "+ annotation says enabled");
    assert_eq!(follower.world.peer("192.0.2.1"), None, "it is the node's");
    assert_eq!(follower.world.peer("10.244.0.5"), None, "it was given back");
}

#[tokio::test]
async fn a_missing_role_is_named_and_the_rest_goes_on() {
    let server = good()
        .await
        .answer("list services", [Answer::Refuse(403)])
        .answer("get replicasets", [Answer::Refuse(403)]);
    let mut follower = Follower::of(&server);
    let is_told =
        |f: &Follower| f.state(Kind::Services) != "starting" && f.state(Kind::Owners) != "starting";
    follower.until(is_told).await;
    follower
        .until(|f| f.tellings(Kind::Pods) > 0 && f.tellings(Kind::Namespaces) > 0)
        .await;
    assert_eq!(
        follower.state(Kind::Services),
        "cannot list services: forbidden; grant the agent the verb list on services"
    );
    assert_eq!(
        follower.state(Kind::Owners),
        "cannot get replicasets.apps: forbidden; grant the agent the verb get on replicasets.apps"
    );
    assert_eq!(follower.world.choice("a"), "+ annotation says enabled");
    // The name is known by the pod's hash; nothing more will come of it.
    follower
        .until(|f| f.world.workload("a", "c1").is_complete)
        .await;
    assert_eq!(
        said(&follower.world.workload("a", "c1"))["service.name"],
        "web"
    );
}

fn owner_is_known(follower: &Follower) -> bool {
    let is_known = |update: &Update| matches!(update, Update::Ancestor(_, Ancestor::Known(_)));
    follower.told.iter().any(is_known)
}

/// An API server that starts, or has too much to do, says so: its answer is waited for.
#[tokio::test]
async fn owners_are_asked_again_of_a_server_that_is_busy() {
    let answers = [429, 500, 503, 504].map(Answer::Refuse).into_iter();
    let server = good().await.answer(
        "get replicasets",
        answers.chain([Answer::Json(replica_set())]),
    );
    let mut follower = Follower::of(&server);
    follower.until(owner_is_known).await;
    assert!(follower.status().is_good(), "{}", follower.status());
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_granted_later_is_used() {
    let answers = [Answer::Refuse(403), Answer::Json(replica_set())];
    let server = good().await.answer("get replicasets", answers);
    let mut follower = Follower::of(&server);
    follower.patience = LONG * 60;
    follower.until(owner_is_known).await;
    let asked = server.asked();
    assert!(
        asked
            .iter()
            .filter(|q| q.starts_with("get replicasets"))
            .count()
            > 1
    );
}

#[tokio::test]
async fn answers_that_break_off_are_asked_again() {
    let whole = list(vec![service("cart", &["10.96.0.7"])]);
    let answers = [
        Answer::Half(whole.clone()),
        Answer::Garbage,
        Answer::Refuse(500),
        Answer::Slow(whole),
    ];
    let server = good().await.answer("list services", answers);
    let mut follower = Follower::of(&server);
    follower.until(|f| f.tellings(Kind::Services) == 1).await;
    assert_eq!(follower.world.peer("10.96.0.7").unwrap(), "shop/cart");
    let source = follower.watch.meter.source(Kind::Services);
    let errors: u64 = source.errors.iter().sum();
    assert_eq!((errors, source.tellings), (3, 1));
    assert!(source.failing.is_none());
}

/// An event that cannot be read may have been of importance: all is told again.
#[tokio::test]
async fn an_event_that_cannot_be_read_is_made_up_for() {
    let broken = json!({"type": "ADDED", "object": {"metadata": 7}});
    let watches = [Answer::Events(vec![broken]), Answer::Events(vec![])];
    let server = good().await.answer("watch namespaces", watches);
    let mut follower = Follower::of(&server);
    follower.until(|f| f.tellings(Kind::Namespaces) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_and_told() {
    let server = good().await.answer("list pods", [Answer::Silence]);
    let mut follower = Follower::of(&server);
    follower.patience = LONG * 60;
    let is_told = |f: &Follower| f.state(Kind::Pods).contains("no answer for 30 s");
    follower.until(is_told).await;
}

#[tokio::test]
async fn nobody_there_is_told_and_waited_for() {
    let server = good().await;
    let config = server.kubeconfig();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&server.address, &nobody)).unwrap();
    let config = Arc::new(Config {
        node_name: "node-1".into(),
        kubeconfig: Some(config),
        ..Config::default()
    });
    let mut follower = Follower {
        world: World {
            index: Index::new(config.clone()),
        },
        watch: watch::start(&config),
        told: Vec::new(),
        patience: LONG,
    };
    follower
        .until(|f| f.state(Kind::Pods).contains("Connection refused"))
        .await;
    assert_eq!(follower.world.choice("a"), "?");
    assert!(!follower.status().is_good());
}

#[tokio::test]
async fn pods_of_all_nodes_only_when_wished() {
    let server = good().await;
    let config = Config {
        cluster_pods: true,
        ..Config::default()
    };
    let mut follower = Follower::with(&server, config);
    follower.until(|f| f.tellings(Kind::ClusterPods) == 1).await;
    assert_eq!(follower.world.index.kept(Kind::ClusterPods).objects, 1);
    let asked = server.asked();
    let of_all =
        |question: &&String| question.starts_with("list pods") && !question.contains("nodeName");
    assert_eq!(asked.iter().filter(of_all).count(), 1, "{asked:#?}");
}
