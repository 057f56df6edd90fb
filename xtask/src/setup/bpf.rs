//! The toolchain that builds kernel programs. In: a machine. Out: a compiler with the sources of `core`, and
//! bpf-linker built against the same LLVM.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::apt::Apt;
use crate::machine::{self, Machine};
use crate::paths;
use crate::run::Run;
use crate::step::Outcome;
use crate::toolchain::{own_rustup_home, Toolchain, RUSTC_MINIMUM};

/// Longest wait for rustup's downloads.
const RUSTUP_WAIT_MAX: Duration = Duration::from_secs(600);
const BPF_LINKER_VERSION: &str = "^0.13";

/// A compiler that can build `core` from source.
pub fn toolchain<M: Machine>(machine: &M, apt: &Apt<M>) -> Result<Outcome> {
    if let Some(found) = Toolchain::find(machine) {
        return Ok(Outcome::AlreadyThere(found.describe()));
    }
    if let Err(fault) = install_distribution(apt) {
        if machine.find("rustup").is_none() {
            return Err(fault);
        }
        install_nightly().with_context(|| format!("{fault:#}; and not from rustup either"))?;
    }
    let found =
        Toolchain::find(machine).context("the toolchain was installed but does not answer")?;
    Ok(Outcome::Done(found.describe()))
}

/// bpf-linker, in target/tools.
pub fn linker<M: Machine>(machine: &M, apt: &Apt<M>) -> Result<Outcome> {
    let toolchain = Toolchain::find(machine).context("needs the BPF toolchain first")?;
    let built_for = paths::tools().join("bpf-linker.toolchain");
    let wanted = format!("{BPF_LINKER_VERSION} for {}", toolchain.describe());
    let current = std::fs::read_to_string(&built_for).is_ok_and(|built| built == wanted);
    if current && machine.exists(&paths::tools().join("bin/bpf-linker")) {
        return Ok(Outcome::AlreadyThere(wanted));
    }
    install_linker(&toolchain, machine, apt)?;
    std::fs::write(&built_for, &wanted)
        .with_context(|| format!("cannot write {}", built_for.display()))?;
    Ok(Outcome::Done(wanted))
}

/// A nightly in a home of our own: rustup replaces a toolchain file by file, and one that is stopped in the middle
/// stays broken, so the user's own toolchains are not touched.
fn install_nightly() -> Result<()> {
    let home = own_rustup_home();
    let mut command = machine::command("timeout");
    command.arg(RUSTUP_WAIT_MAX.as_secs().to_string());
    command.args([
        "rustup",
        "toolchain",
        "install",
        "nightly",
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    command.args(["--component", "rust-src"]);
    command.env("RUSTUP_HOME", &home);
    let installed = Run::new("rustup", command).captured();
    if installed.is_err() && home.exists() {
        std::fs::remove_dir_all(&home)
            .with_context(|| format!("cannot remove {}", home.display()))?;
    }
    installed.map(|_| ())
}

fn install_distribution<M: Machine>(apt: &Apt<M>) -> Result<()> {
    let newest = apt.newest("^rustc(-web|-1[.][0-9]+)?$")?;
    let Some((rustc, version)) = newest.filter(|(_, version)| *version >= RUSTC_MINIMUM) else {
        bail!("no rustc {RUSTC_MINIMUM} or newer in the distribution: install rustup with its nightly and rust-src");
    };
    apt.install(&companions(&rustc))
        .with_context(|| format!("{rustc} {version}"))
}

/// The packages of compiler, cargo and library sources that belong together.
fn companions(rustc: &str) -> Vec<String> {
    let suffix = rustc.strip_prefix("rustc").unwrap_or_default();
    vec![
        rustc.to_owned(),
        format!("cargo{suffix}"),
        format!("rust{suffix}-src"),
    ]
}

fn install_linker<M: Machine>(toolchain: &Toolchain, machine: &M, apt: &Apt<M>) -> Result<()> {
    let mut command = toolchain.cargo();
    command.args([
        "install",
        "bpf-linker",
        "--locked",
        "--force",
        "--version",
        BPF_LINKER_VERSION,
        "--root",
    ]);
    command.arg(paths::tools());
    if let Toolchain::Distribution { llvm, .. } = toolchain {
        let prefix = format!("/usr/lib/llvm-{llvm}");
        if !machine.exists(&Path::new(&prefix).join("bin/llvm-config")) {
            apt.install(&[format!("llvm-{llvm}-dev"), format!("clang-{llvm}")])?;
        }
        command
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{llvm}"),
            ])
            .env("LLVM_PREFIX", prefix);
    }
    Run::new("bpf-linker", command)
        .hint("is there a network, and a C++ compiler?")
        .captured()
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_belong_together() {
        assert_eq!(
            companions("rustc-web"),
            ["rustc-web", "cargo-web", "rust-web-src"]
        );
        assert_eq!(
            companions("rustc-1.96"),
            ["rustc-1.96", "cargo-1.96", "rust-1.96-src"]
        );
        assert_eq!(companions("rustc"), ["rustc", "cargo", "rust-src"]);
    }
}
