//! The scenario on a real Kubernetes: `cargo xtask k8s test`, which starts the cluster and runs this on its node. What is true is asked of
//! the API server, of the functions and of the client, never of the agent. Each test stands alone, in a namespace of its own, and can be
//! run alone against a cluster that is up.

mod agent;
mod api;
mod brief;
mod calls;
mod choosing;
mod collector;
mod driver;
mod faults;
mod installing;
mod interruptions;
mod namespace;
mod naming;
mod pods;
mod replacing;
mod rolling;
mod scenario;
mod size;
mod spans;
