//! Sends the roots of random trees, so many at once. In: a function, a row, a budget. Out: the trees that were answered.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Result};
use rustls::ClientConfig;

use super::plan::{Names, Row, Tree, FUNCTIONS};
use super::random::Random;
use crate::client::{Address, Connection};
use crate::message::Request;

/// How long a row is driven: until both are reached.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub time: Duration,
    /// Roots of each request in flight.
    pub roots: usize,
}

/// Where the trees go.
#[derive(Debug)]
pub struct Target<'a> {
    /// The root's function.
    pub address: &'a Address,
    /// Over TLS, if it says whom to trust.
    pub trust: Option<Arc<ClientConfig>>,
    pub ports: [u16; FUNCTIONS],
    pub names: &'a Names,
}

/// Keeps `row.in_flight` roots going, each over its own connection.
pub fn drive(row: Row, target: &Target<'_>, budget: Budget, seed: u64) -> Result<Vec<Tree>> {
    let began = Instant::now();
    let shares: Vec<_> = thread::scope(|scope| {
        let share = |index: usize| {
            let random = Random::new(seed ^ (index as u64) << 32);
            scope.spawn(move || share(row, target, budget, began, random))
        };
        let workers: Vec<_> = (0..row.in_flight).map(share).collect();
        workers.into_iter().map(|worker| worker.join()).collect()
    });
    let mut trees = Vec::new();
    for share in shares {
        trees.extend(share.map_err(|_| anyhow!("a driver's thread panicked"))??);
    }
    Ok(trees)
}

fn share(
    row: Row,
    target: &Target<'_>,
    budget: Budget,
    began: Instant,
    mut random: Random,
) -> Result<Vec<Tree>> {
    let mut connection = Connection::open_over(target.address, target.trust.as_ref())?;
    let mut trees = Vec::new();
    while began.elapsed() < budget.time || trees.len() < budget.roots {
        let tree = row.tree(target.ports, target.names, &mut random);
        let request = Request::get(tree.target.clone()).header("X-Plan", tree.plan.clone());
        let answer = connection.exchange(&request.header("X-Node", "0".to_owned()))?;
        ensure!(answer.status == 200, "{row:?}: {}", answer.text());
        trees.push(tree);
    }
    Ok(trees)
}
