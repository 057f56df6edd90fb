//! Who is traced: by namespace, by pod, live. In: labels and annotations. Out: spans, or none.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use serde_json::json;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::statistics::percentile;
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, kubectl, text};
use crate::driver::{Driver, Plan};
use crate::namespace::{Function, Namespace, TRACE};
use crate::pods::{address, name};
use crate::scenario;
use crate::spans::{self, now_ns, resource, Arrivals};

/// What the issue allows between a label and its effect.
const EFFECT: Duration = Duration::from_secs(2);
/// After the last request, until no span can come any more: a span waits for its parent and for its batch.
const QUIET: Duration = Duration::from_secs(3);

/// When the label was set, taken off, and when that was over: nanoseconds since the Unix epoch, before the API server was asked.
#[derive(Debug)]
struct Flip {
    on: u64,
    off: u64,
    over: u64,
}

#[test]
fn a_label_starts_and_ends_spans_within_two_seconds() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::new("flip")?;
    namespace.run(&[Function::new("shop", "go")])?;
    let pod = namespace.pod("shop")?;
    let mut arrivals = Arrivals::from_now()?;
    let load = Plan::new(address(&pod)?, &namespace.name, "/hello")
        .every_ms(5)
        .start();
    let flips = if scenario::is_long() { 50 } else { 5 };
    let flips: Result<Vec<Flip>> = (0..flips).map(|_| flip(&namespace, &load)).collect();
    let sent = load.finish_all_answered()?;
    let spans = spans::of(&arrivals.settled(QUIET)?, Kind::Server, &namespace.name);
    let traced = spans::by_id(&spans);
    ensure!(
        traced.values().all(|spans| spans.len() == 1),
        "a request has two spans"
    );
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for flip in flips? {
        let effect = EFFECT.as_nanos() as u64;
        for one in &sent {
            let has_span = traced.contains_key(&one.id);
            let must = (flip.on + effect..flip.off).contains(&one.at_ns);
            let must_not = (flip.off + effect..flip.over).contains(&one.at_ns);
            ensure!(has_span || !must, "no span of {one:?}, {flip:?}");
            ensure!(!has_span || !must_not, "a span of {one:?}, {flip:?}");
        }
        let with_span = || {
            sent.iter()
                .filter(|one| traced.contains_key(&one.id))
                .map(|one| one.at_ns)
        };
        let first = with_span().find(|at| *at > flip.on);
        let last = with_span().rfind(|at| *at < flip.over);
        on.push(first.context("no span after the label")? - flip.on);
        off.push(last.context("no span at all")?.saturating_sub(flip.off));
    }
    let before = sent.iter().find(|one| traced.contains_key(&one.id));
    ensure!(
        before.is_some_and(|one| one.id != sent[0].id),
        "traced before the label"
    );
    for (what, values) in [
        ("label to first span", &mut on),
        ("no label to last span", &mut off),
    ] {
        let (half, most) = (percentile(values, 0.5), percentile(values, 0.99));
        println!(
            "{what}: p50 {} ms, p99 {} ms, {} flips",
            half / 1_000_000,
            most / 1_000_000,
            values.len()
        );
    }
    Ok(())
}

/// Label, and no label, each for longer than its effect may take.
fn flip(namespace: &Namespace, load: &Driver) -> Result<Flip> {
    let on = now_ns();
    namespace.label("enabled")?;
    wait_past(now_ns(), EFFECT + EFFECT / 4, load)?;
    let off = now_ns();
    namespace.unlabel()?;
    wait_past(now_ns(), EFFECT + EFFECT / 4, load)?;
    Ok(Flip {
        on,
        off,
        over: now_ns(),
    })
}

/// Waits until so much time has passed; the load is what goes on meanwhile.
fn wait_past(since_ns: u64, length: Duration, _load: &Driver) -> Result<()> {
    let until = since_ns + length.as_nanos() as u64;
    wait_until(length * 2, "time", || Ok((now_ns() > until).then_some(())))
}

#[test]
fn annotations_win_over_the_namespace_both_ways() -> Result<()> {
    agent::ensure_default()?;
    let (labelled, bare) = (Namespace::traced("labelled")?, Namespace::new("bare")?);
    let with = |name, annotations| Function {
        annotations,
        ..Function::new(name, "go")
    };
    labelled.run(&[
        with("plain", json!({})),
        with("out", json!({TRACE: "disabled"})),
        with("wrong", json!({TRACE: "yes"})),
    ])?;
    bare.run(&[
        with("plain", json!({})),
        with("in", json!({TRACE: "enabled"})),
    ])?;
    let mut arrivals = Arrivals::from_now()?;
    for (namespace, function, is_traced) in [
        (&labelled, "plain", true),
        (&labelled, "out", false),
        (&labelled, "wrong", true),
        (&bare, "plain", false),
        (&bare, "in", true),
    ] {
        let pod = namespace.pod(function)?;
        let ids = format!("{}-{function}", namespace.name);
        Plan::new(address(&pod)?, &ids, "/hello").send(10)?;
        if is_traced {
            let spans = arrivals.wait_for(Kind::Server, &ids, 10)?;
            ensure!(spans
                .iter()
                .all(|span| resource(span, "k8s.pod.name") == Some(name(&pod))));
        }
    }
    let all = arrivals.settled(QUIET)?;
    for ids in [
        format!("{}-out", labelled.name),
        format!("{}-plain", bare.name),
    ] {
        let spans = spans::of(&all, Kind::Server, &ids);
        ensure!(spans.is_empty(), "{ids} is traced: {spans:?}");
    }
    let said = agent::probes(&["--output", "json"])?;
    for part in [
        "annotation says disabled",
        "is not labelled",
        "neither enabled nor disabled",
    ] {
        ensure!(
            said.contains(part),
            "`probes` does not say {part:?}:\n{said}"
        );
    }
    Ok(())
}

#[test]
fn an_annotation_is_live() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("live")?;
    namespace.run(&[Function::new("shop", "python")])?;
    let pod = namespace.pod("shop")?;
    let mut arrivals = Arrivals::from_now()?;
    Plan::new(address(&pod)?, "live-before", "/hello").send(5)?;
    arrivals.wait_for(Kind::Server, "live-before", 5)?;
    let annotation = format!("{TRACE}=disabled");
    kubectl(&[
        "annotate",
        "-n",
        &namespace.name,
        "pod",
        name(&pod),
        &annotation,
    ])?;
    let load = Plan::new(address(&pod)?, "live-after", "/hello").start();
    wait_past(now_ns(), EFFECT, &load)?;
    let since = now_ns();
    wait_past(since, EFFECT, &load)?;
    load.finish_all_answered()?;
    let late = spans::of(&arrivals.settled(QUIET)?, Kind::Server, "live-after");
    let late: Vec<_> = late.iter().filter(|span| span.started_ns > since).collect();
    ensure!(
        late.is_empty(),
        "{} spans 2 s after the annotation",
        late.len()
    );
    Ok(())
}

#[test]
fn neither_the_agent_nor_the_system_is_traced() -> Result<()> {
    agent::ensure_default()?;
    let system = ["kube-system", agent::NAMESPACE];
    for namespace in system {
        kubectl(&[
            "label",
            "--overwrite",
            "namespace",
            namespace,
            &format!("{TRACE}=enabled"),
        ])?;
    }
    let mut arrivals = Arrivals::from_now()?;
    // CoreDNS and the agent answer the kubelet's probes each second or so: some go by until a function's spans are here.
    let namespace = Namespace::traced("beside")?;
    namespace.run(&[Function::new("shop", "go")])?;
    let pod = namespace.pod("shop")?;
    Plan::new(address(&pod)?, "beside", "/hello")
        .every_ms(50)
        .send(60)?;
    arrivals.wait_for(Kind::Server, "beside", 60)?;
    let all = arrivals.settled(QUIET)?;
    let foreign: Vec<_> = all
        .iter()
        .filter(|span| {
            resource(span, "k8s.namespace.name").is_none_or(|name| system.contains(&name))
        })
        .collect();
    for namespace in system {
        kubectl(&["label", "namespace", namespace, &format!("{TRACE}-")])?;
    }
    ensure!(foreign.is_empty(), "{foreign:?}");
    let said = agent::probes(&["--output", "json"])?;
    for part in ["kube-system is excluded", "is the agent"] {
        ensure!(
            said.contains(part),
            "`probes` does not say {part:?}:\n{said}"
        );
    }
    let coredns = api::pods("kube-system", "k8s-app=kube-dns")?;
    ensure!(coredns
        .iter()
        .all(|pod| text(pod, "/status/phase") == "Running"));
    Ok(())
}
