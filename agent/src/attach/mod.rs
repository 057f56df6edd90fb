//! Room 1: processes in, attached probes out (dropped with the process).

pub mod btf;
mod error;
pub mod offsets;
pub mod plan;
pub mod probes;
pub mod process;

pub use error::Error;
pub use probes::Probes;
pub use process::{Language, ProcessFacts};
