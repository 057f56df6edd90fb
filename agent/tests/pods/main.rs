//! What Kubernetes knows: choices, names and peers from updates, and the watch against an API server that misbehaves.

mod attributes;
mod choices;
mod index;
mod server;
mod watch;
mod world;
