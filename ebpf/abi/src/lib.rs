//! The words that the kernel programs and the agent share. Data only: no logic beyond naming.
//!
//! In: nothing. Out: record layouts ([`record`]), what the agent tells the programs ([`settings`]), what the
//! programs know of a process and a connection ([`state`]), named losses ([`loss`]) and named limits ([`limit`]).
//!
//! Rules: `repr(C)`, fixed widths, padding written out, no `bool`/`usize`/enum/pointer in anything that crosses
//! the boundary. Layouts are asserted at compile time.
#![no_std]

pub mod golang;
pub mod limit;
pub mod loss;
pub mod record;
pub mod settings;
pub mod state;
pub mod tls;
