//! Spanlet's agent: five rooms walked one way, and the pipeline that alone knows them all.
//!
//! Kernel records come in at [`capture`], leave as [`capture::Event`]; [`decode`] makes exchanges of them;
//! [`enrich`] makes spans of exchanges; [`export`] delivers spans or counts them. [`attach`] finds the processes
//! and holds the probes. See `agent/README.md`.

pub mod attach;
pub mod capture;
pub mod clock;
pub mod config;
pub mod decode;
pub mod enrich;
pub mod export;
pub mod telemetry;
