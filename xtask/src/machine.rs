//! What this machine has. In: names of programs and files. Out: whether they are there and what they print.
//! This file touches the world (read only), behind a trait so that the decisions can be tested on other machines.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::paths;

/// The questions that set-up asks of a machine.
pub trait Machine {
    /// Where a program is, if it is there.
    fn find(&self, program: &str) -> Option<PathBuf>;
    /// What a command writes to standard output, if it could be run and succeeded.
    fn output(&self, program: &str, arguments: &[&str]) -> Option<String>;
    fn exists(&self, path: &Path) -> bool;
    fn is_root(&self) -> bool;
}

/// The machine that this runs on.
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn find(&self, program: &str) -> Option<PathBuf> {
        let places = std::env::split_paths(&search_path()).collect::<Vec<_>>();
        places
            .into_iter()
            .map(|place| place.join(program))
            .find(|path| path.is_file())
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_root(&self) -> bool {
        // SAFETY: geteuid takes no arguments and cannot fail.
        unsafe { libc::geteuid() == 0 }
    }
}

/// A command that finds what setup installed, and into which nothing of the cargo that runs xtask leaks: its
/// toolchain and library path would reach another toolchain's compiler.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env("PATH", search_path())
        .current_dir(paths::root());
    for leaked in [
        "CARGO",
        "RUSTC",
        "RUSTUP_TOOLCHAIN",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(leaked);
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_package(name)) {
        command.env_remove(name);
    }
    command
}

/// What `cargo run` says of xtask itself. Some build scripts (ring's) ask cargo to run them anew where it differs, and with
/// that, half of the agent is compiled again by each change between `cargo xtask` and plain cargo.
fn is_of_a_package(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

fn search_path() -> std::ffi::OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let places =
        std::iter::once(paths::tools().join("bin")).chain(std::env::split_paths(&inherited));
    std::env::join_paths(places).unwrap_or(inherited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_xtask_itself_is_handed_on() {
        // Cargo sets these for the test too.
        let command = command("cargo");
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
            assert!(std::env::var_os(name).is_some(), "not run by cargo");
            let removed = command
                .get_envs()
                .any(|entry| entry == (OsStr::new(name), None));
            assert!(removed, "{name} is handed on");
        }
    }
}

#[cfg(test)]
pub mod fake {
    //! A machine made of tables.
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[derive(Default)]
    pub struct FakeMachine {
        pub outputs: HashMap<String, String>,
        pub files: HashSet<PathBuf>,
        pub root: bool,
    }

    impl FakeMachine {
        /// A command line that succeeds here, and what it prints.
        pub fn says(mut self, line: &str, output: &str) -> Self {
            self.outputs.insert(line.into(), output.into());
            self
        }

        pub fn has(mut self, file: &str) -> Self {
            self.files.insert(file.into());
            self
        }
    }

    impl Machine for FakeMachine {
        fn find(&self, program: &str) -> Option<PathBuf> {
            let path = Path::new("/usr/bin").join(program);
            self.files.contains(&path).then_some(path)
        }

        fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
            let line = std::iter::once(program)
                .chain(arguments.iter().copied())
                .collect::<Vec<_>>()
                .join(" ");
            self.outputs.get(&line).cloned()
        }

        fn exists(&self, path: &Path) -> bool {
            self.files.contains(path)
        }

        fn is_root(&self) -> bool {
            self.root
        }
    }
}
