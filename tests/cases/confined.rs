//! The agent within half of the memory that the chart gives it, which holds the kernel's maps and programs, too.

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{self, Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::helm::chart;
use spanlet_e2e::language::Language;
use spanlet_e2e::memory_group::MemoryGroup;
use spanlet_e2e::otlp::Kind;

use crate::watched::{each_seen, send};

/// Of the container.
fn limit() -> Result<u64> {
    let values = std::fs::read_to_string(chart().join("values.yaml"))?;
    let (_, limits) = values.split_once("\n  limits:\n").context("no limits")?;
    let line = limits.lines().next().unwrap_or_default().trim();
    let mebibytes = line
        .strip_prefix("memory: ")
        .and_then(|size| size.strip_suffix("Mi"));
    Ok(mebibytes.context("no limit in Mi")?.parse::<u64>()? << 20)
}

/// What `kubectl exec` runs is in the agent's container.
#[test]
fn a_doctor_fits_beside_an_agent_in_its_container() -> Result<()> {
    let Some(group) = MemoryGroup::new(limit()? / 2)? else {
        println!("skipped: no control group with a memory controller");
        return Ok(());
    };
    let languages = [Language::Go, Language::Node];
    let functions = languages
        .map(|language| Function::start(language, &function::Options::default()))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let pids: Vec<u32> = functions.iter().map(Function::pid).collect();
    let options = Options::json(Backend::SocketTracepoints, &pids);
    let agent = Agent::start_by(group.command(agent::binary()?), &options)?;
    let mut doctor = group.command(agent::binary()?);
    let output = doctor.args(["doctor", "--output", "json"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    let checks: Vec<serde_json::Value> = serde_json::from_str(&said)?;
    let uprobes = checks.iter().find(|check| check["feature"] == "uprobes");
    ensure!(
        uprobes.context(said.clone())?["outcome"] == "works",
        "{said}"
    );
    for function in &functions {
        send(&function.address, "beside", 3)?;
    }
    let spans = agent.finish()?.spans;
    for pid in pids {
        each_seen(&spans, "beside", Kind::Server, pid, 3)?;
    }
    ensure!(group.kills()? == 0, "somebody was killed");
    Ok(())
}
