//! How often the stretches of serving call an endpoint. A stretch lasts from when a process begins to serve until it
//! serves nothing; one in which two requests were open at once tells nothing, and so does one whose calls are all known
//! by more than the process.
//!
//! In: calls, each in a stretch. Out: for a stretch, how many in a row, it included, called as often as it did.

use std::collections::VecDeque;

/// Runs that are kept. Full: the first is forgotten; by then its calls have been asked for, or call too irregularly.
const RUNS_MAX: usize = 32;

/// The calls to one endpoint.
#[derive(Debug, Default)]
pub struct Rhythm {
    /// The first stretch that called.
    first: Option<u64>,
    now: Option<Now>,
    /// Those between.
    runs: VecDeque<Run>,
}

/// The last stretch that called, and how often by now.
#[derive(Clone, Copy, Debug)]
struct Now {
    stretch: u64,
    calls: u32,
    /// One of them is known by the process alone.
    counts: bool,
}

/// Stretches in a row that called equally often.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    calls: u32,
}

impl Run {
    fn length(&self) -> u64 {
        self.last - self.first + 1
    }
}

impl Rhythm {
    /// `counts`: it is known by the process alone.
    pub fn call(&mut self, stretch: u64, counts: bool) {
        self.first.get_or_insert(stretch);
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
        self.now = self.now.filter(|now| now.stretch != stretch);
    }

    /// How many stretches in a row called as often as this one; 0 where that is not known. `over`: the last stretch
    /// that is over.
    pub fn run_length(&self, stretch: u64, over: u64) -> u64 {
        match self.now {
            Some(now) if now.stretch == stretch => {
                let may_grow = stretch > over;
                let is_as_often =
                    |run: &&Run| run.calls == now.calls || (now.calls < run.calls && may_grow);
                let before = self.runs.back().filter(|run| run.last + 1 == stretch);
                1 + before.filter(is_as_often).map_or(0, Run::length)
            }
            _ => {
                let mut runs = self.runs.iter();
                let found = runs.find(|run| (run.first..=run.last).contains(&stretch));
                found.map_or(0, Run::length)
            }
        }
    }

    /// Stretches since the first that called.
    pub fn age(&self, over: u64) -> u64 {
        self.first.map_or(0, |first| over.saturating_sub(first))
    }

    fn append(&mut self, stretch: u64, calls: u32) {
        match self.runs.back_mut() {
            Some(run) if run.last + 1 == stretch && run.calls == calls => run.last = stretch,
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
