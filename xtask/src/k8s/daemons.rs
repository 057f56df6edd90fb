//! What runs on the test cluster's node: each daemon with its arguments. In: a name. Out: a process of its own in the node's
//! namespaces and control group, its number and its log in files. This file touches the world.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use spanlet_e2e::system::{signal_process, Signal};
use spanlet_e2e::wait::wait_until;

use super::places::{self, NODE, NODE_ADDRESS, POD_ADDRESSES, SERVICE_ADDRESSES};
use super::{cgroup, node};

/// A daemon. `$STATE` in its arguments is where the cluster's files are.
pub struct Daemon {
    pub name: &'static str,
    arguments: &'static [&'static str],
}

const END: Duration = Duration::from_secs(10);

pub const CONTAINERD: Daemon = Daemon {
    name: "containerd",
    arguments: &["--config=$STATE/config/containerd.toml"],
};

pub const ETCD: Daemon = Daemon {
    name: "etcd",
    arguments: &[
        "--data-dir=$STATE/etcd",
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--log-level=warn",
    ],
};

pub const API_SERVER: Daemon = Daemon {
    name: "kube-apiserver",
    arguments: &[
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--advertise-address=$ADDRESS",
        "--secure-port=6443",
        "--tls-cert-file=$STATE/pki/kube-apiserver.crt",
        "--tls-private-key-file=$STATE/pki/kube-apiserver.key",
        "--client-ca-file=$STATE/pki/ca.crt",
        "--cert-dir=$STATE/pki",
        "--service-account-key-file=$STATE/pki/tokens.crt",
        "--service-account-signing-key-file=$STATE/pki/tokens.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-cluster-ip-range=$SERVICES",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-client-certificate=$STATE/pki/admin.crt",
        "--kubelet-client-key=$STATE/pki/admin.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
        "--audit-policy-file=$STATE/config/audit.yaml",
        "--audit-log-path=$STATE/log/audit.log",
    ],
};

pub const CONTROLLERS: Daemon = Daemon {
    name: "kube-controller-manager",
    arguments: &[
        "--kubeconfig=$STATE/kubeconfig/kube-controller-manager",
        "--authentication-kubeconfig=$STATE/kubeconfig/kube-controller-manager",
        "--authorization-kubeconfig=$STATE/kubeconfig/kube-controller-manager",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--service-account-private-key-file=$STATE/pki/tokens.key",
        "--root-ca-file=$STATE/pki/ca.crt",
        "--allocate-node-cidrs",
        "--cluster-cidr=$PODS",
        "--node-cidr-mask-size=24",
        "--service-cluster-ip-range=$SERVICES",
        "--cert-dir=$STATE/pki",
    ],
};

pub const SCHEDULER: Daemon = Daemon {
    name: "kube-scheduler",
    arguments: &[
        "--kubeconfig=$STATE/kubeconfig/kube-scheduler",
        "--authentication-kubeconfig=$STATE/kubeconfig/kube-scheduler",
        "--authorization-kubeconfig=$STATE/kubeconfig/kube-scheduler",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--cert-dir=$STATE/pki",
    ],
};

pub const KUBELET: Daemon = Daemon {
    name: "kubelet",
    arguments: &[
        "--config=$STATE/config/kubelet.yaml",
        "--kubeconfig=$STATE/kubeconfig/kubelet",
        "--hostname-override=$NODE",
        "--node-ip=$ADDRESS",
        "--node-labels=topology.kubernetes.io/region=eu-test-1,topology.kubernetes.io/zone=eu-test-1a,\
         node.kubernetes.io/instance-type=test.large",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=$STATE/pki",
    ],
};

pub const PROXY: Daemon = Daemon {
    name: "kube-proxy",
    arguments: &["--config=$STATE/config/kube-proxy.yaml"],
};

const ALL: [&Daemon; 7] = [
    &CONTAINERD,
    &ETCD,
    &API_SERVER,
    &CONTROLLERS,
    &SCHEDULER,
    &KUBELET,
    &PROXY,
];

/// A daemon by its name.
pub fn named(name: &str) -> Result<&'static Daemon> {
    let found = ALL.into_iter().find(|daemon| daemon.name == name);
    found.with_context(|| {
        let names: Vec<_> = ALL.iter().map(|daemon| daemon.name).collect();
        format!("no daemon {name}: there are {}", names.join(", "))
    })
}

/// Its text with the cluster's names and places put in.
pub fn filled(text: &str) -> String {
    text.replace("$STATE", &places::state().display().to_string())
        .replace("$ADDRESS", NODE_ADDRESS)
        .replace("$NODE", NODE)
        .replace("$PODS", POD_ADDRESSES)
        .replace("$SERVICES", SERVICE_ADDRESSES)
}

impl Daemon {
    /// Starts it; it outlives this process.
    pub fn start(&self) -> Result<()> {
        let mut command = node::inside()?;
        // The shell joins the control group, and becomes the daemon.
        command.args(["sh", "-c", "echo $$ > \"$0\"; exec \"$@\""]);
        command.arg(cgroup::entry()?);
        command.args(self.program());
        command.args(self.arguments.iter().map(|argument| filled(argument)));
        let pid = self.detached(&mut command)?;
        fs::write(self.number(), pid.to_string()).context("cannot note a daemon's number")
    }

    /// Ends it at once.
    pub fn stop(&self) -> Result<()> {
        let pid: u32 = fs::read_to_string(self.number())
            .with_context(|| format!("{} does not run", self.name))?
            .parse()?;
        signal_process(pid, Signal::Kill).with_context(|| format!("cannot end {}", self.name))?;
        fs::remove_file(self.number())?;
        let folder = PathBuf::from(format!("/proc/{pid}/exe"));
        wait_until(END, &format!("end of {}", self.name), || {
            // A dead one that nobody has waited for has no program either.
            Ok(fs::read_link(&folder).is_err().then_some(()))
        })
    }

    /// Everything that is Kubernetes is one program.
    fn program(&self) -> Vec<PathBuf> {
        match self.name {
            "containerd" => vec!["containerd".into()],
            name => vec![places::programs().join("kube"), name.into()],
        }
    }

    fn number(&self) -> PathBuf {
        places::state().join("pids").join(self.name)
    }

    fn detached(&self, command: &mut Command) -> Result<u32> {
        let log = places::state().join(format!("log/{}.log", self.name));
        let log = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        Ok(child.id())
    }
}
