//! One run: three functions of a runtime, the agent, a collector; all rows one after another. In: a setting, rows.
//! Out: a score for each row.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::controls;
use super::drive::{drive, Budget, Target};
use super::fronts::Front;
use super::habits::Habit;
use super::plan::{Names, Row, Tree, FUNCTIONS};
use super::score::{Index, Score};
use super::spans;
use super::subjects;
use crate::agent::{Agent, Backend, Options as AgentOptions, Protocol};
use crate::certificate::Certificate;
use crate::collector::Collector;
use crate::function::{Function, Options as FunctionOptions};
use crate::language::Language;

const WARM_UP_ROOTS: usize = 20;
/// Connections that a pool keeps: for the most requests in flight, with the widest fan.
const POOL: usize = 1024;

/// What a run is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// One of [`subjects::ALL`].
    pub runtime: &'static str,
    pub backend: Backend,
    /// Records lost on purpose, of 1000.
    pub lost_per_mille: u32,
    /// One opaque token for each request instead of ids.
    pub secret: bool,
    /// Go: the client keeps as many connections as there are requests, not two.
    pub pool: bool,
    /// Everything goes over TLS: to the functions, and between them.
    pub tls: bool,
    /// The first function has this habit; the others are in C.
    pub habit: Option<Habit>,
}

/// What a run gave.
#[derive(Debug)]
pub struct Run {
    pub setting: Setting,
    pub scores: BTreeMap<Row, Score>,
    /// What functions called on their own.
    pub strays: Score,
    /// Spans of the functions that are of no request that was sent (their path was not seen, or is none of ours).
    pub spans_unnamed: usize,
    /// The share of edges that is right when ids are shuffled; not looked at for habits, whose spans are few.
    pub shuffled: Option<f64>,
}

impl Setting {
    /// The usual back end, and nothing done on purpose.
    pub fn plain(runtime: &'static str) -> Self {
        Self {
            runtime,
            backend: Backend::SocketTracepoints,
            lost_per_mille: 0,
            secret: false,
            pool: false,
            tls: false,
            habit: None,
        }
    }

    /// Runs it.
    pub fn run(self, rows: &[Row], budget: Budget, seed: u64) -> Result<Run> {
        let names = match self.secret {
            true => Names::secret(),
            false => Names::Plain,
        };
        let certificate = self.tls.then(Certificate::new).transpose()?;
        let functions = self.functions(certificate.as_ref())?;
        let ports = functions.iter().map(|function| function.address.port());
        let ports: Vec<_> = ports
            .collect::<Option<_>>()
            .context("functions without ports")?;
        let last = ports.len() - 1;
        let target = Target {
            address: &functions[0].address,
            trust: certificate.as_ref().map(Certificate::trusted).transpose()?,
            ports: std::array::from_fn(|index| ports[index.min(last)]),
            names: &names,
        };
        if self.habit.is_none() {
            warm_up(rows, &target, seed)?;
        }
        let collector = Collector::start()?;
        let pids: Vec<_> = functions.iter().map(Function::pid).collect();
        let agent = Agent::start(&self.agent(&pids, &collector))?;
        let mut sent = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            let trees = drive(*row, &target, budget, seed ^ (index as u64) << 48)
                .with_context(|| format!("{self:?}"))?;
            sent.insert(*row, trees);
        }
        agent.finish()?;
        self.score(&sent, &collector.finish_text()?, &names, seed)
    }

    fn functions(self, certificate: Option<&Certificate>) -> Result<Vec<Function>> {
        let pool = self.pool.then(|| ("POOL".to_owned(), POOL.to_string()));
        let options = FunctionOptions {
            environment: pool
                .into_iter()
                .chain(certificate.map(Certificate::variable))
                .collect(),
            ..FunctionOptions::default()
        };
        if let Some(front) = Front::named(self.runtime) {
            return front.start();
        }
        let Some(habit) = self.habit else {
            return (0..FUNCTIONS)
                .map(|_| subjects::start(self.runtime, &options))
                .collect();
        };
        let other = || Function::start(Language::C, &FunctionOptions::default());
        let others = [other()?, other()?];
        let polled = others[0].address.port().context("a port")?;
        let first = habit.start(self.runtime, polled)?;
        Ok([first].into_iter().chain(others).collect())
    }

    fn agent(self, pids: &[u32], collector: &Collector) -> AgentOptions {
        let options = AgentOptions {
            pids: pids.to_vec(),
            backend: self.backend,
            otlp: Some((Protocol::Grpc, collector.grpc_endpoint())),
            output: "none",
            // What is measured is who called whom, not how fast a collector takes it.
            environment: vec![("OTEL_BSP_MAX_QUEUE_SIZE".to_owned(), "65536".to_owned())],
            arguments: Vec::new(),
        };
        options.with(&["--lose-per-mille", &self.lost_per_mille.to_string()])
    }

    fn score(
        self,
        sent: &BTreeMap<Row, Vec<Tree>>,
        text: &str,
        names: &Names,
        seed: u64,
    ) -> Result<Run> {
        let seen = spans::read(text, names)?;
        let index = Index::new(&seen);
        let trees: Vec<_> = sent.values().flatten().cloned().collect();
        let shuffled = match self.habit {
            None => Some(controls::shuffled(&seen, &trees, seed)?.recall()),
            Some(_) => None,
        };
        Ok(Run {
            setting: self,
            scores: sent
                .iter()
                .map(|(row, trees)| (*row, index.score(trees)))
                .collect(),
            strays: index.strays(),
            spans_unnamed: seen.iter().filter(|span| span.hop.is_none()).count(),
            shuffled,
        })
    }
}

/// The agent comes to functions that have run for a while: what they load and start at their first requests is there.
fn warm_up(rows: &[Row], target: &Target<'_>, seed: u64) -> Result<()> {
    let budget = Budget {
        time: Duration::ZERO,
        roots: WARM_UP_ROOTS,
    };
    for row in rows.iter().filter(|row| row.in_flight == 1) {
        drive(*row, target, budget, !seed).with_context(|| "warm up")?;
    }
    Ok(())
}

impl Run {
    /// The scores of some rows together.
    pub fn total(&self, of: impl Fn(&Row) -> bool) -> Score {
        let mut total = Score::default();
        for (row, score) in &self.scores {
            if of(row) {
                total += score.clone();
            }
        }
        total
    }
}
