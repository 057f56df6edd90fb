//! What spans say of a pod and a container.

use std::sync::Arc;

use spanlet::pods::model::{Ancestor, Container, Pod};
use spanlet::pods::{Config, Index, Update};

use crate::world::{container, map, node, owned, owner, pod, run, said, World};

/// All that there is to say.
fn whole() -> World {
    let mut world = World::with(Config {
        node_name: "node-1".into(),
        cluster_name: Some("europe-1".into()),
        environment: Some("production".into()),
        pod_labels: vec!["tier".into(), "absent".into()],
        pod_annotations: vec!["team".into()],
        ..Config::default()
    });
    world.tell(Update::Node(Box::new(node())));
    world.namespace("shop", Some("enabled"));
    let deployment = Ancestor::Known(owner("Deployment", "web"));
    world.pod(Pod {
        started: "2026-11-21T20:00:00Z".into(),
        labels: map(&[("tier", "front"), ("app.kubernetes.io/name", "not-asked")]),
        annotations: map(&[("team", "blue"), ("resource.opentelemetry.io/team.id", "7")]),
        containers: vec![
            container("sidecar"),
            Container {
                run: run("c2", 2),
                before: run("c1", 1),
                ..container("main")
            },
        ],
        ..owned("u", owner("ReplicaSet", "web-5d"), deployment)
    });
    world
}

#[test]
fn a_container_is_described_as_a_whole() {
    let workload = whole().workload("u", "c2");
    assert!(workload.is_complete);
    assert_eq!(
        (&*workload.namespace, &*workload.pod, &*workload.container),
        ("shop", "web-1", "main")
    );
    let expected = map(&[
        ("cloud.availability_zone", "eu-west-1a"),
        ("cloud.provider", "aws"),
        ("cloud.region", "eu-west-1"),
        ("container.id", "c2"),
        ("container.image.name", "registry.example:5000/main"),
        (
            "container.image.repo_digests",
            "registry.example:5000/main@sha256:0f",
        ),
        ("container.image.tags", "v2"),
        ("container.runtime.name", "containerd"),
        ("deployment.environment.name", "production"),
        ("host.arch", "arm64"),
        ("host.id", "i-0123"),
        ("host.name", "node-1.example"),
        ("host.type", "m7g.large"),
        ("k8s.cluster.name", "europe-1"),
        ("k8s.cluster.uid", "uid-of-kube-system"),
        ("k8s.container.name", "main"),
        ("k8s.container.restart_count", "2"),
        ("k8s.deployment.name", "web"),
        ("k8s.namespace.name", "shop"),
        ("k8s.node.name", "node-1"),
        ("k8s.node.uid", "uid-of-node"),
        ("k8s.pod.annotation.team", "blue"),
        ("k8s.pod.label.tier", "front"),
        ("k8s.pod.name", "web-1"),
        ("k8s.pod.start_time", "2026-11-21T20:00:00Z"),
        ("k8s.pod.uid", "u"),
        ("k8s.replicaset.name", "web-5d"),
        ("service.instance.id", "shop.web-1.main"),
        ("service.name", "web"),
        ("service.namespace", "shop"),
        ("service.version", "v2"),
        ("team.id", "7"),
    ]);
    assert_eq!(said(&workload), expected);
}

#[test]
fn the_run_before_keeps_its_count() {
    let said = said(&whole().workload("u", "c1"));
    assert_eq!(said["k8s.container.restart_count"], "1");
    assert_eq!(said["container.id"], "c1");
}

#[test]
fn a_container_is_known_by_its_status_or_by_being_the_only_one() {
    let unknown = whole().workload("u", "c3");
    assert_eq!((unknown.is_complete, &*unknown.container), (false, ""));
    assert!(!said(&unknown).contains_key("service.instance.id"));
    let mut world = World::new();
    world.namespace("shop", None);
    world.pod(pod("single"));
    let only = world.workload("single", "c1");
    assert_eq!((only.is_complete, &*only.container), (false, "main"));
    assert_eq!(said(&only)["service.instance.id"], "shop.web-1.main");
    assert!(!said(&only).contains_key("k8s.container.restart_count"));
}

#[test]
fn what_everybody_tells_is_waited_for() {
    let mut world = World {
        index: Index::new(Arc::default()),
    };
    world.pod(Pod {
        containers: vec![Container {
            run: run("c", 0),
            ..container("main")
        }],
        ..pod("u")
    });
    assert!(!world.workload("u", "c").is_complete);
    let complete = World::new;
    let mut world = complete();
    world.pod(Pod {
        containers: vec![Container {
            run: run("c", 0),
            ..container("main")
        }],
        ..pod("u")
    });
    assert!(world.workload("u", "c").is_complete);
}

fn service_name(well_known_labels: bool, pod: Pod) -> String {
    let mut world = World::with(Config {
        well_known_labels,
        ..Config::default()
    });
    world.pod(pod);
    said(&world.workload("u", "c"))["service.name"].clone()
}

#[test]
fn services_are_named_in_the_order_of_the_conventions() {
    let labels = [
        ("app.kubernetes.io/instance", "shop-eu"),
        ("app.kubernetes.io/name", "shop"),
    ];
    let annotation = [("resource.opentelemetry.io/service.name", "mine")];
    let set = || owner("ReplicaSet", "web-5d");
    let known = |kind, name| Ancestor::Known(owner(kind, name));
    let all = Pod {
        labels: map(&labels),
        annotations: map(&annotation),
        ..owned("u", set(), known("Deployment", "web"))
    };
    let without_annotation = Pod {
        annotations: map(&[]),
        ..all.clone()
    };
    assert_eq!(service_name(false, all.clone()), "mine");
    assert_eq!(service_name(true, all), "mine");
    assert_eq!(service_name(true, without_annotation.clone()), "shop-eu");
    assert_eq!(service_name(false, without_annotation.clone()), "web");
    let name_only = Pod {
        labels: map(&labels[1..]),
        ..without_annotation
    };
    assert_eq!(service_name(true, name_only), "shop");
    for (controller, ancestor, name) in [
        (set(), Ancestor::None, "web-5d"),
        (set(), known("Rollout", "web"), "web-5d"),
        (owner("StatefulSet", "db"), Ancestor::None, "db"),
        (owner("DaemonSet", "log"), Ancestor::None, "log"),
        (
            owner("Job", "nightly-28"),
            known("CronJob", "nightly"),
            "nightly",
        ),
        (owner("Job", "once"), Ancestor::None, "once"),
        (owner("Node", "node-1"), Ancestor::None, "web-1"),
    ] {
        assert_eq!(service_name(false, owned("u", controller, ancestor)), name);
    }
    assert_eq!(service_name(false, pod("u")), "web-1");
}

/// A Deployment names its ReplicaSets by a hash that it writes on their pods: so it is known where it cannot be asked.
#[test]
fn a_deployment_is_known_by_its_pods_hash() {
    let hashed = |ancestor| Pod {
        labels: map(&[("pod-template-hash", "5d")]),
        ..owned("u", owner("ReplicaSet", "web-5d"), ancestor)
    };
    assert_eq!(service_name(false, hashed(Ancestor::Untold)), "web");
    assert_eq!(service_name(false, hashed(Ancestor::Unknown)), "web");
    assert_eq!(service_name(false, hashed(Ancestor::None)), "web-5d");
}

#[test]
fn annotations_win_over_all() {
    let mut world = World::new();
    let resource = |key: &str| format!("resource.opentelemetry.io/{key}");
    world.pod(Pod {
        annotations: map(&[
            (&resource("service.version"), "7"),
            (&resource("service.namespace"), "team"),
            (&resource("service.instance.id"), "i"),
            (&resource("k8s.cluster.uid"), "u"),
            (&resource("empty"), ""),
        ]),
        ..pod("u")
    });
    let said = said(&world.workload("u", "c"));
    for (key, value) in [
        ("service.version", "7"),
        ("service.namespace", "team"),
        ("service.instance.id", "i"),
        ("k8s.cluster.uid", "u"),
        ("k8s.namespace.name", "shop"),
    ] {
        assert_eq!(said[key], value, "{key}");
    }
    assert!(!said.contains_key("empty"));
}

#[test]
fn knative_names_the_function() {
    let mut world = World::new();
    let labels = |service: &[(&str, &str)]| {
        let mut labels = map(service);
        labels.extend(map(&[
            ("serving.knative.dev/configuration", "hello-conf"),
            ("serving.knative.dev/revision", "hello-00007"),
        ]));
        labels
    };
    let set = owner("ReplicaSet", "hello-00007-deployment-5d");
    let deployment = Ancestor::Known(owner("Deployment", "hello-00007-deployment"));
    let revision = owned("u", set, deployment);
    world.pod(Pod {
        labels: labels(&[("serving.knative.dev/service", "hello")]),
        ..revision.clone()
    });
    let found = said(&world.workload("u", "c"));
    for (key, value) in [
        ("service.name", "hello"),
        ("faas.name", "hello"),
        ("faas.version", "hello-00007"),
        ("faas.instance", "web-1"),
        ("k8s.deployment.name", "hello-00007-deployment"),
    ] {
        assert_eq!(found[key], value, "{key}");
    }
    world.pod(Pod {
        labels: labels(&[]),
        ..revision
    });
    assert_eq!(said(&world.workload("u", "c"))["faas.name"], "hello-conf");
}

#[test]
fn clouds_are_told_by_the_nodes_id() {
    for (id, provider, account, host) in [
        ("aws:///eu-west-1a/i-0123", "aws", "", "i-0123"),
        ("gce://project-7/zone/name", "gcp", "project-7", "machine"),
        (
            "azure:///subscriptions/sub-1/resourceGroups/g/providers/p/virtualMachines/v",
            "azure",
            "sub-1",
            "machine",
        ),
        ("kind://docker/kind/node", "", "", "machine"),
        ("", "", "", "machine"),
    ] {
        let mut world = World::new();
        world.pod(pod("u"));
        let mut node = node();
        node.provider_id = id.into();
        world.tell(Update::Node(Box::new(node)));
        let said = said(&world.workload("u", "c"));
        let of = |key| said.get(key).map_or("", String::as_str);
        assert_eq!(
            (of("cloud.provider"), of("cloud.account.id"), of("host.id")),
            (provider, account, host),
            "{id}"
        );
    }
}
