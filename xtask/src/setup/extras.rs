//! What the table of runtimes needs beside the five languages. In: a machine. Out: each installed where the distribution
//! has it, and the functions built. What it does not have is no fault: its rows of the table are skipped and say so.

use anyhow::{bail, Result};
use spanlet_e2e::runtime::{self, cpython};

use super::apt::Apt;
use crate::machine::Machine;
use crate::step::Outcome;

/// A program of a Debian package.
struct Extra {
    name: &'static str,
    /// A command line that succeeds where it is there.
    question: &'static [&'static str],
    /// What its Debian packages are called; the newest is taken.
    packages: &'static str,
}

const EXTRAS: &[Extra] = &[
    Extra {
        name: "go 1.19",
        question: &["/usr/lib/go-1.19/bin/go", "version"],
        packages: "^golang-1.19-go$",
    },
    Extra {
        name: "venv",
        question: &["python3", "-c", "import ensurepip, venv"],
        packages: "^python3-venv$",
    },
    Extra {
        name: "npm",
        question: &["npm", "--version"],
        packages: "^npm$",
    },
    Extra {
        name: "maven",
        question: &["mvn", "--version"],
        packages: "^maven$",
    },
    Extra {
        name: "g++",
        question: &["g++", "--version"],
        packages: "^g\\+\\+$",
    },
    Extra {
        name: "cpp-httplib",
        question: &["test", "-f", "/usr/include/httplib.h"],
        packages: "^libcpp-httplib-dev$",
    },
    Extra {
        name: "puma",
        question: &["puma", "--version"],
        packages: "^puma$",
    },
    Extra {
        name: "rack",
        question: &["ruby", "-rrack", "-e", ""],
        packages: "^ruby-rack$",
    },
    Extra {
        name: "nginx",
        question: &["nginx", "-v"],
        packages: "^nginx-light$",
    },
    Extra {
        name: "php",
        question: &["php", "-r", "exit(PHP_VERSION_ID < 80000);"],
        packages: "^php-cli$",
    },
    Extra {
        name: "php-curl",
        question: &["php", "-r", "exit(!extension_loaded('curl'));"],
        packages: "^php-curl$",
    },
    Extra {
        name: "php-fpm",
        question: &["sh", "-c", "ls /usr/sbin/php-fpm*"],
        packages: "^php-fpm$",
    },
    Extra {
        name: "mono's compiler",
        question: &["mcs", "--version"],
        packages: "^mono-mcs$",
    },
];

impl Extra {
    fn is_there(&self, machine: &impl Machine) -> bool {
        let [program, arguments @ ..] = self.question else {
            return false;
        };
        machine.output(program, arguments).is_some()
    }
}

/// Installs what is missing and on offer.
pub fn extras<M: Machine>(machine: &M, apt: &Apt<M>) -> Result<Outcome> {
    let mut installed = Vec::new();
    let mut absent = Vec::new();
    for extra in EXTRAS.iter().filter(|extra| !extra.is_there(machine)) {
        match apt.newest(extra.packages)? {
            Some((package, _)) => installed.push(package),
            None => absent.push(extra.name),
        }
    }
    apt.install(&installed)?;
    let without = match absent.len() {
        0 => String::new(),
        _ => format!(", without {}", absent.join(", ")),
    };
    Ok(match installed.len() {
        0 => Outcome::AlreadyThere(format!("all that there is{without}")),
        _ => Outcome::Done(format!("{}{without}", installed.join(", "))),
    })
}

/// Builds the functions of all rows that can run here, and installs their packages, so that tests need no network.
pub fn functions() -> Result<Outcome> {
    let (missing, there): (Vec<_>, Vec<_>) =
        runtime::all().partition(|runtime| runtime.missing().is_some());
    let before = runtime::built()?;
    let mut faults = Vec::new();
    for runtime in &there {
        if let Err(fault) = (runtime.command)() {
            faults.push(format!("{}: {fault:#}", runtime.name));
        }
    }
    let releases = cpython::RELEASES.iter();
    let wanted = releases.filter(|_| runtime::missing(cpython::NEEDS).is_none());
    for (minor, package) in wanted {
        if let Err(fault) = cpython::interpreter(*minor, package) {
            faults.push(format!("CPython 3.{minor}: {fault:#}"));
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    let names: Vec<_> = missing.iter().map(|runtime| runtime.name).collect();
    let without = match names.len() {
        0 => String::new(),
        _ => format!(", without {}", names.join(", ")),
    };
    let said = format!("{} runtimes{without}", there.len());
    Ok(match runtime::built()? == before {
        true => Outcome::AlreadyThere(said),
        false => Outcome::Done(said),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    #[test]
    fn what_is_missing_is_brought_or_said() {
        let machine = FakeMachine::default()
            .says("/usr/lib/go-1.19/bin/go version", "go version go1.19.8")
            .says("python3 -c import ensurepip, venv", "");
        let missing = EXTRAS.iter().filter(|extra| !extra.is_there(&machine));
        assert_eq!(missing.count(), EXTRAS.len() - 2);
        let Err(fault) = extras(&machine, &Apt::new(&machine)) else {
            panic!("nothing was missing")
        };
        assert!(fault.to_string().contains("npm"), "{fault}");
    }
}
