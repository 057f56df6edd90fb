//! What the kernels of a cluster's nodes can do. In: each node's checks. Out: a row for each finding, and the nodes where
//! it was made. Pure.

use super::reach::Answer;
use super::{count, not_reached, said};
use crate::doctor::{can_trace, mark, meaning, Check};
use crate::report::table;

/// Names of nodes in a cell; of more, only how many.
const NODES_NAMED: usize = 3;

/// As a table: what is alike on several nodes is one row.
pub fn text(answers: &[Answer<Vec<Check>>]) -> String {
    let mut findings: Vec<(&Check, Vec<&str>)> = Vec::new();
    for (node, checks) in said(answers) {
        for check in checks {
            match findings.iter_mut().find(|(known, _)| *known == check) {
                Some((_, nodes)) => nodes.push(node),
                None => findings.push((check, vec![node])),
            }
        }
    }
    // In the order of the checks, for each the worst finding first.
    let order: Vec<_> = findings.iter().map(|(check, _)| &check.feature).collect();
    let place = |check: &Check| order.iter().position(|name| **name == check.feature);
    let mut sorted = findings.clone();
    sorted.sort_by_key(|(check, _)| (place(check), std::cmp::Reverse(check.outcome)));
    let all = said(answers).count();
    let rows = sorted.iter().map(|(check, nodes)| {
        vec![
            mark(check.outcome).to_owned(),
            check.feature.to_string(),
            names(nodes, all),
            check.found.clone(),
            meaning(check).to_owned(),
        ]
    });
    let mut out = count(answers);
    let header = [
        "",
        "FEATURE",
        "NODES",
        "FOUND",
        "ENABLES, OR COSTS WHEN MISSING",
    ];
    table(&header, rows.collect(), &mut out);
    not_reached(answers, &mut out);
    let able = said(answers).filter(|(_, checks)| can_trace(checks));
    out.push_str(&format!(
        "\nspanlet can trace on {} of {all} nodes\n",
        able.count()
    ));
    out
}

fn names(nodes: &[&str], all: usize) -> String {
    match nodes.len() {
        count if count == all => "all".to_owned(),
        count if count > NODES_NAMED => format!("{count} of {all}"),
        _ => nodes.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::reach::Said;
    use crate::doctor::Outcome;

    fn check(outcome: Outcome) -> Check {
        Check {
            feature: "sk_data_ready".into(),
            outcome,
            found: "so".into(),
            enables: "seeing".into(),
            without: "blindness".into(),
        }
    }

    fn answer(node: &str, said: Said<Vec<Check>>) -> Answer<Vec<Check>> {
        Answer {
            node: node.into(),
            agent: format!("spanlet/on-{node}"),
            said,
        }
    }

    #[test]
    fn what_is_alike_is_one_row_and_what_is_missing_comes_first() {
        let works = || Said::Report(vec![check(Outcome::Works)]);
        let text = text(&[
            answer("a", works()),
            answer("b", works()),
            answer("c", Said::Report(vec![check(Outcome::Fatal)])),
            answer("d", Said::Error("its agent's pod is Pending".into())),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "4 nodes, 3 answered");
        assert!(
            lines[3].starts_with("FATAL  sk_data_ready  c      so"),
            "{text}"
        );
        assert!(
            lines[4].starts_with("ok     sk_data_ready  a, b   so"),
            "{text}"
        );
        assert!(
            text.contains("d            spanlet/on-d  its agent's pod is Pending"),
            "{text}"
        );
        assert!(
            text.ends_with("spanlet can trace on 2 of 3 nodes\n"),
            "{text}"
        );
    }
}
