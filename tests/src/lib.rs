//! The end-to-end harness: functions, the agent and a collector as processes, a client with full control over its
//! bytes, and what came out as plain structs. The cases, the demo and the benchmark are built of it.
//!
//! It shares no code with the agent, so that a fault there cannot hide itself here.

pub mod accuracy;
pub mod agent;
pub mod bench_options;
pub mod bpf;
pub mod certificate;
pub mod channel;
pub mod client;
pub mod collector;
pub mod empty;
pub mod function;
pub mod generator;
pub mod helm;
pub mod json;
pub mod kernel;
pub mod language;
pub mod load;
pub mod memory_group;
pub mod message;
pub mod metrics;
pub mod otlp;
pub mod overlay;
pub mod poll;
pub mod process;
mod protobuf;
pub mod reader;
pub mod report;
pub mod runtime;
pub mod scratch;
pub mod sheet;
pub mod sink;
pub mod statistics;
pub mod system;
pub mod table;
pub mod usage;
pub mod wait;
