//! An agent that is replaced under load: killed, or upgraded. In: the load. Out: functions that notice nothing; requests without a span only
//! while there was no agent.

use std::ops::Range;
use std::time::Duration;

use anyhow::{ensure, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::statistics::percentile;
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, kubectl, text, PATIENCE};
use crate::driver::{Plan, Sent};
use crate::namespace::{Function, Namespace};
use crate::pods::{address, name};
use crate::spans::{self, Arrivals};

const QUIET: Duration = Duration::from_secs(3);
/// How long a load goes on before and after a change.
const AROUND: Duration = Duration::from_secs(3);

#[test]
fn a_killed_agent_costs_functions_nothing() -> Result<()> {
    agent::ensure_default()?;
    replaced("killed", || {
        let pod = agent::pod()?;
        let arguments = [
            "delete",
            "pod",
            "-n",
            agent::NAMESPACE,
            name(&pod),
            "--force",
            "--grace-period=0",
        ];
        kubectl(&arguments)?;
        another_pod(&pod)
    })
}

#[test]
fn an_upgrade_costs_functions_nothing() -> Result<()> {
    agent::ensure_default()?;
    replaced("upgraded", || {
        let pod = agent::pod()?;
        agent::install(&agent::values(
            json!({"podAnnotations": {"example.org/upgrade": "2"}}),
        ))?;
        another_pod(&pod)
    })
}

fn another_pod(old: &Json) -> Result<()> {
    wait_until(PATIENCE, "another agent", || {
        let new = agent::pod()?;
        Ok((text(&new, "/metadata/uid") != text(old, "/metadata/uid")).then_some(()))
    })
}

/// Replaces the agent under load: no error, no slower, and what has no span was sent while there was no agent. That a pod starts costs
/// the others time on few cores, whatever it is: so another one is replaced first, to compare.
fn replaced(purpose: &str, replace: impl Fn() -> Result<()>) -> Result<()> {
    let namespace = Namespace::traced(purpose)?;
    namespace.run(&[
        Function::new("shop", "go"),
        Function::new("control", "python"),
    ])?;
    let pod = namespace.pod("shop")?;
    let mut arrivals = Arrivals::from_now()?;
    let ids = format!("{}-", namespace.name);
    let load = Plan::new(address(&pod)?, &namespace.name, "/hello")
        .every_ms(5)
        .keep_alive()
        .start();
    let quiet = during(pass)?;
    let control = during(|| {
        kubectl(&[
            "rollout",
            "restart",
            "-n",
            &namespace.name,
            "deployment/control",
        ])?;
        api::rolled_out(&namespace.name, "deployment/control")
    })?;
    std::thread::sleep(AROUND / 3);
    let change = during(replace)?;
    let after = during(pass)?;
    let sent = load.finish_all_answered()?;
    let spans = arrivals.settled(QUIET)?;
    let found = spans::by_id(&spans::of(&spans, Kind::Server, &ids));
    let missed: Vec<&Sent> = sent
        .iter()
        .filter(|one| !found.contains_key(&one.id))
        .collect();
    let outside: Vec<_> = missed
        .iter()
        .filter(|one| !change.contains(&one.at_ns))
        .collect();
    let times: Vec<u64> = missed.iter().map(|one| one.at_ns).collect();
    let blind = times.iter().max().unwrap_or(&0) - times.iter().min().unwrap_or(&0);
    println!(
        "{} of {} requests without a span, within {} ms",
        missed.len(),
        sent.len(),
        blind / 1_000_000
    );
    ensure!(
        outside.is_empty(),
        "no spans of requests while there was an agent: {outside:?}"
    );
    no_slower(&sent, [quiet, control, change, after])
}

/// Nothing but time.
fn pass() -> Result<()> {
    std::thread::sleep(AROUND);
    Ok(())
}

/// When something was done, by the clock of spans.
fn during(work: impl FnOnce() -> Result<()>) -> Result<Range<u64>> {
    let from = spans::now_ns();
    work()?;
    Ok(from..spans::now_ns())
}

/// Times that requests took: in quiet, while another pod was replaced, while the agent was, and after.
fn no_slower(sent: &[Sent], whens: [Range<u64>; 4]) -> Result<()> {
    let times = |when: &Range<u64>| -> Vec<u64> {
        let its = sent.iter().filter(|one| when.contains(&one.at_ns));
        its.map(|one| one.took.as_micros() as u64).collect()
    };
    let mut medians = Vec::new();
    for (when, name) in
        whens
            .iter()
            .zip(["quiet", "another pod replaced", "agent replaced", "after"])
    {
        let mut times = times(when);
        let [half, most] = [0.5, 0.95].map(|share| percentile(&mut times, share));
        println!("{name}: p50 {half} µs, p95 {most} µs");
        medians.push(half);
    }
    // Half as much again, and what a timer may be late.
    let bound = medians[0].max(medians[1]) * 3 / 2 + 100;
    ensure!(
        medians[2] <= bound && medians[3] <= bound,
        "requests became slower: medians {medians:?} µs"
    );
    Ok(())
}
