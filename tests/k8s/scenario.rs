//! How long the scenario is. In: the environment. Out: yes or no.

/// Whether minutes are to be spent where the usual run spends seconds: `cargo xtask k8s test --long`.
pub fn is_long() -> bool {
    std::env::var_os("SPANLET_K8S_LONG").is_some()
}
