//! Whether this machine can be a Kubernetes node. In: the machine, by trying. Out: nothing, or what it lacks.
//! This file touches the world.

use std::fs;
use std::path::Path;

use crate::machine::Machine;

/// What the node needs of a kernel and cannot bring: a question that succeeds where it is there, and what it is.
const QUESTIONS: [(&[&str], &str); 3] = [
    (
        &["unshare", "--net", "--mount", "true"],
        "namespaces of its own",
    ),
    (
        &[
            "unshare", "--net", "ip", "link", "add", "trial0", "type", "veth", "peer", "name",
            "trial1",
        ],
        "virtual Ethernet devices (veth)",
    ),
    (
        &[
            "unshare", "--net", "ip", "link", "add", "trial0", "type", "bridge",
        ],
        "bridges (bridge)",
    ),
];
const GROUP: &str = "/sys/fs/cgroup/spanlet-trial";

/// The first thing that is missing.
pub fn missing(machine: &impl Machine) -> Option<String> {
    let unanswered = QUESTIONS.iter().find(|(question, _)| {
        let (program, arguments) = question.split_first().unwrap_or((&"false", &[]));
        machine.output(program, arguments).is_none()
    });
    if let Some((_, what)) = unanswered {
        return Some(format!("this kernel, or this container, has no {what}"));
    }
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !systems.contains("\toverlay") {
        return Some("this kernel has no overlay file system".into());
    }
    if !machine.exists(Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables")) {
        return Some(
            "this kernel does not filter what crosses a bridge: modprobe br_netfilter".into(),
        );
    }
    control_groups()
}

fn control_groups() -> Option<String> {
    let trial = match Path::new("/sys/fs/cgroup/pids").exists() {
        true => GROUP.replace("/cgroup/", "/cgroup/pids/"),
        false => GROUP.to_owned(),
    };
    match fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial)) {
        Ok(()) => None,
        Err(error) => Some(format!(
            "no control group can be made here ({trial}: {error})"
        )),
    }
}
