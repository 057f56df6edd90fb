//! The Debian packages that a Kubernetes node is made of. In: a machine. Out: a container runtime, its network plug-ins, and what
//! kube-proxy calls.

use anyhow::Result;

use super::apt::Apt;
use crate::machine::Machine;
use crate::step::Outcome;

/// A file that a package brings, and the package.
const PACKAGES: [(&str, &str); 5] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/conntrack", "conntrack"),
];

/// Installs those that are missing.
pub fn packages<M: Machine>(machine: &M, apt: &Apt<M>) -> Result<Outcome> {
    let missing = PACKAGES
        .iter()
        .filter(|(file, _)| !machine.exists(file.as_ref()))
        .map(|(_, package)| (*package).to_owned());
    let missing: Vec<String> = missing.collect();
    apt.install(&missing)?;
    Ok(match missing.is_empty() {
        true => Outcome::AlreadyThere("containerd, runc and their like".into()),
        false => Outcome::Done(missing.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    #[test]
    fn only_what_is_missing_is_asked_for() {
        let mut machine = FakeMachine::default();
        for (file, _) in PACKAGES.iter().skip(1) {
            machine = machine.has(file);
        }
        let Err(fault) = packages(&machine, &Apt::new(&machine)) else {
            panic!("containerd was missing")
        };
        let said = fault.to_string();
        assert!(
            said.contains("containerd") && !said.contains("runc"),
            "{said}"
        );
        let machine = machine.has(PACKAGES[0].0);
        assert!(packages(&machine, &Apt::new(&machine)).is_ok());
    }
}
