//! Room 2: ring-buffer bytes in, [`Event`] out.

pub mod event;

pub use event::Event;
