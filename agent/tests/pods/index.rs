//! What changes, what is remembered, and who is reached at an address.

use std::sync::Arc;

use spanlet::pods::model::{Addresses, Ancestor, Failure, Peer, Pod};
use spanlet::pods::{Changes, Config, Kind, Limits, Update};

use crate::world::{
    addresses, changed, container, gone, key, map, node, owned, owner, pod, run, World,
};

#[test]
fn only_what_is_said_otherwise_is_a_change() {
    let mut world = World::new();
    assert_eq!(world.namespace("shop", None), Changes::default());
    assert_eq!(world.pod(pod("a")), changed(&["a"]));
    assert_eq!(
        world.pod(pod("a")),
        Changes::default(),
        "told again as it was"
    );
    let elsewhere = Pod {
        namespace: "bank".into(),
        ..pod("b")
    };
    world.pod(elsewhere);
    assert_eq!(world.namespace("shop", Some("enabled")), changed(&["a"]));
    assert_eq!(world.namespace("shop", Some("enabled")), Changes::default());
    let annotated = Pod {
        annotations: map(&[("spanlet.dev/trace", "enabled")]),
        ..pod("a")
    };
    assert_eq!(world.pod(annotated), changed(&["a"]), "for another reason");
    let started = Pod {
        containers: vec![spanlet::pods::model::Container {
            run: run("c1", 0),
            ..container("main")
        }],
        ..pod("a")
    };
    assert_eq!(world.pod(started), changed(&["a"]));
    let node = Update::Node(Box::new(node()));
    assert_eq!(world.tell(node.clone()), changed(&["a", "b"]));
    assert_eq!(world.tell(node), Changes::default());
}

#[test]
fn an_owner_concerns_the_pods_it_owns() {
    let mut world = World::new();
    let set = owner("ReplicaSet", "web-5d");
    world.pod(owned("a", set.clone(), Ancestor::Unknown));
    world.pod(pod("b"));
    assert!(!world.workload("a", "c").is_complete);
    let deployment = Ancestor::Known(owner("Deployment", "web"));
    let changes = world.tell(Update::Ancestor(set.uid.clone(), deployment));
    assert_eq!(changes, changed(&["a"]));
    assert_eq!(
        world.tell(Update::Ancestor("other".into(), Ancestor::None)),
        Changes::default()
    );
}

#[test]
fn a_complete_telling_takes_away_what_was_not_told() {
    let mut world = World::new();
    world.namespace("shop", Some("enabled"));
    world.namespace("old", Some("enabled"));
    world.tell(Update::Begin(Kind::Namespaces));
    world.namespace("shop", Some("enabled"));
    // It broke off, and begins again.
    world.tell(Update::Begin(Kind::Namespaces));
    world.namespace("kube-system", None);
    assert_eq!(world.index.kept(Kind::Namespaces).objects, 3);
    world.namespace("shop", Some("enabled"));
    world.pod(pod("u"));
    assert_eq!(
        world.tell(Update::Complete(Kind::Namespaces)),
        Changes::default()
    );
    assert_eq!(world.index.kept(Kind::Namespaces).objects, 2);
    assert_eq!(world.choice("u"), "+ namespace shop is labelled");
}

#[test]
fn a_deleted_pod_is_remembered_a_while() {
    let limits = Limits {
        gone: 2,
        ..Limits::default()
    };
    let mut world = World::with(Config {
        limits,
        ..Config::default()
    });
    world.namespace("shop", Some("enabled"));
    for uid in ["a", "b", "c"] {
        world.pod(pod(uid));
        assert_eq!(world.tell(gone(uid)), Changes::default());
        // Told twice.
        world.tell(gone(uid));
    }
    assert_eq!(world.choice("a"), "?");
    assert_eq!(world.choice("c"), "+ namespace shop is labelled");
    assert_eq!(world.workload("c", "x").pod, "web-1");
    // A list without it says the same.
    world.pod(pod("d"));
    world.tell(Update::Begin(Kind::Pods));
    world.tell(Update::Complete(Kind::Pods));
    assert_eq!(world.choice("b"), "?");
    assert_eq!(world.choice("d"), "+ namespace shop is labelled");
}

/// Everybody may write of a pod that it stands for another.
#[test]
fn a_pod_that_says_it_is_another_does_not_replace_it() {
    let mut world = World::new();
    world.namespace("shop", Some("enabled"));
    let mirror = |uid: &str, name: &str, namespace: &str| Pod {
        key: key("hash"),
        uid: uid.into(),
        name: name.into(),
        namespace: namespace.into(),
        ..pod("hash")
    };
    world.pod(mirror("m1", "api", "kube-system"));
    let refused = world.choice("hash");
    let changes = world.pod(mirror("m2", "liar", "shop"));
    assert_eq!(
        (world.choice("hash"), changes),
        (refused.clone(), Changes::default())
    );
    // Nor does it take it away.
    world.tell(Update::PodGone(key("hash"), "m2".into()));
    world.tell(Update::Begin(Kind::Pods));
    world.tell(Update::Complete(Kind::Pods));
    assert_eq!(world.index.kept(Kind::Pods).objects, 0);
    world.pod(mirror("m3", "api", "kube-system"));
    // It is made anew; the word that the old one is gone comes late.
    world.pod(mirror("m4", "api", "kube-system"));
    world.tell(Update::PodGone(key("hash"), "m3".into()));
    assert_eq!(world.index.kept(Kind::Pods).objects, 1);
    assert_eq!(world.choice("hash"), refused);
}

/// What is known stays as it was while the API server is gone.
#[test]
fn failures_change_nothing() {
    let mut world = World::new();
    world.namespace("shop", Some("enabled"));
    world.pod(pod("u"));
    for kind in Kind::ALL {
        for failure in [Failure::Other, Failure::Forbidden] {
            let changes = world.tell(Update::Failed(kind, failure));
            assert!(changes.pods.is_empty(), "{kind:?}");
        }
    }
    assert_eq!(world.choice("u"), "+ namespace shop is labelled");
    assert!(world.workload("u", "c").pod == "web-1");
}

#[test]
fn services_and_pods_are_found_by_their_addresses() {
    let mut world = World::new();
    let at = |text: &str, name: &str, holder| Addresses {
        holder,
        addresses: addresses(&[text]),
        peer: Peer {
            name: name.into(),
            namespace: "shop".into(),
        },
    };
    let told = |told| Update::Addresses(Kind::Services, told);
    world.tell(told(at("10.96.0.7", "cart", 1)));
    world.tell(told(at("fd00::7", "six", 2)));
    assert_eq!(world.peer("10.96.0.7").unwrap(), "shop/cart");
    assert_eq!(world.peer("::ffff:10.96.0.7").unwrap(), "shop/cart");
    assert_eq!(world.peer("fd00::7").unwrap(), "shop/six");
    assert_eq!(world.peer("10.96.0.8"), None);
    // The address is another's by the time its old holder is gone.
    world.tell(told(at("10.96.0.7", "stock", 3)));
    world.tell(Update::AddressesGone(
        Kind::Services,
        at("10.96.0.7", "cart", 1),
    ));
    assert_eq!(world.peer("10.96.0.7").unwrap(), "shop/stock");
    world.tell(Update::Begin(Kind::Services));
    world.tell(told(at("fd00::7", "six", 2)));
    world.tell(Update::Complete(Kind::Services));
    assert_eq!(world.peer("10.96.0.7"), None);
    assert_eq!(world.peer("fd00::7").unwrap(), "shop/six");
}

#[test]
fn a_pod_gives_its_address_back() {
    let mut world = World::new();
    let set = owner("ReplicaSet", "web-5d");
    let at = |uid, ip: &[&str]| Pod {
        addresses: addresses(ip),
        ..owned(uid, set.clone(), Ancestor::Unknown)
    };
    world.pod(at("a", &["10.244.0.5"]));
    let deployment = Ancestor::Known(owner("Deployment", "web"));
    world.tell(Update::Ancestor(set.uid.clone(), deployment));
    assert_eq!(world.peer("10.244.0.5").unwrap(), "shop/web");
    // It ended, and another has the address; then it is deleted.
    world.pod(at("a", &[]));
    assert_eq!(world.peer("10.244.0.5"), None);
    world.pod(Pod {
        name: "bare".into(),
        controller: None,
        ancestor: Ancestor::None,
        ..at("b", &["10.244.0.5"])
    });
    world.tell(gone("a"));
    assert_eq!(world.peer("10.244.0.5").unwrap(), "shop/bare");
    world.tell(gone("b"));
    assert_eq!(world.peer("10.244.0.5"), None);
}

#[test]
fn pods_of_other_nodes_are_forgotten_when_they_are_not_followed_any_more() {
    let config = |cluster_pods| Config {
        cluster_pods,
        ..Config::default()
    };
    let mut world = World::with(config(true));
    let told = Addresses {
        holder: 1,
        addresses: addresses(&["10.244.1.5"]),
        peer: Peer {
            name: "far".into(),
            namespace: "shop".into(),
        },
    };
    world.tell(Update::Addresses(Kind::ClusterPods, told));
    let mut changes = Changes::default();
    world.index.configure(Arc::new(config(true)), &mut changes);
    assert_eq!(world.peer("10.244.1.5").unwrap(), "shop/far");
    world.index.configure(Arc::new(config(false)), &mut changes);
    assert_eq!(world.peer("10.244.1.5"), None);
    assert_eq!(world.index.kept(Kind::ClusterPods).objects, 0);
}

#[test]
fn addresses_are_bounded_and_counted() {
    let limits = Limits {
        services: 2,
        ..Limits::default()
    };
    let mut world = World::with(Config {
        limits,
        ..Config::default()
    });
    for number in 0..5 {
        let told = Addresses {
            holder: number,
            addresses: addresses(&[&format!("10.96.0.{number}")]),
            peer: Peer {
                name: "s".into(),
                namespace: "n".into(),
            },
        };
        world.tell(Update::Addresses(Kind::Services, told));
    }
    let kept = world.index.kept(Kind::Services);
    assert_eq!((kept.objects, kept.dropped), (2, 3));
}
