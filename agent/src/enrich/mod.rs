//! Room 4: [`crate::decode::Step`] in, [`Span`] out.
//!
//! Pure: no input or output, no clock, no randomness but a seed. [`Enricher`] is told of processes and of exchanges
//! as they start and end, finds who called whom (`parents.rs`), and writes each finished exchange down in the words of
//! the semantic conventions (`semantic.rs`) after a short grace, in which the other end may still be found.

mod births;
mod calls;
mod config;
mod context;
mod counts;
mod enricher;
mod evidence;
mod goroutines;
mod held;
mod ids;
mod lineage;
mod nodes;
mod parents;
mod place;
mod process;
mod program;
mod proxies;
mod redact;
mod resource;
mod rhythm;
mod route;
mod routes;
mod semantic;
mod service;
pub mod span;
mod table;
mod target;
mod tasks;
mod threads;
mod trust;
mod turns;
mod wire;

pub use config::{Config, Limits};
pub use counts::Counts;
pub use enricher::Enricher;
pub use evidence::{Evidence, Refusal};
pub use proxies::is_proxy;
pub use redact::Query;
pub use resource::service_name;
pub use span::Span;
