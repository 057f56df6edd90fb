//! Building the one static binary. In: a toolchain with musl's standard library, or its sources. Out: `target/spanlet`,
//! shown to ask for no loader and, as root, to run where there is nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use super::Options;
use crate::machine::{self, Machine, ThisMachine};
use crate::paths::{self, MUSL_TARGET};
use crate::run::Run;
use crate::step::Outcome;
use crate::toolchain::Toolchain;

/// What a libunwind that was compiled against glibc asks of musl.
const FORTIFY_SOURCE: &str = "xtask/src/build/fortify.c";

/// LLVM majors whose libunwind.a is looked for, the newest first.
const LLVM_MAJORS: std::ops::RangeInclusive<u32> = 13..=40;

/// How a static standard library is had here.
#[derive(Debug, PartialEq, Eq)]
pub enum StaticRoute {
    /// The cargo in use has musl's standard library.
    Target,
    /// It is built from source, with a static unwinder that Debian packages.
    FromSource {
        toolchain: Toolchain,
        unwinder: PathBuf,
    },
}

impl StaticRoute {
    /// The first that works; none without musl-gcc, which compiles the C in ring.
    pub fn find(machine: &impl Machine) -> Option<Self> {
        machine.find("musl-gcc")?;
        let sysroot = machine
            .output("rustc", &["--print", "sysroot"])
            .unwrap_or_default();
        if machine.exists(
            &Path::new(sysroot.trim())
                .join("lib/rustlib")
                .join(MUSL_TARGET)
                .join("lib"),
        ) {
            return Some(Self::Target);
        }
        let mut unwinders = LLVM_MAJORS
            .rev()
            .map(|n| PathBuf::from(format!("/usr/lib/llvm-{n}/lib/libunwind.a")));
        let unwinder = unwinders.find(|path| machine.exists(path))?;
        Some(Self::FromSource {
            toolchain: Toolchain::find(machine)?,
            unwinder,
        })
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Target => format!("the cargo in use has {MUSL_TARGET}"),
            Self::FromSource {
                toolchain,
                unwinder,
            } => {
                format!(
                    "std from source by {}, {}",
                    toolchain.describe(),
                    unwinder.display()
                )
            }
        }
    }
}

pub fn build(options: Options) -> Result<Outcome> {
    compile(options)?;
    let built = paths::static_release().join("spanlet");
    let kept = paths::static_agent();
    fs::copy(&built, &kept).with_context(|| format!("cannot copy {}", built.display()))?;
    asks_for_no_loader(&kept)?;
    let version = if ThisMachine.is_root() {
        runs_alone(&kept)?
    } else {
        "not tried alone (needs root)".into()
    };
    let megabytes = fs::metadata(&kept)?.len() as f64 / 1e6;
    Ok(Outcome::Done(format!(
        "target/spanlet, {megabytes:.1} MB: {version}"
    )))
}

fn compile(options: Options) -> Result<()> {
    let mut command = cargo("spanlet")?;
    if options.probe_log {
        command.args(["--features", "probe-log"]);
    }
    Run::new("static binary", command).captured().map(|_| ())
}

/// The command that builds a package of the workspace into [`paths::static_release`].
pub fn cargo(package: &str) -> Result<Command> {
    let route = StaticRoute::find(&ThisMachine)
        .context("no route to a static binary: run `cargo xtask setup`")?;
    let mut command = match &route {
        StaticRoute::Target => machine::command("cargo"),
        StaticRoute::FromSource { toolchain, .. } => toolchain.cargo(),
    };
    command.args([
        "build",
        "--package",
        package,
        "--release",
        "--target",
        MUSL_TARGET,
    ]);
    let mut flags = vec!["-C".to_owned(), "target-feature=+crt-static".to_owned()];
    if let StaticRoute::FromSource { unwinder, .. } = &route {
        command.args(["-Z", "build-std=std,panic_abort"]);
        let libraries = unwinder_for_musl(unwinder)?;
        flags.extend(
            [
                "-C",
                "link-self-contained=no",
                "-C",
                "relocation-model=static",
                "-L",
            ]
            .map(String::from),
        );
        flags.push(format!("native={}", libraries.display()));
    }
    command.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "musl-gcc");
    command.env(
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS",
        flags.join(" "),
    );
    Ok(command)
}

/// The distribution's unwinder with the one function added that musl lacks. Returns the folder to link from, which
/// holds nothing else: the distribution's folder would bring glibc's libraries along. Another build may do the same at this moment,
/// as the cluster's beside the tests: each makes its own, and the last one is there whole.
fn unwinder_for_musl(unwinder: &Path) -> Result<PathBuf> {
    let folder = paths::target().join("static");
    fs::create_dir_all(&folder).context("cannot make target/static")?;
    let own = folder.join(std::process::id().to_string());
    fs::create_dir_all(&own).context("cannot make a folder in target/static")?;
    let (archive, object) = (own.join("libunwind.a"), own.join("fortify.o"));
    fs::copy(unwinder, &archive).with_context(|| format!("cannot copy {}", unwinder.display()))?;
    let mut compiler = machine::command("musl-gcc");
    compiler
        .args(["-O2", "-c", FORTIFY_SOURCE, "-o"])
        .arg(&object);
    Run::new("unwinder", compiler).captured()?;
    let mut archiver = machine::command("ar");
    archiver.arg("r").arg(&archive).arg(&object);
    Run::new("unwinder", archiver).captured()?;
    let kept = folder.join("libunwind.a");
    fs::rename(&archive, &kept).with_context(|| format!("cannot move to {}", kept.display()))?;
    fs::remove_dir_all(&own).context("cannot remove a folder in target/static")?;
    Ok(folder)
}

fn asks_for_no_loader(binary: &Path) -> Result<()> {
    let mut readelf = machine::command("readelf");
    readelf.args(["--program-headers", "--wide"]).arg(binary);
    let headers = Run::new("static binary", readelf).captured()?;
    if headers.contains("INTERP") {
        bail!("{} is not static: it asks for a loader", binary.display());
    }
    Ok(())
}

/// Runs `--version` in a file system that holds the binary alone.
fn runs_alone(binary: &Path) -> Result<String> {
    let empty = paths::target().join("static/empty");
    fs::create_dir_all(&empty).context("cannot make target/static/empty")?;
    fs::copy(binary, empty.join("spanlet")).context("cannot copy the binary")?;
    let mut command = machine::command("chroot");
    command.arg(&empty).args(["/spanlet", "--version"]);
    let version = Run::new("static binary alone", command).captured()?;
    ensure!(
        version.starts_with("spanlet"),
        "the static binary does not say its version: {version:?}"
    );
    Ok(version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    fn with_source() -> FakeMachine {
        FakeMachine::default()
            .says(
                "/usr/bin/rustc --version --verbose",
                "rustc 1.96.0\nLLVM version: 22.1.8\n",
            )
            .says("/usr/bin/rustc --print sysroot", "/usr\n")
            .has("/usr/bin/cargo")
            .has("/usr/lib/rustlib/src/rust/library/core")
            .has("/usr/lib/llvm-14/lib/libunwind.a")
            .has("/usr/lib/llvm-22/lib/libunwind.a")
    }

    #[test]
    fn no_route_without_a_compiler_for_c() {
        assert_eq!(StaticRoute::find(&with_source()), None);
    }

    #[test]
    fn from_source_with_the_newest_unwinder() {
        let route = StaticRoute::find(&with_source().has("/usr/bin/musl-gcc"));
        let Some(StaticRoute::FromSource { unwinder, .. }) = route else {
            panic!("{route:?}")
        };
        assert_eq!(unwinder, Path::new("/usr/lib/llvm-22/lib/libunwind.a"));
    }

    #[test]
    fn a_standard_library_that_is_there_wins() {
        let machine = with_source()
            .has("/usr/bin/musl-gcc")
            .says("rustc --print sysroot", "/s\n")
            .has("/s/lib/rustlib/x86_64-unknown-linux-musl/lib");
        assert_eq!(StaticRoute::find(&machine), Some(StaticRoute::Target));
    }
}
