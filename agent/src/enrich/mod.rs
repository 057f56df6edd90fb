//! Room 4: [`crate::decode::Step`] in, [`Span`] out.

pub mod span;

pub use span::Span;
