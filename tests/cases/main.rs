//! The end-to-end cases. They need root, the functions' runtimes, the built agent and a collector: `cargo xtask e2e`.

mod functions;
mod harness;
