//! The Rust toolchain that can build `core` from source for the kernel. In: a machine. Out: the route that works
//! here, and commands that take it. What is there already wins, so that setup downloads nothing it need not.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{self, Machine};
use crate::paths;
use crate::version::{llvm_major, Version};

/// The oldest distribution rustc that builds the workspace.
pub const RUSTC_MINIMUM: Version = Version::new(1, 95);

/// A cargo with the sources of the standard library beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// A nightly of rustup's; `home` where it is our own and not the user's.
    Nightly { home: Option<PathBuf> },
    /// The distribution's packages; its stable compiler is told to accept unstable options.
    Distribution { suffix: String, llvm: u32 },
}

impl Toolchain {
    /// The first that works on this machine.
    pub fn find(machine: &impl Machine) -> Option<Self> {
        nightly(machine, None)
            .or_else(|| distribution(machine))
            .or_else(|| nightly(machine, Some(own_rustup_home())))
    }

    /// A cargo of this toolchain.
    pub fn cargo(&self) -> Command {
        match self {
            Self::Nightly { home } => {
                let mut command = machine::command("cargo");
                command.arg("+nightly").env_remove("RUSTUP_TOOLCHAIN");
                if let Some(home) = home {
                    command.env("RUSTUP_HOME", home);
                }
                command
            }
            Self::Distribution { suffix, .. } => {
                let mut command = machine::command(format!("/usr/bin/cargo{suffix}"));
                command
                    .env("RUSTC", format!("/usr/bin/rustc{suffix}"))
                    .env("RUSTC_BOOTSTRAP", "1");
                command
            }
        }
    }

    /// In a few words, for the set-up's line.
    pub fn describe(&self) -> String {
        match self {
            Self::Nightly { home: None } => "rustup's nightly with rust-src".into(),
            Self::Nightly { home: Some(_) } => "a nightly of our own in target/tools".into(),
            Self::Distribution { suffix, llvm } => {
                format!("the distribution's rustc{suffix} with LLVM {llvm}")
            }
        }
    }
}

/// Where a nightly of our own goes: the user's toolchains are never changed, and an install that is cut off
/// in the middle leaves nothing of theirs broken.
pub fn own_rustup_home() -> PathBuf {
    paths::tools().join("rustup")
}

/// The distribution's compiler, where it is new enough and has its sources.
pub fn distribution(machine: &impl Machine) -> Option<Toolchain> {
    distribution_suffixes().find_map(|suffix| {
        let rustc = format!("/usr/bin/rustc{suffix}");
        let verbose = machine.output(&rustc, &["--version", "--verbose"])?;
        let sysroot = machine.output(&rustc, &["--print", "sysroot"])?;
        let new_enough = Version::find(&verbose)? >= RUSTC_MINIMUM;
        let complete = has_sources(machine, &sysroot)
            && machine.exists(Path::new(&format!("/usr/bin/cargo{suffix}")));
        (new_enough && complete).then_some(())?;
        Some(Toolchain::Distribution {
            llvm: llvm_major(&verbose)?,
            suffix,
        })
    })
}

/// A nightly counts only if its compiler runs and its sources are there: an install that was cut off has
/// components listed whose files are gone.
fn nightly(machine: &impl Machine, home: Option<PathBuf>) -> Option<Toolchain> {
    let run = |arguments: &[&str]| match &home {
        None => machine.output("rustup", arguments),
        Some(home) => {
            let variable = format!("RUSTUP_HOME={}", home.display());
            machine.output("env", &[&[variable.as_str(), "rustup"], arguments].concat())
        }
    };
    if home.as_ref().is_some_and(|home| !machine.exists(home)) {
        return None;
    }
    let sysroot = run(&["run", "nightly", "rustc", "--print", "sysroot"])?;
    has_sources(machine, &sysroot).then_some(Toolchain::Nightly { home })
}

fn has_sources(machine: &impl Machine, sysroot: &str) -> bool {
    machine.exists(&Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core"))
}

/// `rustc` first, then Ubuntu's `rustc-1.N`, the newest first.
fn distribution_suffixes() -> impl Iterator<Item = String> {
    std::iter::once(String::new()).chain(
        (RUSTC_MINIMUM.minor..RUSTC_MINIMUM.minor + 30)
            .rev()
            .map(|n| format!("-1.{n}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    const VERBOSE: &str = "rustc 1.96.0 (x)\nLLVM version: 22.1.8\n";

    fn debian() -> FakeMachine {
        FakeMachine::default()
            .says("/usr/bin/rustc --version --verbose", VERBOSE)
            .says("/usr/bin/rustc --print sysroot", "/usr\n")
            .has("/usr/bin/cargo")
            .has("/usr/lib/rustlib/src/rust/library/core")
    }

    #[test]
    fn a_nightly_with_sources_wins() {
        let machine = debian()
            .says("rustup run nightly rustc --print sysroot", "/n\n")
            .has("/n/lib/rustlib/src/rust/library/core");
        assert_eq!(
            Toolchain::find(&machine),
            Some(Toolchain::Nightly { home: None })
        );
    }

    #[test]
    fn a_nightly_whose_compiler_does_not_run_is_passed_over() {
        let machine = debian().has("/n/lib/rustlib/src/rust/library/core");
        assert_eq!(
            Toolchain::find(&machine),
            Some(Toolchain::Distribution {
                suffix: String::new(),
                llvm: 22
            })
        );
    }

    #[test]
    fn a_nightly_without_sources_is_passed_over() {
        let machine = debian().says("rustup run nightly rustc --print sysroot", "/n\n");
        assert!(matches!(
            Toolchain::find(&machine),
            Some(Toolchain::Distribution { .. })
        ));
    }

    #[test]
    fn an_old_or_incomplete_distribution_is_none() {
        let old = debian().says(
            "/usr/bin/rustc --version --verbose",
            "rustc 1.85.0\nLLVM version: 19.1\n",
        );
        assert_eq!(Toolchain::find(&old), None);
        let mut without_sources = debian();
        without_sources
            .files
            .remove(Path::new("/usr/lib/rustlib/src/rust/library/core"));
        assert_eq!(Toolchain::find(&without_sources), None);
    }

    #[test]
    fn a_versioned_package_is_found() {
        let machine = FakeMachine::default()
            .says(
                "/usr/bin/rustc-1.97 --version --verbose",
                "rustc 1.97.0\nLLVM version: 22.1.0\n",
            )
            .says(
                "/usr/bin/rustc-1.97 --print sysroot",
                "/usr/lib/rust-1.97\n",
            )
            .has("/usr/bin/cargo-1.97")
            .has("/usr/lib/rust-1.97/lib/rustlib/src/rust/library/core");
        assert_eq!(
            Toolchain::find(&machine),
            Some(Toolchain::Distribution {
                suffix: "-1.97".into(),
                llvm: 22
            })
        );
    }
}
