//! How often the stretches of serving call an endpoint. A stretch lasts from when a process begins to serve until it
//! serves nothing; one in which two requests were open at once tells nothing, and so does one whose calls are all known
//! by more than the process.
//!
//! In: calls, each in a stretch. Out: for a stretch, how many in a row, it included, called as often as it did.

use std::collections::VecDeque;

/// Names a stretch of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// All stretches are numbered, from 1. 0: it tells nothing.
    pub number: u64,
    /// How many have told something, with this one.
    pub place: u64,
}

/// Runs that are kept, and crowded stretches that called. Full: the first is forgotten; by then its calls have been
/// asked for, or are too irregular.
const RUNS_MAX: usize = 32;

/// The calls to one endpoint.
#[derive(Debug, Default)]
pub struct Rhythm {
    /// The first stretch that called.
    first: Option<u64>,
    now: Option<Now>,
    /// Those between.
    runs: VecDeque<Run>,
    /// Stretches between that tell nothing.
    crowded: VecDeque<u64>,
    /// The last of these that was forgotten: of those before it nothing is known.
    forgotten: u64,
}

/// The last stretch that called, and how often by now.
#[derive(Clone, Copy, Debug)]
struct Now {
    stretch: Stretch,
    calls: u32,
    /// One of them is known by the process alone.
    counts: bool,
}

/// Stretches in a row that called equally often.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Stretch,
    last: Stretch,
    calls: u32,
}

impl Run {
    fn length(&self) -> u64 {
        self.last.place - self.first.place + 1
    }
}

impl Rhythm {
    /// `counts`: it is known by the process alone.
    pub fn call(&mut self, stretch: Stretch, counts: bool) {
        self.first.get_or_insert(stretch.number);
        if let Some(now) = self.now.as_mut().filter(|now| now.stretch == stretch) {
            now.calls += 1;
            now.counts |= counts;
            return;
        }
        let calls = 1;
        let new = Now {
            stretch,
            calls,
            counts,
        };
        if let Some(past) = self.now.replace(new).filter(|past| past.counts) {
            self.append(past.stretch, past.calls);
        }
    }

    /// A second request is open in that stretch, the last: whose its calls were, their number does not tell.
    pub fn crowd(&mut self, stretch: u64) {
        if self
            .now
            .take_if(|now| now.stretch.number == stretch)
            .is_some()
        {
            if self.crowded.len() >= RUNS_MAX {
                self.forgotten = self.crowded.pop_front().unwrap_or(stretch);
            }
            self.crowded.push_back(stretch);
        }
    }

    /// How many stretches in a row called as often as this one; 0 where that is not known. `over`: the last stretch
    /// that is over.
    pub fn run_length(&self, stretch: Stretch, over: u64) -> u64 {
        match self.now {
            Some(now) if now.stretch == stretch => {
                let may_grow = stretch.number > over;
                let is_as_often =
                    |run: &&Run| run.calls == now.calls || (now.calls < run.calls && may_grow);
                let before = self
                    .runs
                    .back()
                    .filter(|run| run.last.place + 1 == stretch.place);
                1 + before.filter(is_as_often).map_or(0, Run::length)
            }
            _ if stretch.number <= self.forgotten => 0,
            _ if self.crowded.contains(&stretch.number) => 0,
            _ => {
                let holds =
                    |run: &&Run| (run.first.number..=run.last.number).contains(&stretch.number);
                let found = self.runs.iter().find(holds);
                found.map_or(0, Run::length)
            }
        }
    }

    /// Stretches since the first that called.
    pub fn age(&self, over: u64) -> u64 {
        self.first.map_or(0, |first| over.saturating_sub(first))
    }

    fn append(&mut self, stretch: Stretch, calls: u32) {
        match self.runs.back_mut() {
            Some(run) if run.last.place + 1 == stretch.place && run.calls == calls => {
                run.last = stretch
            }
            _ => {
                if self.runs.len() >= RUNS_MAX {
                    self.runs.pop_front();
                }
                let (first, last) = (stretch, stretch);
                self.runs.push_back(Run { first, last, calls });
            }
        }
    }
}
