//! How often the stretches of serving call an endpoint. A stretch lasts from when a process begins to serve until it
//! serves nothing; one in which two requests were open at once tells nothing.
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
    /// The last one, and how often by now.
    now: Option<(u64, u32)>,
    /// Those between.
    runs: VecDeque<Run>,
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
    pub fn call(&mut self, stretch: u64) {
        self.first.get_or_insert(stretch);
        if let Some((now, calls)) = &mut self.now {
            if *now == stretch {
                *calls += 1;
                return;
            }
        }
        if let Some((past, calls)) = self.now.replace((stretch, 1)) {
            self.append(past, calls);
        }
    }

    /// A second request is open in that stretch, the last: whose its calls were, their number does not tell.
    pub fn crowd(&mut self, stretch: u64) {
        self.now = self.now.filter(|(now, _)| *now != stretch);
    }

    /// How many stretches in a row called as often as this one; 0 where that is not known. `over`: the last stretch
    /// that is over.
    pub fn run_length(&self, stretch: u64, over: u64) -> u64 {
        match self.now {
            Some((now, calls)) if now == stretch => {
                let is_over = now <= over;
                let is_as_often =
                    |run: &&Run| run.calls == calls || (calls < run.calls && !is_over);
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
