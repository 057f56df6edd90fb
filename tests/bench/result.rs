//! Comparisons of runs, and the line of a table that they make. In: runs. Out: cells.

use spanlet_e2e::statistics::{middle_half, Spread};

use crate::account::Account;
use crate::beside::Beside;
use crate::subject::Run;

/// A run with something beside the function, and the mean of its neighbours without.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub with: Run,
    pub without: Run,
    /// CPU time of the agent a request, microseconds.
    pub agent_us: Option<f64>,
    /// Memory of the agent after the load, and its most, MiB.
    pub agent_mib: Option<(f64, f64)>,
}

/// What a line is made of.
#[derive(Clone, Debug)]
pub struct Line {
    /// `None`: nothing.
    pub beside: Option<Beside>,
    pub pairs: Vec<Pair>,
    pub account: Account,
}

/// The columns of [`Line::cells`].
pub const COLUMNS: [&str; 10] = [
    "beside the function",
    "kept",
    "p50 ms",
    "p99 ms",
    "function +µs",
    "client +µs",
    "agent µs",
    "MiB (peak)",
    "spans",
    "the rest",
];

impl Pair {
    pub fn kept(&self) -> f64 {
        self.with.per_second / self.without.per_second
    }

    pub fn added_us(&self) -> f64 {
        self.with.function_us - self.without.function_us
    }
}

impl Line {
    pub fn new(beside: Option<Beside>) -> Self {
        Self {
            beside,
            pairs: Vec::new(),
            account: Account::default(),
        }
    }

    fn name(&self) -> String {
        self.beside
            .map_or_else(|| "nothing".to_owned(), |beside| beside.to_string())
    }

    pub fn cells(&self) -> Vec<String> {
        let median = |value: fn(&Pair) -> f64| self.spread(value).median;
        let latency = |with: fn(&Pair) -> f64, without: fn(&Pair) -> f64| {
            format!("{:.2} → {:.2}", median(without) / 1e3, median(with) / 1e3)
        };
        let agent = self.agent_us();
        vec![
            self.name(),
            format!("{:.2}", self.kept()),
            latency(|pair| pair.with.p50_us, |pair| pair.without.p50_us),
            latency(|pair| pair.with.p99_us, |pair| pair.without.p99_us),
            format!("{:.1}", self.added_us()),
            format!(
                "{:.1}",
                median(|pair| pair.with.client_us - pair.without.client_us)
            ),
            agent.map_or_else(dash, |agent| format!("{agent:.1}")),
            self.memory(),
            if agent.is_some() {
                self.account.seen()
            } else {
                dash()
            },
            if agent.is_some() {
                self.account.verdict()
            } else {
                dash()
            },
        ]
    }

    /// Requests a second: with, divided by without.
    pub fn kept(&self) -> Spread {
        self.spread(Pair::kept)
    }

    /// CPU time of the function a request: with, less without.
    pub fn added_us(&self) -> Spread {
        self.spread(Pair::added_us)
    }

    /// Half of the pairs are within.
    pub fn middle_half(&self, value: fn(&Pair) -> f64) -> (f64, f64) {
        middle_half(self.pairs.iter().map(value)).unwrap_or((f64::NAN, f64::NAN))
    }

    /// CPU time of the agent a request; `None`: there was none.
    pub fn agent_us(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().filter_map(|pair| pair.agent_us))
    }

    /// The function's own CPU time a request, and requests a second, without.
    pub fn without(&self) -> (f64, f64) {
        let function = self.spread(|pair| pair.without.function_us);
        let rate = self.spread(|pair| pair.without.per_second);
        (function.median, rate.median)
    }

    /// Now, and in brackets the most.
    pub fn memory(&self) -> String {
        let of = |which: fn((f64, f64)) -> f64| {
            Spread::of(
                self.pairs
                    .iter()
                    .filter_map(|pair| pair.agent_mib.map(which)),
            )
        };
        match (of(|mib| mib.0), of(|mib| mib.1)) {
            (Some(now), Some(peak)) => format!("{:.1} ({:.1})", now.median, peak.median),
            _ => dash(),
        }
    }

    fn spread(&self, value: fn(&Pair) -> f64) -> Spread {
        let nothing = Spread {
            least: f64::NAN,
            median: f64::NAN,
            most: f64::NAN,
        };
        Spread::of(self.pairs.iter().map(value)).unwrap_or(nothing)
    }
}

fn dash() -> String {
    "-".to_owned()
}
