//! The short table, one line for each agent that was measured. In: lines of the long one. Out: rows.

use spanlet_e2e::sheet::Sheet;

use crate::beside::Beside;
use crate::result::{Line, Pair};

pub const TITLE: &str = "\
In short, medians; in brackets what the same comparison gives without any agent (the middle half of such comparisons): the error
  floor: CPU time that empty programs on the same hooks add to a request; agent: what the agent's programs add; agent's own: CPU
  time of the agent a request, export included.";

const COLUMNS: [&str; 10] = [
    "function",
    "back end",
    "requests/s",
    "kept",
    "function µs",
    "floor +µs",
    "agent +µs",
    "agent's own µs",
    "MiB (peak)",
    "spans seen",
];

pub fn table(rows: Vec<Vec<String>>) -> Sheet {
    let mut table = Sheet::new(&COLUMNS);
    table.group("", rows);
    table
}

/// The rows of one group of lines, of which the first is without anything.
pub fn rows(title: &str, lines: &[Line]) -> Vec<Vec<String>> {
    let Some(nothing) = lines.first() else {
        return Vec::new();
    };
    let agents = lines.iter().filter_map(|line| match line.beside {
        Some(Beside::Agent(backend)) => {
            let empty = Some(Beside::Empty(backend));
            let floor = lines.iter().find(|other| other.beside == empty)?;
            Some((backend, line, floor))
        }
        _ => None,
    });
    let rows = agents.map(|(backend, line, floor)| {
        let (function_us, per_second) = line.without();
        let kept = nothing.middle_half(Pair::kept);
        let added = nothing.middle_half(Pair::added_us);
        vec![
            title.to_owned(),
            backend.to_string(),
            format!("{per_second:.0}"),
            format!("{:.2} ({:.2} to {:.2})", line.kept().median, kept.0, kept.1),
            format!("{function_us:.1}"),
            format!("{:.1}", floor.added_us().median),
            format!(
                "{:.1} ({:+.1} to {:+.1})",
                line.added_us().median,
                added.0,
                added.1
            ),
            line.agent_us()
                .map_or_else(String::new, |agent| format!("{:.1}", agent.median)),
            line.memory(),
            line.account.seen(),
        ]
    });
    rows.collect()
}
