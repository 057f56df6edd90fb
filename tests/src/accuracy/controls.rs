//! Whether the scorer can be believed. In: the spans and trees of a run. Out: an error when it finds truth in noise.

use std::collections::BTreeMap;

use anyhow::{ensure, Result};

use super::plan::{Row, Tree};
use super::random::Random;
use super::score::{Index, Score};
use super::spans::Seen;

/// By chance, an edge among n spans is right once in n times.
const CHANCE_MAX: f64 = 0.02;
/// Two runs of the same thing differ by noise.
const NOISE_MAX: f64 = 0.05;
/// Fewer edges prove nothing either way.
const EDGES_MIN: u64 = 200;

/// With the ids of the spans shuffled, hardly a parent may be right.
pub fn shuffled(seen: &[Seen], trees: &[Tree], seed: u64) -> Result<Score> {
    let mut shuffled = seen.to_vec();
    let mut hops: Vec<_> = seen.iter().map(|span| span.hop).collect();
    Random::new(seed).shuffle(&mut hops);
    for (span, hop) in shuffled.iter_mut().zip(hops) {
        span.hop = hop;
    }
    let score = Index::new(&shuffled).score(trees);
    let edges = edges(&score);
    ensure!(edges >= EDGES_MIN, "only {edges} edges: no control");
    ensure!(
        score.recall() <= CHANCE_MAX && score.traces_whole == 0,
        "the scorer is broken: with shuffled ids {:.1} % of the edges are right",
        100.0 * score.recall()
    );
    Ok(score)
}

/// A run with opaque paths must score as one with plain paths, row by row: each row weighs what it has in both, because a
/// busy machine gets through more of one row here and of another there.
pub fn secret(plain: &BTreeMap<Row, Score>, secret: &BTreeMap<Row, Score>) -> Result<()> {
    let common = || {
        let rows = secret.iter();
        rows.filter_map(|(row, secret)| Some((plain.get(row)?, secret)))
    };
    for (what, of) in [
        ("precision", Score::precision as fn(&Score) -> f64),
        ("recall", Score::recall),
    ] {
        let (mut weights, mut difference) = (0.0, 0.0);
        for (plain, secret) in common() {
            let weight = edges(plain).min(edges(secret)) as f64;
            weights += weight;
            difference += weight * (of(plain) - of(secret));
        }
        ensure!(weights > 0.0, "nothing to compare opaque paths with");
        let difference = difference / weights;
        ensure!(
            difference.abs() <= NOISE_MAX,
            "{what} depends on what the paths say: with opaque ones it is less by {difference:.4}"
        );
    }
    Ok(())
}

fn edges(score: &Score) -> u64 {
    score.network.sent + score.process.sent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::{Service, Shape};

    fn scores(rows: [(u64, u64); 2]) -> BTreeMap<Row, Score> {
        let keys = Row::of(&[1, 8], Shape::Chain, Service::Constant);
        let score = |(sent, right)| {
            let mut score = Score::default();
            (score.process.sent, score.process.right) = (sent, right);
            score
        };
        keys.into_iter().zip(rows.map(score)).collect()
    }

    #[test]
    fn what_counts_is_what_each_row_says_and_not_how_much_of_it_there_was() {
        let plain = scores([(100, 100), (1000, 0)]);
        assert!(secret(&plain, &scores([(900, 900), (100, 0)])).is_ok());
        assert!(secret(&plain, &scores([(900, 0), (100, 0)])).is_err());
        assert!(secret(&plain, &BTreeMap::new()).is_err());
    }
}
