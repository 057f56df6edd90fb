//! The only door to building and testing: `cargo xtask <verb>`. In: a verb and its options. Out: what the verb
//! builds or prints, and an exit status. One file per verb; this one only names them.

mod accuracy;
mod bench;
mod build;
mod demo;
mod doctor;
mod e2e;
mod fuzz;
mod go_offsets;
mod image;
mod k8s;
mod libtest;
mod machine;
mod paths;
mod profile;
mod python_offsets;
mod run;
mod runtimes;
mod sanitize;
mod setup;
mod step;
mod test;
mod times;
mod toolchain;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring what this machine lacks; called by the other verbs
    Setup(setup::Options),
    /// Say which ring of tests can run here, and what is missing for the others
    Doctor,
    /// Show a live trace: sample functions in two languages, traffic, and the agent
    Demo(demo::Options),
    /// Build the kernel programs and the agent that embeds them
    Build(build::Options),
    /// Make the agent's container image, without a daemon or a registry
    Image(image::Options),
    /// Set up, build, check and run every test that can run here
    Test,
    /// Run the end-to-end tests only
    E2e(e2e::Options),
    /// Show which runtime passes which case
    Runtimes(runtimes::Options),
    /// Score how truly the agent says who called whom
    Accuracy(accuracy::Options),
    /// Measure what tracing costs, with and without the agent in turn
    Bench(spanlet_e2e::bench_options::Options),
    /// Give random bytes to every parser of foreign bytes
    Fuzz(fuzz::Options),
    /// Hold the table of Go's offsets to programs built by each release
    GoOffsets(go_offsets::Options),
    /// Run the agent's tests with AddressSanitizer
    Sanitize,
    /// A real Kubernetes of one node, and the scenario that the agent walks on it
    #[command(subcommand)]
    K8s(k8s::Options),
    /// Count what the agent spends on a request, room by room, and compare it with what it was
    Profile,
    /// Print where CPython keeps the running task, by the headers of its releases
    PythonOffsets(python_offsets::Options),
    /// What continuous integration runs: the same as test
    Ci,
}

fn main() -> ExitCode {
    // As other programs do, end quietly when nobody reads (`| head`); Rust's own start-up has it ignored.
    // SAFETY: the default action runs no code of this process.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    match walk(Arguments::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn walk(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Setup(options) => setup::setup(options.what).map(|()| ExitCode::SUCCESS),
        Verb::Doctor => doctor::doctor(),
        Verb::Demo(options) => demo::demo(options),
        Verb::Build(options) => build::build(options).map(|()| ExitCode::SUCCESS),
        Verb::Image(options) => image::image(&options).map(|()| ExitCode::SUCCESS),
        Verb::Test | Verb::Ci => test::test(),
        Verb::E2e(options) => e2e::e2e(options),
        Verb::Runtimes(options) => runtimes::runtimes(&options),
        Verb::Accuracy(options) => accuracy::accuracy(&options),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Fuzz(options) => fuzz::fuzz(&options),
        Verb::GoOffsets(options) => go_offsets::go_offsets(&options),
        Verb::Sanitize => sanitize::sanitize(),
        Verb::K8s(options) => k8s::k8s(options),
        Verb::PythonOffsets(options) => python_offsets::python_offsets(&options),
        Verb::Profile => {
            setup::setup(setup::Purpose::Profile)?;
            profile::profile()
        }
    }
}
