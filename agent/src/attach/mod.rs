//! Room 1: processes in, attached probes out (dropped with the process).

pub mod btf;
pub mod census;
mod closing;
pub mod decision;
pub mod discover;
mod error;
mod fruitless;
pub mod golang;
pub mod identity;
pub mod image;
pub mod inspected;
pub mod libuv;
pub mod listening;
pub mod offsets;
pub mod openssl;
pub mod placement;
pub mod places;
pub mod plan;
pub mod probes;
pub mod process;
pub mod python;
pub mod runtime;
pub mod selection;
pub mod symbol_table;
pub mod symbols;
pub mod targets;
pub mod tokio;
pub mod tracked;
pub mod uprobes;
pub mod window;

pub use census::{check_named, Census};
pub use error::Error;
pub use probes::Probes;
pub use process::{Language, ProcessFacts, Resolution, Standing};
pub use selection::Selection;
