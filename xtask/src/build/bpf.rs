//! Building the kernel programs. In: `ebpf/programs`. Out: `target/bpf/spanlet.bpf.o`, written only when it changed, so
//! that the agent is not built again for nothing.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Options;
use crate::machine::ThisMachine;
use crate::paths;
use crate::run::Run;
use crate::step::Outcome;
use crate::toolchain::Toolchain;

const TARGET: &str = "bpfel-unknown-none";

/// bpf-linker, instructions of 32 bits (Linux 5.1 and later), types for the verifier and the loader (BTF), and the debug
/// information that they are made from.
const RUSTFLAGS: [&str; 8] = [
    "-C",
    "linker=bpf-linker",
    "-C",
    "target-cpu=v3",
    "-C",
    "link-arg=--btf",
    "-C",
    "debuginfo=2",
];

pub fn build(options: Options) -> Result<Outcome> {
    compile(options)?;
    let built = target_directory().join(TARGET).join("release/spanlet-ebpf");
    let new = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let kept = paths::bpf_object();
    if fs::read(&kept).is_ok_and(|old| old == new) {
        return Ok(Outcome::AlreadyThere(format!("{} bytes", new.len())));
    }
    fs::write(&kept, &new).with_context(|| format!("cannot write {}", kept.display()))?;
    Ok(Outcome::Done(format!("{} bytes", new.len())))
}

fn compile(options: Options) -> Result<()> {
    let toolchain =
        Toolchain::find(&ThisMachine).context("no BPF toolchain: run `cargo xtask setup`")?;
    let mut command = toolchain.cargo();
    command.args([
        "build",
        "--package",
        "spanlet-ebpf",
        "--release",
        "--target",
        TARGET,
        "-Z",
        "build-std=core",
    ]);
    command.arg("--target-dir").arg(target_directory());
    command.env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"));
    if options.probe_log {
        command.args(["--features", "probe-log"]);
    }
    Run::new("kernel programs", command).captured().map(|_| ())
}

/// Apart from the agent's, so that neither waits for the other's lock.
fn target_directory() -> PathBuf {
    paths::target().join("bpf")
}
