//! `cargo xtask doctor`: which ring of tests can run here. In: this machine. Out: a table, with what to do about each
//! thing that is missing; exit status 1 when the end-to-end ring cannot run.

mod kernel;
mod kubernetes;

use std::process::ExitCode;

use anyhow::Result;
use spanlet_e2e::runtime;

use crate::machine::{Machine, ThisMachine};
use crate::paths;
use crate::setup;
use crate::setup::runtimes::RUNTIMES;
use crate::toolchain::Toolchain;

/// One thing that the end-to-end ring needs.
struct Need {
    name: String,
    /// What is there, or what is missing and what to do.
    found: Result<String, String>,
}

/// Prints the table.
pub fn doctor() -> Result<ExitCode> {
    println!("unit ring: needs nothing\n\nend-to-end ring:");
    let needs: Vec<Need> = conditions(&ThisMachine)
        .into_iter()
        .chain(tools(&ThisMachine))
        .collect();
    needs.iter().for_each(|need| println!("{}", line(need)));
    let ready = needs.iter().all(|need| need.found.is_ok());
    println!(
        "\nend-to-end ring: {}",
        if ready { "can run" } else { "cannot run" }
    );
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Why the end-to-end ring cannot run here, for reasons that setup cannot mend.
pub fn end_to_end_blocked() -> Option<String> {
    conditions(&ThisMachine).into_iter().find_map(|need| {
        need.found
            .err()
            .map(|fault| format!("{}: {fault}", need.name))
    })
}

/// Why no Kubernetes can run here, for reasons that setup cannot mend.
pub fn kubernetes_blocked() -> Option<String> {
    end_to_end_blocked().or_else(|| kubernetes::missing(&ThisMachine))
}

/// Whether this machine bears out a test's word that it cannot run something here.
pub fn bears_out(what: &str) -> bool {
    let runtime = what.strip_prefix("runtime ");
    kernel::lacks(what)
        || runtime.is_some_and(runtime_is_missing)
        || what == "helm" && setup::helm_missing(&ThisMachine).is_some()
}

fn runtime_is_missing(name: &str) -> bool {
    runtime::named(name).is_ok_and(|runtime| runtime.missing().is_some())
}

fn conditions(machine: &impl Machine) -> Vec<Need> {
    let root = if machine.is_root() {
        Ok("yes".to_owned())
    } else {
        Err("run as root".to_owned())
    };
    vec![
        Need {
            name: "root".into(),
            found: root,
        },
        Need {
            name: "kernel types (BTF)".into(),
            found: kernel::types(machine),
        },
        Need {
            name: "bpf system call".into(),
            found: kernel::bpf_allowed(),
        },
    ]
}

fn tools(machine: &impl Machine) -> Vec<Need> {
    let toolchain = Toolchain::find(machine).map(|found| found.describe());
    let linker = machine
        .exists(&paths::tools().join("bin/bpf-linker"))
        .then(|| "target/tools/bin".to_owned());
    let collector = setup::collector_is_current(machine).then(|| "target/tools".to_owned());
    let mut needs = vec![
        Need {
            name: "BPF toolchain".into(),
            found: toolchain.ok_or_else(by_setup),
        },
        Need {
            name: "bpf-linker".into(),
            found: linker.ok_or_else(by_setup),
        },
        Need {
            name: "collector".into(),
            found: collector.ok_or_else(by_setup),
        },
    ];
    needs.extend(RUNTIMES.iter().map(|runtime| {
        Need {
            name: runtime.program.into(),
            found: runtime
                .check(machine)
                .map(|version| version.to_string())
                .map_err(|fault| format!("{fault}; {}", by_setup())),
        }
    }));
    needs
}

fn by_setup() -> String {
    "run `cargo xtask setup --for test`".to_owned()
}

fn line(need: &Need) -> String {
    let (mark, said) = match &need.found {
        Ok(found) => ("ok", found),
        Err(fault) => ("MISSING", fault),
    };
    format!("  {:<20} {mark:<8} {said}", need.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    #[test]
    fn a_runtime_that_is_there_or_unknown_is_no_excuse() {
        assert!(!bears_out("runtime of the weather"));
        assert!(!bears_out("runtime the weather"));
        // What builds this test is there.
        assert!(!bears_out("runtime rust-tokio"));
    }

    #[test]
    fn a_bare_machine_is_told_what_to_do_about_each() {
        let machine = FakeMachine::default();
        let root = conditions(&machine)
            .into_iter()
            .find(|need| need.name == "root")
            .map(|need| line(&need));
        assert_eq!(
            root.as_deref(),
            Some("  root                 MISSING  run as root")
        );
        let bare = tools(&machine);
        assert!(bare
            .iter()
            .filter(|need| need.found.is_err())
            .all(|need| line(need).contains("cargo xtask setup")));
        assert!(bare
            .iter()
            .any(|need| need.name == "go" && need.found.is_err()));
    }
}
