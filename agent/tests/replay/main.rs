//! Recordings of the kernel's bytes, replayed through capture, decode and enrich: no root, no kernel programs.
//!
//! `tests/recordings/README.md` says what the recordings are and how they are made.

mod difference;
mod identity;
mod losses;
mod mutations;
mod recorded;
mod run;
mod snapshots;
mod text;
mod truths;
