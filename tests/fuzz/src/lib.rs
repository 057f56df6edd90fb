//! What the fuzz targets do with their bytes. In: bytes that nobody vouches for. Out: nothing, or a panic: each
//! function here holds the agent to what must be true for any input. The targets only call them, so that a finding can
//! be replayed in a debugger.

mod bytes;
pub mod config;
pub mod executable;
pub mod http1;
pub mod record;
pub mod seeds;

#[allow(dead_code)]
#[path = "../../../agent/tests/decode/kernel.rs"]
mod kernel;
#[allow(dead_code)]
#[path = "../../../agent/tests/replay/run.rs"]
mod run;
