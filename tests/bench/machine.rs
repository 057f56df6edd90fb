//! What was measured, where and when. In: this machine. Out: a line; a warning where others disturb.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use spanlet_e2e::agent;

/// Date, agent, kernel, CPUs, and how busy they were with other things.
pub fn description() -> Result<String> {
    let cpus = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown model", |(_, model)| model);
    if let Some(warning) = disturbance()? {
        eprintln!("{warning}");
    }
    Ok(format!(
        "{}, {}, Linux {}, {cpus} CPUs ({model}), load average {load} before; function, load, agent and receiver share the CPUs",
        said("date", &["-u", "+%-d %B %Y"])?,
        said(&agent::binary()?.to_string_lossy(), &["--version"])?,
        kernel.trim(),
    ))
}

/// Other agents' hooks are in every figure, with and without.
fn disturbance() -> Result<Option<String>> {
    let comms = fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        (comm.trim() == "spanlet").then(|| entry.file_name().to_string_lossy().into_owned())
    });
    let others: Vec<String> = comms.collect();
    Ok((!others.is_empty()).then(|| {
        format!(
            "warning: another agent runs (pid {}): its cost is in every figure here",
            others.join(", ")
        )
    }))
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("run {program}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
