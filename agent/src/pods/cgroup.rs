//! The pod and the container of a process, by the path of its control group. Pure.
//!
//! In: the text of `/proc/PID/cgroup`, of any version, seen from any control group namespace. Out: a [`Place`].
//! A kubelet names a pod's group `podUID` (driver `cgroupfs`) or `…-podUID.slice` with underscores for dashes (driver
//! `systemd`), under any prefix; container runtimes name a container's group by its 64 digits, with their own name around.

use smol_str::SmolStr;

use super::model::{ContainerId, PodUid};

/// Hexadecimal digits of a container's id.
const CONTAINER_DIGITS: usize = 64;
/// Hexadecimal digits of the hash that a static pod has instead of a UID.
const HASH_DIGITS: usize = 32;
/// Lengths of a UID's parts (RFC 9562 §4).
const UID_PARTS: [usize; 5] = [8, 4, 4, 4, 12];

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `None`: not in a pod.
    pub pod: Option<PodUid>,
    /// In a pod: the container that the kubelet started, whatever runs inside it.
    pub container: Option<ContainerId>,
}

/// Reads the text of `/proc/PID/cgroup`. Of several hierarchies, the one that says most is believed.
pub fn place(text: &str) -> Place {
    let mut best = Place::default();
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        let place = of_path(path);
        if place.says() > best.says() {
            best = place;
        }
    }
    best
}

impl Place {
    fn says(&self) -> u8 {
        2 * u8::from(self.pod.is_some()) + u8::from(self.container.is_some())
    }
}

/// A node may itself be a container, and a container may hold others: the innermost pod counts, in it the outermost
/// container, and without a pod the innermost one.
fn of_path(path: &str) -> Place {
    let mut place = Place::default();
    // A colon stands in paths where a runtime without systemd was given a name for systemd.
    for part in path.split(['/', ':']) {
        if let Some(pod) = pod(part) {
            place = Place {
                pod: Some(pod),
                container: None,
            };
        } else if place.pod.is_none() || place.container.is_none() {
            place.container = container(part).or(place.container);
        }
    }
    place
}

fn pod(part: &str) -> Option<PodUid> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let (before, id) = name.rsplit_once("pod")?;
    let is_kubelets = before.is_empty() || before.ends_with('-');
    let id = id.replace('_', "-");
    (is_kubelets && (is_uid(&id) || is_hex(&id, HASH_DIGITS))).then(|| PodUid(id.into()))
}

fn is_uid(id: &str) -> bool {
    let parts: Vec<&str> = id.split('-').collect();
    let mut lengths = parts.iter().zip(UID_PARTS);
    parts.len() == UID_PARTS.len() && lengths.all(|(part, length)| is_hex(part, length))
}

fn container(part: &str) -> Option<ContainerId> {
    // CRI-O's monitor of a container is outside it.
    if part.contains("conmon") {
        return None;
    }
    let mut names = part.split(['-', '.']);
    let id = names.find(|name| is_hex(name, CONTAINER_DIGITS))?;
    Some(ContainerId(SmolStr::new(id)))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2778b65723f88475c0fa60f748a06a7d1b289f625b0a522c6299a93fc3ed41e6";
    const OTHER: &str = "9ef0c1a2b3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";
    const UID: &str = "b1b743b5-c4dc-4382-9cb0-4eb116e9977e";
    const UNDERSCORED: &str = "b1b743b5_c4dc_4382_9cb0_4eb116e9977e";
    const HASH: &str = "4d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a";

    /// `{id}`, `{other}`, `{uid}`, `{under}` and `{hash}` stand for the above.
    fn check(text: &str, pod: Option<&str>, container: Option<&str>) {
        let text = text
            .replace("{id}", ID)
            .replace("{other}", OTHER)
            .replace("{uid}", UID)
            .replace("{under}", UNDERSCORED)
            .replace("{hash}", HASH);
        let expected = Place {
            pod: pod.map(|pod| PodUid(pod.into())),
            container: container.map(|id| ContainerId(id.into())),
        };
        assert_eq!(place(&text), expected, "{text}");
    }

    #[test]
    fn pods_of_every_driver_and_runtime() {
        for text in [
            // cgroupfs driver, by quality of service; containerd, Docker, CRI-O name a container alike.
            "0::/kubepods/pod{uid}/{id}",
            "0::/kubepods/burstable/pod{uid}/{id}",
            "0::/kubepods/besteffort/pod{uid}/{id}",
            // systemd driver: containerd, CRI-O, Docker by cri-dockerd, Podman.
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{id}.scope",
            "0::/kubepods.slice/kubepods-pod{under}.slice/cri-containerd-{id}.scope",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice/crio-{id}.scope",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice/docker-{id}.scope",
            "0::/kubepods.slice/kubepods-pod{under}.slice/libpod-{id}.scope",
            // The container's own groups: crun's, systemd in a container, Docker in a pod.
            "0::/kubepods.slice/kubepods-pod{under}.slice/crio-{id}.scope/container",
            "0::/kubepods/burstable/pod{uid}/{id}/init.scope",
            "0::/kubepods/burstable/pod{uid}/{id}/system.slice/app.service",
            "0::/kubepods/burstable/pod{uid}/{id}/docker/{other}",
            // kubelet --cgroup-root, and kind: the node is a container.
            "0::/custom/kubepods/burstable/pod{uid}/{id}",
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{under}.slice/cri-containerd-{id}.scope",
            "0::/docker/{other}/kubelet/kubepods/burstable/pod{uid}/{id}",
            "0::/system.slice/docker-{other}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{under}.slice/cri-containerd-{id}.scope",
            // A runtime without systemd that was given a name for systemd.
            "0::/system.slice/containerd.service/kubepods-burstable-pod{under}.slice:cri-containerd:{id}",
            // From a private namespace, as from a pod: relative paths.
            "0::/../../pod{uid}/{id}",
            "0::/../../kubepods-burstable-pod{under}.slice/cri-containerd-{id}.scope",
            "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice/crio-{id}.scope",
            // Version 1, and hybrid: some hierarchies say nothing, or say less.
            "12:memory:/kubepods/burstable/pod{uid}/{id}\n1:name=systemd:/kubepods/burstable/pod{uid}/{id}",
            "3:cpu,cpuacct:/\n2:pids:/kubepods/pod{uid}\n1:name=systemd:/kubepods/pod{uid}/{id}\n0::/",
            "1:name=systemd:/docker/{other}\n0::/kubepods/pod{uid}/{id}\n",
        ] {
            check(text, Some(UID), Some(ID));
        }
    }

    #[test]
    fn pods_without_a_container_of_theirs() {
        for text in [
            "0::/kubepods/burstable/pod{uid}",
            "0::/kubepods.slice/kubepods-pod{under}.slice/crio-conmon-{id}.scope",
            "0::/kubepods.slice/kubepods-pod{under}.slice/sandbox",
        ] {
            check(text, Some(UID), None);
        }
    }

    #[test]
    fn static_pods_carry_a_hash() {
        check(
            "0::/kubepods/burstable/pod{hash}/{id}",
            Some(HASH),
            Some(ID),
        );
        let slice =
            "0::/kubepods.slice/kubepods-burstable-pod{hash}.slice/cri-containerd-{id}.scope";
        check(slice, Some(HASH), Some(ID));
    }

    /// Each container of a pod has its own group, the pause sandbox and a restarted container as well.
    #[test]
    fn siblings_are_told_apart() {
        check("0::/kubepods/pod{uid}/{other}", Some(UID), Some(OTHER));
        check("0::/kubepods/pod{uid}/{id}", Some(UID), Some(ID));
    }

    #[test]
    fn containers_outside_kubernetes() {
        for text in [
            "0::/docker/{id}",
            "0::/system.slice/docker-{id}.scope",
            "0::/machine.slice/libpod-{id}.scope/container",
            "0::/machine.slice/machine-libpod_pod_{other}.slice/libpod-{id}.scope",
            "0::/system.slice/containerd.service/kubepods:cri-containerd:{id}",
            "0::/ecs/0123456789abcdef0123456789abcdef/{id}-1234567890",
            "0::/docker/{other}/docker/{id}",
            "0::/../{id}",
        ] {
            check(text, None, Some(ID));
        }
    }

    #[test]
    fn nothing_is_made_up() {
        for text in [
            "",
            "nonsense",
            "0::/",
            "0::/user.slice/user-0.slice/session-1.scope",
            "0::/system.slice/podman.service",
            "0::/kubepods/burstable",
            "0::/kubepods/podnot-a-uid/other",
            "0::/kubepods/podb1b743b5-c4dc-4382-9cb0-4eb116e9977/x",
            "0::/kata_overhead/0123456789abcdef",
            "0::/system.slice/tripod{uid}",
            "0::/é/pod\u{fe0f}",
        ] {
            check(text, None, None);
        }
    }
}
