//! `cargo xtask build`: the kernel programs, then the agent that embeds them. In: options. Out: `target/bpf/spanlet.bpf.o`
//! and `target/debug/spanlet` or `target/release/spanlet`; with `--static`, `target/spanlet` in their place.

mod agent;
mod bpf;
mod static_binary;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::step::step;

pub use static_binary::{cargo as static_cargo, StaticRoute};

#[derive(clap::Args, Clone, Copy, Default)]
pub struct Options {
    /// Optimise the agent (the kernel programs always are)
    #[arg(long)]
    release: bool,
    /// Build the one that runs on any Linux, in an empty image too: optimised, and besides the other only with --release
    #[arg(long = "static")]
    static_binary: bool,
    /// Compile the probes' debug lines in (they cost time in every probe)
    #[arg(long)]
    probe_log: bool,
}

impl Options {
    /// The agent as it is used.
    pub fn release() -> Self {
        Self {
            release: true,
            ..Self::default()
        }
    }

    /// The one file that runs anywhere: what the image holds, and what the tests run.
    pub fn static_binary() -> Self {
        Self {
            static_binary: true,
            ..Self::default()
        }
    }
}

/// Sets up what building needs, and builds.
pub fn build(options: Options) -> Result<()> {
    setup::setup(if options.static_binary {
        Purpose::Static
    } else {
        Purpose::Build
    })?;
    compile(options)
}

/// Builds on a machine that is set up.
pub fn compile(options: Options) -> Result<()> {
    step("build: kernel programs", || bpf::build(options))?;
    if options.release || !options.static_binary {
        step("build: agent", || agent::build(options))?;
    }
    if options.static_binary {
        step("build: static binary", || static_binary::build(options))?;
    }
    Ok(())
}
