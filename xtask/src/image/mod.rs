//! `cargo xtask image`: the agent's image, without a daemon or a registry. In: the static binary, which it builds. Out:
//! `target/image/spanlet.tar`, and its sizes. [`build`] makes an image of any other folder.

mod layer;
mod oci;
#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

use crate::machine::{Machine, ThisMachine};
use crate::setup::{self, Purpose};
use crate::step::{step, Outcome};
use crate::{build as binary, paths};

pub use layer::Compression;
pub use oci::{build, Built, Config};

#[derive(clap::Args)]
pub struct Options {
    /// What the image is called where it is imported
    #[arg(long, default_value = NAME)]
    name: String,
}

impl Default for Options {
    fn default() -> Self {
        let name = NAME.to_owned();
        Self { name }
    }
}

/// The same as `deploy/chart` asks for by default.
pub const NAME: &str = concat!("localhost/spanlet:", env!("CARGO_PKG_VERSION"));

/// Of the agent's image, as nodes unpack it: each node of a cluster fetches and keeps it.
const UNPACKED_BYTES_MAX: u64 = 17_000_000;

/// Builds the static binary and its image.
pub fn image(options: &Options) -> Result<()> {
    setup::setup(Purpose::Static)?;
    binary::compile(binary::Options::static_binary())?;
    step("image", || {
        let built = of_binary(&paths::static_agent(), &options.name, &archive())?;
        ensure_fits(&built)?;
        Ok(Outcome::Done(format!(
            "{} is {}, {:.1} MB, unpacked {:.1} MB, {}",
            archive().display(),
            options.name,
            megabytes(built.tar_bytes),
            megabytes(built.unpacked_bytes),
            built.digest,
        )))
    })
}

/// Where the agent's image is written.
pub fn archive() -> PathBuf {
    paths::target().join("image/spanlet.tar")
}

/// The image that holds a static agent and nothing else.
pub fn of_binary(agent: &Path, name: &str, out: &Path) -> Result<Built> {
    let rootfs = out.with_extension("rootfs");
    fs::create_dir_all(&rootfs).with_context(|| format!("cannot make {}", rootfs.display()))?;
    let inside = rootfs.join("spanlet");
    fs::copy(agent, &inside).with_context(|| format!("cannot copy {}", agent.display()))?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    build(&rootfs, &config(name, &revision()), out)
}

fn ensure_fits(built: &Built) -> Result<()> {
    ensure!(
        built.unpacked_bytes <= UNPACKED_BYTES_MAX,
        "the image is {:.1} MB and may be {:.1}: what made the binary grow?",
        megabytes(built.unpacked_bytes),
        megabytes(UNPACKED_BYTES_MAX)
    );
    Ok(())
}

/// What the agent's image says of itself; `deploy/Dockerfile` says the same.
fn config(name: &str, revision: &str) -> Config {
    let labels = [
        ("title", "spanlet"),
        ("description", "Traces functions without touching them: an eBPF node agent that exports OpenTelemetry spans"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", revision),
        ("licenses", "Apache-2.0"),
    ];
    Config {
        name: name.to_owned(),
        entrypoint: vec!["/spanlet".to_owned()],
        // Not that of a name: there is no /etc/passwd.
        user: "0:0".to_owned(),
        labels: labels
            .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
            .into(),
        compression: Compression::Gzip,
        ..Config::default()
    }
}

fn revision() -> String {
    let commit = ThisMachine.output("git", &["rev-parse", "HEAD"]);
    commit.map_or_else(|| "unknown".to_owned(), |commit| commit.trim().to_owned())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
