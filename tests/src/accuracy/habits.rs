//! Functions whose habits mislead: what they call on their own, or without waiting for it. In: a habit, a runtime.
//! Out: a running function.

use std::fmt;
use std::process::Command;

use anyhow::{bail, Result};

use super::plan::Shape;
use super::subjects::ASYNCIO;
use crate::function::{Function, Options};
use crate::language::{go_program, python_program};
use crate::runtime::rust;
use crate::system::workspace;

/// What a function does that an observer may take for the work of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Calls by a thread, or a timer, that nobody waits for.
    Background,
    /// The same by a thread of a pool.
    Abandon,
    /// Polls from the start, beside requests that call.
    Poll,
    /// About as often as there are requests.
    FastPoll,
    /// Once in many requests.
    SlowPoll,
    /// Polls from the first request on.
    LazyPoll,
    /// Serves on one event loop and calls on another.
    TwoLoops,
}

impl Habit {
    pub const ALL: [Self; 7] = [
        Self::Background,
        Self::Abandon,
        Self::Poll,
        Self::FastPoll,
        Self::SlowPoll,
        Self::LazyPoll,
        Self::TwoLoops,
    ];

    /// Whether there is such a function in that runtime.
    pub fn is_of(self, runtime: &str) -> bool {
        match runtime {
            "python" => true,
            "node" | "go" | "rust-tokio" | ASYNCIO => self != Self::TwoLoops,
            _ => false,
        }
    }

    /// What is asked of it.
    pub fn shape(self) -> Shape {
        match self {
            Self::Background => Shape::Background,
            Self::Abandon => Shape::Abandon,
            _ => Shape::Pair,
        }
    }

    /// The time between two polls, milliseconds: not in step with the requests.
    fn polls(self) -> Option<u32> {
        match self {
            Self::Poll => Some(37),
            // The first comes after the request that began it, however slow the machine: what it starts while it is served
            // is its own.
            Self::LazyPoll => Some(97),
            Self::FastPoll => Some(7),
            Self::SlowPoll => Some(310),
            _ => None,
        }
    }

    /// Starts it; what it polls is at that port.
    pub fn start(self, runtime: &'static str, polled: u16) -> Result<Function> {
        let mut command = match (runtime, self) {
            ("python", Self::TwoLoops) => python_program("loops")?.0,
            ("python", _) => python_program("habits")?.0,
            (ASYNCIO, _) => python_program("tasks")?.0,
            ("go", _) => go_program("habits")?,
            ("rust-tokio", _) => rust::program("habits")?,
            ("node", _) => {
                let mut command = Command::new("node");
                command.arg(workspace().join("tests/programs/habits.js"));
                command
            }
            _ => bail!("no function with habits in {runtime}"),
        };
        if let Some(interval_ms) = self.polls() {
            command.env("POLL", interval_ms.to_string());
            command.env("POLLED", polled.to_string());
        }
        if self == Self::LazyPoll {
            command.env("LAZY", "1");
        }
        Function::start_as(runtime, command, &Options::default())
    }
}

impl fmt::Display for Habit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Background => "background",
            Self::Abandon => "abandon",
            Self::Poll => "poll",
            Self::FastPoll => "fast-poll",
            Self::SlowPoll => "slow-poll",
            Self::LazyPoll => "lazy-poll",
            Self::TwoLoops => "two-loops",
        })
    }
}
