//! Whether the scorer can be believed. In: the spans and trees of a run. Out: an error when it finds truth in noise.

use anyhow::{ensure, Result};

use super::plan::Tree;
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
    let edges = score.network.sent + score.process.sent;
    ensure!(edges >= EDGES_MIN, "only {edges} edges: no control");
    ensure!(
        score.recall() <= CHANCE_MAX && score.traces_whole == 0,
        "the scorer is broken: with shuffled ids {:.1} % of the edges are right",
        100.0 * score.recall()
    );
    Ok(score)
}

/// A run with opaque paths must score as one with plain paths.
pub fn secret(plain: &Score, secret: &Score) -> Result<()> {
    for (what, plain, secret) in [
        ("precision", plain.precision(), secret.precision()),
        ("recall", plain.recall(), secret.recall()),
    ] {
        ensure!(
            (plain - secret).abs() <= NOISE_MAX,
            "{what} depends on what the paths say: {plain:.4} plain, {secret:.4} encrypted"
        );
    }
    Ok(())
}
