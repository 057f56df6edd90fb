//! Room 2: ring-buffer bytes in, [`Event`] out.

pub mod convert;
pub mod event;
pub mod reader;
pub mod recording;
mod ring;

pub use event::Event;
pub use reader::{Counts, Reader, WaitedRing};
pub use ring::Ring;
