//! The end-to-end harness: functions, the agent and a collector as processes, a client with full control over its
//! bytes, and what came out as plain structs. The cases, the demo and the benchmark are built of it.
//!
//! It shares no code with the agent, so that a fault there cannot hide itself here.

pub mod agent;
pub mod bpf;
pub mod client;
pub mod collector;
pub mod function;
pub mod json;
pub mod language;
pub mod load;
pub mod message;
pub mod metrics;
pub mod otlp;
pub mod process;
pub mod reader;
pub mod report;
pub mod scratch;
pub mod system;
pub mod wait;
