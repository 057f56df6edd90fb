//! Who is traced, and why.

use globset::GlobBuilder;
use spanlet::pods::model::{Ancestor, Failure, Pod};
use spanlet::pods::{selector, Choice, Config, Kind, Limits, Update};

use crate::world::{key, map, owned, owner, pod, World};

const LABEL: &str = "spanlet.dev/trace";

/// A pod in a namespace with that label, itself with that annotation and that label.
fn choice(namespace: Option<&str>, annotation: Option<&str>, label: Option<&str>) -> String {
    let mut world = World::new();
    world.namespace("shop", namespace);
    let value = |value: Option<&str>| match value {
        Some(value) => map(&[(LABEL, value)]),
        None => map(&[]),
    };
    world.pod(Pod {
        annotations: value(annotation),
        labels: value(label),
        ..pod("u")
    });
    world.choice("u")
}

#[test]
fn the_namespace_chooses_and_the_pod_overrides() {
    let (on, off) = (Some("enabled"), Some("disabled"));
    for (namespace, annotation, label, expected) in [
        (None, None, None, "0 namespace shop is not labelled"),
        (on, None, None, "+ namespace shop is labelled"),
        (off, None, None, "- label of namespace shop says disabled"),
        (on, off, None, "- annotation says disabled"),
        (None, on, None, "+ annotation says enabled"),
        (off, on, None, "+ annotation says enabled"),
        (on, None, off, "- label says disabled"),
        (None, None, on, "+ label says enabled"),
        (None, on, off, "+ annotation says enabled"),
        (on, off, on, "- annotation says disabled"),
    ] {
        assert_eq!(choice(namespace, annotation, label), expected);
    }
}

#[test]
fn wrong_values_are_told_and_count_as_not_set() {
    let is_wrong = "has the value \"yes\": neither enabled nor disabled";
    let yes = Some("yes");
    for (namespace, annotation, label, expected) in [
        (
            yes,
            None,
            None,
            format!("0 label of namespace shop {is_wrong}"),
        ),
        (
            Some("enabled"),
            yes,
            None,
            format!("+ namespace shop is labelled; annotation {LABEL} {is_wrong}"),
        ),
        (
            None,
            yes,
            Some("enabled"),
            format!("+ label says enabled; annotation {LABEL} {is_wrong}"),
        ),
        (
            None,
            None,
            yes,
            format!("0 namespace shop is not labelled; label {LABEL} {is_wrong}"),
        ),
    ] {
        assert_eq!(choice(namespace, annotation, label), expected);
    }
}

#[test]
fn the_agent_and_excluded_namespaces_never() {
    let mut world = World::with(Config {
        own: Some(("shop".into(), "web-1".into())),
        ..Config::default()
    });
    world.namespace("shop", Some("enabled"));
    let enabled = Pod {
        annotations: map(&[(LABEL, "enabled")]),
        ..pod("own")
    };
    world.pod(enabled.clone());
    assert_eq!(world.choice("own"), "- is the agent");
    world.pod(Pod {
        namespace: "kube-system".into(),
        ..Pod {
            key: key("dns"),
            ..enabled
        }
    });
    assert_eq!(world.choice("dns"), "- namespace kube-system is excluded");
}

#[test]
fn the_configuration_chooses_by_labels_and_workloads() {
    let glob = GlobBuilder::new("shop/deployment/*")
        .literal_separator(true)
        .case_insensitive(true)
        .build()
        .unwrap();
    let mut world = World::with(Config {
        select_pods: vec![selector::parse("app in (cart),!canary").unwrap()],
        select_workloads: vec![glob.compile_matcher()],
        ..Config::default()
    });
    let cart = Pod {
        labels: map(&[("app", "cart")]),
        ..pod("cart")
    };
    world.pod(cart.clone());
    assert_eq!(world.choice("cart"), "?", "its namespace may say no");
    world.namespace("shop", None);
    assert_eq!(
        world.choice("cart"),
        "+ matches select_pods app in (cart),!canary"
    );
    let set = owner("ReplicaSet", "web-5d");
    world.pod(owned("web", set.clone(), Ancestor::Unknown));
    assert_eq!(world.choice("web"), "?", "what owns it is being asked");
    let deployment = Ancestor::Known(owner("Deployment", "web"));
    let changes = world.tell(Update::Ancestor(set.uid, deployment));
    assert_eq!(changes, crate::world::changed(&["web"]));
    assert_eq!(
        world.choice("web"),
        "+ matches select_workloads shop/deployment/*"
    );
    world.pod(owned("job", owner("Job", "once"), Ancestor::None));
    assert_eq!(world.choice("job"), "0 namespace shop is not labelled");
    world.namespace("shop", Some("disabled"));
    assert_eq!(
        world.choice("cart"),
        "- label of namespace shop says disabled"
    );
}

#[test]
fn what_is_refused_comes_with_what_to_do() {
    let remedy = |namespace: Option<&str>, annotations: &[(&str, &str)]| {
        let mut world = World::new();
        world.namespace("shop", namespace);
        world.pod(Pod {
            annotations: map(annotations),
            ..pod("u")
        });
        match world.index.choice(&key("u")) {
            Choice::Refused(why) | Choice::Unchosen(why) => why.remedy.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        remedy(None, &[]),
        "kubectl label namespace shop spanlet.dev/trace=enabled"
    );
    assert_eq!(
        remedy(Some("yes"), &[]),
        "kubectl label namespace shop spanlet.dev/trace=enabled --overwrite"
    );
    assert_eq!(
        remedy(None, &[(LABEL, "disabled")]),
        "kubectl annotate pod -n shop web-1 spanlet.dev/trace-"
    );
}

/// What may still come is waited for; what cannot come is told.
#[test]
fn unknown_is_told_from_unknowable() {
    let mut world = World {
        index: spanlet::pods::Index::default(),
    };
    assert_eq!(world.choice("u"), "?");
    world.pod(pod("u"));
    assert_eq!(world.choice("u"), "?", "its namespace is not known");
    let failed = |kind, failure| Update::Failed(kind, failure);
    assert!(!world
        .tell(failed(Kind::Namespaces, Failure::Other))
        .pods
        .contains(&key("x")));
    assert_eq!(world.choice("u"), "?");
    let changes = world.tell(failed(Kind::Namespaces, Failure::Forbidden));
    assert!(changes.all);
    assert_eq!(
        world.choice("u"),
        "0 the label of namespace shop is not known: the agent may not list namespaces"
    );
    assert_eq!(world.choice("other"), "?");
    assert!(world.tell(failed(Kind::Pods, Failure::Forbidden)).all);
    assert_eq!(
        world.choice("other"),
        "0 pod is not known: the agent may not list pods"
    );
    world.tell(Update::Begin(Kind::Pods));
    assert!(world.tell(Update::Complete(Kind::Pods)).all);
    assert_eq!(world.choice("other"), "?");
}

#[test]
fn bounds_are_told_and_counted() {
    let limits = Limits {
        pods: 1,
        namespaces: 2,
        ..Limits::default()
    };
    let mut world = World::with(Config {
        limits,
        ..Config::default()
    });
    world.namespace("other", None);
    world.namespace("shop", Some("enabled"));
    world.pod(pod("u"));
    assert_eq!(
        world.choice("u"),
        "0 the label of namespace shop is not known: there are more namespaces than are kept"
    );
    world.pod(pod("second"));
    assert_eq!(world.choice("second"), "0 pod is not known: 1 others are");
    let dropped = |kind| world.index.kept(kind).dropped;
    assert_eq!((dropped(Kind::Pods), dropped(Kind::Namespaces)), (1, 1));
}
