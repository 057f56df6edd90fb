//! Spanlet's agent: five rooms walked one way, and the pipeline that alone knows them all.
//!
//! Kernel records come in at [`capture`], leave as [`capture::Event`]; [`decode`] makes exchanges of them;
//! [`enrich`] makes spans of exchanges; [`export`] delivers spans or counts them. [`attach`] finds the processes
//! and holds the probes. See `agent/README.md`.

mod answer;
pub mod attach;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod control;
pub mod decode;
pub mod doctor;
pub mod enrich;
pub mod export;
mod few;
mod hash;
pub mod health;
pub mod memory;
pub mod news;
pub mod pipeline;
pub mod pods;
pub mod prometheus;
pub mod ready;
pub mod report;
mod tally;
pub mod telemetry;
pub mod verify;
