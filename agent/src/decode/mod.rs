//! Room 3: [`crate::capture::Event`] in, [`Step`] (the start and the end of each [`Exchange`]) out.

pub mod exchange;

pub use exchange::{Exchange, Step};
