//! Where things are. In: the checkout this xtask was compiled in. Out: absolute paths below it.

use std::path::PathBuf;

/// The name of the target that the static binary is built for.
pub const MUSL_TARGET: &str = "x86_64-unknown-linux-musl";

/// The name of this platform, for builds that are not to touch the ones for it: a sanitizer's.
pub const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The checkout.
pub fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// Everything that a build makes.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Where cargo puts what it builds static.
pub fn static_release() -> PathBuf {
    target().join(MUSL_TARGET).join("release")
}

/// The agent as it is shipped: the one file of the image.
pub fn static_agent() -> PathBuf {
    target().join("spanlet")
}

/// What setup builds or installs outside the package manager: `bin/` below it holds the programs.
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// The kernel programs, as the agent's build script embeds them.
pub fn bpf_object() -> PathBuf {
    target().join("bpf/spanlet.bpf.o")
}

/// The collector that the end-to-end tests send to.
pub fn collector() -> PathBuf {
    tools().join("otelcol")
}

/// What the chart's tests render it with.
pub fn helm() -> PathBuf {
    tools().join("bin/helm")
}
