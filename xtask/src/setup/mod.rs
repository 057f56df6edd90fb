//! `cargo xtask setup`: brings what this machine lacks. In: what for. Out: a line for each step, or what to install
//! by hand. Running it again changes nothing and takes a moment.

mod apt;
mod bpf;
mod cluster;
mod collector;
mod extras;
mod helm;
mod musl;
pub mod runtimes;

use anyhow::{bail, Result};
use clap::ValueEnum;

use crate::k8s::programs;
use crate::machine::ThisMachine;
use crate::step::{step, Outcome};
use apt::Apt;
use runtimes::RUNTIMES;

pub use collector::is_current as collector_is_current;
pub use helm::missing as helm_missing;

#[derive(clap::Args)]
pub struct Options {
    /// What the machine is to be made ready for
    #[arg(long = "for", value_enum, default_value = "all")]
    pub what: Purpose,
}

/// What a machine can be made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// The kernel programs and the agent
    Build,
    /// The same, and the functions of the demo
    Demo,
    /// The same as build, and the static binary
    Static,
    /// The same as static, and the functions, the collector and helm for the end-to-end tests
    Test,
    /// What counts the agent's instructions
    Profile,
    /// A Kubernetes of one node
    Kubernetes,
    /// All of it, and a load generator
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Toolchain,
    BpfLinker,
    Musl,
    DemoRuntimes,
    Runtimes,
    Extras,
    Functions,
    Counter,
    Collector,
    Helm,
    NodePackages,
    Kubernetes,
}

/// Brings everything for one purpose. Every step is tried, so that all that is missing is said at once.
pub fn setup(what: Purpose) -> Result<()> {
    let apt = Apt::new(&ThisMachine);
    let mut faults = Vec::new();
    for part in parts(what) {
        if let Err(fault) = step(name(*part), || bring(*part, &apt)) {
            faults.push(format!("{}: {fault:#}", name(*part)));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("setup is not complete\n{}", faults.join("\n"))
}

fn parts(what: Purpose) -> &'static [Part] {
    use Part::*;
    match what {
        Purpose::Build => &[Toolchain, BpfLinker],
        Purpose::Demo => &[Toolchain, BpfLinker, DemoRuntimes],
        Purpose::Static => &[Toolchain, BpfLinker, Musl],
        Purpose::Test => &[
            Toolchain, BpfLinker, Musl, Runtimes, Extras, Functions, Counter, Collector, Helm,
        ],
        Purpose::Profile => &[Toolchain, Musl, Counter],
        Purpose::Kubernetes => &[Runtimes, Collector, Helm, NodePackages, Kubernetes],
        Purpose::All => &[
            Toolchain,
            BpfLinker,
            Musl,
            Runtimes,
            Extras,
            Functions,
            Counter,
            Collector,
            Helm,
            NodePackages,
            Kubernetes,
        ],
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Toolchain => "setup: BPF toolchain",
        Part::BpfLinker => "setup: bpf-linker",
        Part::Musl => "setup: musl",
        Part::DemoRuntimes | Part::Runtimes => "setup: runtimes",
        Part::Extras => "setup: more runtimes",
        Part::Functions => "setup: functions",
        Part::Counter => "setup: valgrind",
        Part::Collector => "setup: collector",
        Part::Helm => "setup: helm",
        Part::NodePackages => "setup: node",
        Part::Kubernetes => "setup: Kubernetes",
    }
}

fn bring(part: Part, apt: &Apt<ThisMachine>) -> Result<Outcome> {
    match part {
        Part::Toolchain => bpf::toolchain(&ThisMachine, apt),
        Part::BpfLinker => bpf::linker(&ThisMachine, apt),
        Part::Musl => musl::musl(&ThisMachine, apt),
        Part::DemoRuntimes => runtimes::runtimes(runtimes::of_demo(), &ThisMachine, apt),
        Part::Runtimes => runtimes::runtimes(&RUNTIMES, &ThisMachine, apt),
        Part::Extras => extras::extras(&ThisMachine, apt),
        Part::Functions => extras::functions(),
        Part::Counter => runtimes::program("valgrind", &ThisMachine, apt),
        Part::Collector => collector::collector(&ThisMachine),
        Part::Helm => helm::helm(&ThisMachine),
        Part::NodePackages => cluster::packages(&ThisMachine, apt),
        Part::Kubernetes => programs::programs(&ThisMachine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_brings_no_more_than_it_needs() {
        assert!(!parts(Purpose::Build).contains(&Part::Collector));
        assert!(!parts(Purpose::Static).contains(&Part::Runtimes));
        for what in Purpose::value_variants() {
            // All runtimes hold the demo's.
            let own = parts(*what)
                .iter()
                .filter(|part| **part != Part::DemoRuntimes);
            let all = parts(Purpose::All);
            assert!(own.copied().all(|part| all.contains(&part)), "{what:?}");
        }
    }
}
