//! Where the test cluster's things are, and its addresses. In: nothing. Out: paths below target/k8s, and names.

use std::path::PathBuf;

use crate::paths;

/// The node's name.
pub const NODE: &str = "spanlet-test";
/// Where the API server and the kubelet answer, in the node's own network.
pub const NODE_ADDRESS: &str = "10.77.0.1";
pub const POD_ADDRESSES: &str = "10.244.0.0/24";
pub const SERVICE_ADDRESSES: &str = "10.96.0.0/16";
/// The first of the services' addresses is the API server's.
pub const API_SERVICE_ADDRESS: &str = "10.96.0.1";

/// Everything that is built for the cluster.
pub fn folder() -> PathBuf {
    paths::target().join("k8s")
}

/// Kubernetes in one program, and CoreDNS.
pub fn programs() -> PathBuf {
    folder().join("bin")
}

/// Images as archives.
pub fn images() -> PathBuf {
    folder().join("images")
}

/// What a running cluster writes; gone with it, but for its logs.
pub fn state() -> PathBuf {
    folder().join("state")
}

/// The sources of the node's configuration and of the programs.
pub fn sources() -> PathBuf {
    paths::root().join("tests/k8s")
}

/// Where a user's way to the API server is written.
pub fn kubeconfig(user: &str) -> PathBuf {
    state().join("kubeconfig").join(user)
}
