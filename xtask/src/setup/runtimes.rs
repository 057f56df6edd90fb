//! The runtimes that the test functions are written for. In: a machine. Out: each at a version that the functions
//! run on, installed where missing.

use anyhow::{bail, Result};

use super::apt::Apt;
use crate::machine::Machine;
use crate::step::Outcome;
use crate::version::Version;

/// A program that functions are built or run with.
pub struct Runtime {
    pub program: &'static str,
    question: &'static str,
    minimum: Version,
    /// What its Debian packages are called; the newest is taken.
    packages: &'static str,
}

/// Every runtime of the end-to-end ring; those of the demo first.
pub const RUNTIMES: [Runtime; 5] = [
    Runtime {
        program: "go",
        question: "version",
        minimum: Version::new(1, 19),
        packages: "^golang-go$",
    },
    Runtime {
        program: "python3",
        question: "--version",
        minimum: Version::new(3, 9),
        packages: "^python3$",
    },
    Runtime {
        program: "node",
        question: "--version",
        minimum: Version::new(18, 0),
        packages: "^nodejs$",
    },
    Runtime {
        program: "javac",
        question: "-version",
        minimum: Version::new(17, 0),
        packages: "^(default|openjdk-[0-9]+)-jdk-headless$",
    },
    Runtime {
        program: "gcc",
        question: "--version",
        minimum: Version::new(9, 0),
        packages: "^gcc$",
    },
];

impl Runtime {
    /// The version here, where it is new enough; else what is wrong.
    pub fn check(&self, machine: &impl Machine) -> Result<Version> {
        let Some(printed) = machine.output(self.program, &[self.question]) else {
            bail!("{} is missing", self.program);
        };
        match Version::find(first_line_version(&printed)) {
            Some(version) if version >= self.minimum => Ok(version),
            Some(version) => bail!("{} {version} is older than {}", self.program, self.minimum),
            None => bail!("{} does not say its version", self.program),
        }
    }
}

/// Go and Python.
pub fn of_demo() -> &'static [Runtime] {
    &RUNTIMES[..2]
}

/// Installs the runtimes of these that are missing or too old.
pub fn runtimes<M: Machine>(wanted: &[Runtime], machine: &M, apt: &Apt<M>) -> Result<Outcome> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|runtime| runtime.check(machine).is_err())
        .collect();
    for runtime in &missing {
        install(runtime, machine, apt)?;
    }
    let found = wanted
        .iter()
        .map(|runtime| Ok(format!("{} {}", runtime.program, runtime.check(machine)?)));
    let found = found.collect::<Result<Vec<_>>>()?.join(", ");
    Ok(if missing.is_empty() {
        Outcome::AlreadyThere(found)
    } else {
        Outcome::Done(found)
    })
}

/// A program whose package has its name.
pub fn program<M: Machine>(name: &str, machine: &M, apt: &Apt<M>) -> Result<Outcome> {
    if machine.find(name).is_some() {
        return Ok(Outcome::AlreadyThere(name.into()));
    }
    apt.install(&[name.into()])?;
    Ok(Outcome::Done(name.into()))
}

fn install<M: Machine>(runtime: &Runtime, machine: &M, apt: &Apt<M>) -> Result<()> {
    let Some((package, _)) = apt.newest(runtime.packages)? else {
        bail!(
            "the distribution has no package for {}: install {} or newer by hand",
            runtime.program,
            runtime.minimum
        );
    };
    apt.install(&[package])?;
    match runtime.check(machine) {
        Ok(_) => Ok(()),
        Err(fault) => bail!(
            "{fault} in this distribution: install {} or newer by hand",
            runtime.minimum
        ),
    }
}

/// gcc names its packager, with a version of its own in brackets, before its version.
fn first_line_version(printed: &str) -> &str {
    let line = printed.lines().next().unwrap_or_default();
    line.rsplit_once(") ").map_or(line, |(_, version)| version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    fn go() -> &'static Runtime {
        &RUNTIMES[0]
    }

    #[test]
    fn old_missing_and_new_enough() {
        let old = FakeMachine::default().says("go version", "go version go1.18.8 linux/amd64\n");
        assert_eq!(
            go().check(&old).unwrap_err().to_string(),
            "go 1.18 is older than 1.19"
        );
        assert_eq!(
            go().check(&FakeMachine::default()).unwrap_err().to_string(),
            "go is missing"
        );
        let new = FakeMachine::default().says("go version", "go version go1.26.8 linux/amd64\n");
        assert_eq!(go().check(&new).unwrap(), Version::new(1, 26));
    }

    #[test]
    fn the_version_and_not_the_packager() {
        assert_eq!(
            first_line_version("gcc (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0\nCopyright (C) 2023"),
            "13.3.0"
        );
        assert_eq!(first_line_version("v20.20.2\n"), "v20.20.2");
    }

    #[test]
    fn missing_without_root_says_which() {
        let machine = FakeMachine::default().has("/usr/bin/apt-get");
        let Err(fault) = runtimes(&RUNTIMES, &machine, &Apt::new(&machine)) else {
            panic!("nothing was missing")
        };
        assert!(fault.to_string().ends_with("hold: golang-go"), "{fault}");
    }
}
