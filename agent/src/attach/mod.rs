//! Room 1: processes in, attached probes out (dropped with the process).

pub mod process;

pub use process::{Language, ProcessFacts};
