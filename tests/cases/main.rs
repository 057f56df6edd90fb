//! The end-to-end cases. They need root, the functions' runtimes, the built agent and a collector: `cargo xtask e2e`.

mod attributes;
mod basics;
mod broken;
mod calls;
mod durations;
mod functions;
mod harness;
mod record;
mod stage;
mod traces;
