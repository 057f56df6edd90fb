//! `cargo xtask sanitize`: the agent's tests with AddressSanitizer, which sees what unsafe code and the C libraries under
//! it do with memory. In: this checkout. Out: the tests' own lines and the tally.
//!
//! Miri would see more and cannot run here: the agent's unsafe blocks are system calls, which it does not know.

use std::process::ExitCode;

use anyhow::Result;

use crate::libtest::Tally;
use crate::{machine, paths, test};

/// Builds the tests with the sanitizer and runs them.
pub fn sanitize() -> Result<ExitCode> {
    let mut command = machine::command("cargo");
    // A named target, so that build scripts and macros are built without it.
    command.args(["test", "--package", "spanlet", "--no-fail-fast"]);
    command.args(["--target", paths::PLATFORM]);
    command
        .env("CARGO_TARGET_DIR", paths::target().join("sanitize"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address");
    let mut tally = Tally::default();
    let succeeded = test::stream(command, &mut tally)?;
    Ok(test::verdict(&tally, succeeded, Vec::new()))
}
