//! Exact accounting: requests sent = spans received + spans lost by name. In: what was due, what came, the agent's counters.
//! Out: how much was seen, and by which names the rest was lost.

use std::collections::BTreeMap;

use crate::beside::Spent;

/// The sum over some runs.
#[derive(Clone, Debug, Default)]
pub struct Account {
    due: u64,
    seen: u64,
    /// Spans that were made and given up.
    dropped: BTreeMap<String, u64>,
    /// Records and exchanges that were lost before they were spans.
    lost: BTreeMap<String, u64>,
}

/// The agent's counters of what was lost before it was a span. A record that is lost loses one exchange at most.
const LOST: [&str; 3] = [
    "spanlet.kernel.losses",
    "spanlet.capture.skipped",
    "spanlet.enrich.unfollowed",
];

impl Account {
    /// Adds a run that should have made `due` spans.
    pub fn add(&mut self, due: u64, spent: &Spent) {
        self.due += due;
        self.seen += spent.received.spans();
        for counter in spent.report.of("spanlet.export.dropped") {
            *self.dropped.entry(counter.name.clone()).or_default() += counter.value;
        }
        for counter in LOST.iter().flat_map(|room| spent.report.of(room)) {
            *self.lost.entry(counter.name.clone()).or_default() += counter.value;
        }
    }

    /// The share of spans that came.
    pub fn seen(&self) -> String {
        match self.due {
            0 => "-".to_owned(),
            due if due == self.seen => format!("all {due}"),
            // Rounded down: less than all is never 100 %.
            due => format!(
                "{:.2} % of {due}",
                (self.seen * 10_000 / due) as f64 / 100.0
            ),
        }
    }

    /// What became of the rest, or that it is not known.
    pub fn verdict(&self) -> String {
        let dropped: u64 = self.dropped.values().sum();
        let lost: u64 = self.lost.values().sum();
        let missing = self.due as i64 - self.seen as i64 - dropped as i64;
        let names = self.dropped.iter().chain(&self.lost);
        let mut parts: Vec<String> = names
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if missing < 0 {
            parts.push(format!("{} TOO MANY", -missing));
        } else if missing as u64 > lost {
            parts.push(format!("{} UNEXPLAINED", missing as u64 - lost));
        }
        match parts.is_empty() {
            true => "exact".to_owned(),
            false => parts.join(", "),
        }
    }
}
