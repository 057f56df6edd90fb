//! Debian and Ubuntu packages. In: names. Out: the packages installed, or the command to type by hand.
//! This file touches the world.

use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::machine::{self, Machine};
use crate::run::Run;
use crate::version::Version;

/// The package manager; refreshes its lists at most once, and only when something is to be installed.
pub struct Apt<'a, M> {
    machine: &'a M,
    refreshed: Cell<bool>,
}

impl<'a, M: Machine> Apt<'a, M> {
    pub fn new(machine: &'a M) -> Self {
        Self {
            machine,
            refreshed: Cell::new(false),
        }
    }

    /// Installs packages, or says what to install by hand.
    pub fn install(&self, packages: &[String]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        self.refresh(packages)?;
        let _quiet = NoServices::at(Path::new(POLICY))?;
        let mut command = apt_get();
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        Run::new("apt", command)
            .hint(by_hand(packages))
            .captured()
            .map(|_| ())
    }

    /// The newest version on offer of packages whose name matches a regular expression.
    pub fn newest(&self, pattern: &str) -> Result<Option<(String, Version)>> {
        self.refresh(&[pattern.trim_matches(['^', '$']).to_owned()])?;
        let found = self
            .machine
            .output("apt-cache", &["search", "--names-only", pattern])
            .unwrap_or_default();
        let offers = found
            .lines()
            .filter_map(|line| line.split(' ').next())
            .filter_map(|name| self.offer(name));
        Ok(offers.max_by_key(|(_, version)| *version))
    }

    fn offer(&self, name: &str) -> Option<(String, Version)> {
        let policy = self.machine.output("apt-cache", &["policy", name])?;
        Some((name.to_owned(), candidate(&policy)?))
    }

    fn refresh(&self, wanted: &[String]) -> Result<()> {
        if self.machine.find("apt-get").is_none() {
            bail!("this system has no apt-get, so {}", by_hand(wanted));
        }
        if !self.machine.is_root() {
            bail!("installing needs root: {}", by_hand(wanted));
        }
        if !self.refreshed.replace(true) {
            let mut command = apt_get();
            command.arg("update");
            Run::new("apt", command)
                .hint("is there a network?")
                .captured()?;
        }
        Ok(())
    }
}

/// Where Debian's packages ask whether they may start what they bring (nginx, php-fpm).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// "Action forbidden by policy", for every action.
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// As long as it lives, packages start no services. Where the machine has a policy of its own, that one holds.
struct NoServices {
    ours: Option<PathBuf>,
}

impl NoServices {
    fn at(policy: &Path) -> Result<Self> {
        let mut options = fs::OpenOptions::new();
        match options
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(policy)
        {
            Ok(mut file) => {
                let ours = Some(policy.to_owned());
                let guard = Self { ours };
                file.write_all(FORBID.as_bytes())
                    .context("forbid services")?;
                Ok(guard)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(error) => Err(error).with_context(|| format!("cannot make {}", policy.display())),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.ours {
            if let Err(error) = fs::remove_file(policy) {
                eprintln!("remove {} by hand: {error}", policy.display());
            }
        }
    }
}

fn apt_get() -> std::process::Command {
    let mut command = machine::command("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn by_hand(packages: &[String]) -> String {
    format!(
        "install by hand what these Debian packages hold: {}",
        packages.join(" ")
    )
}

/// The version that would be installed, its epoch left out, in what `apt-cache policy` prints.
fn candidate(policy: &str) -> Option<Version> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    Version::find(version.split_once(':').map_or(version, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    #[test]
    fn candidates_with_and_without_epoch() {
        let policy = |version| format!("golang-go:\n  Installed: (none)\n  Candidate: {version}\n");
        assert_eq!(candidate(&policy("2:1.24~1")), Some(Version::new(1, 24)));
        assert_eq!(
            candidate(&policy("1.96.0+dfsg1-1~deb12u2")),
            Some(Version::new(1, 96))
        );
        assert_eq!(candidate(&policy("(none)")), None);
    }

    #[test]
    fn an_unknown_system_is_told_what_to_install() {
        let machine = FakeMachine {
            root: true,
            ..FakeMachine::default()
        };
        let fault = Apt::new(&machine)
            .install(&["nodejs".into()])
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("no apt-get") && fault.contains("nodejs"),
            "{fault}"
        );
    }

    #[test]
    fn without_root_nothing_is_tried() {
        let machine = FakeMachine::default().has("/usr/bin/apt-get");
        let fault = Apt::new(&machine)
            .install(&["nodejs".into()])
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("needs root") && fault.contains("nodejs"),
            "{fault}"
        );
    }

    #[test]
    fn packages_start_no_services() {
        let folder = std::env::temp_dir().join(format!("spanlet-policy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let policy = folder.join("policy-rc.d");
        {
            let _quiet = NoServices::at(&policy).unwrap();
            let answer = std::process::Command::new(&policy).status().unwrap();
            assert_eq!(answer.code(), Some(101));
            drop(NoServices::at(&policy).unwrap());
            assert!(policy.exists(), "another's policy was removed");
        }
        assert!(!policy.exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn nothing_to_install_asks_for_nothing() {
        assert!(Apt::new(&FakeMachine::default()).install(&[]).is_ok());
    }
}
