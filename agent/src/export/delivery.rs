//! The OTLP output: spans in, batches at the collector or counted out. Touches the network through the client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at, Instant};
use tonic::codegen::Bytes;

use super::counts::{OutputCounts, Reason, Tally};
use super::health::{Health, Shared};
use super::otlp::{encode, Accepted, Client, Signal, Target};
use super::retry::{Failure, Policy, Retry, Tries};
use super::{Config, Error};
use crate::enrich::Span;

/// The queue, and the task that empties it.
pub(super) struct Delivery {
    queue: UnboundedSender<Vec<Span>>,
    task: JoinHandle<()>,
    pub tally: Arc<Tally>,
    pub condition: Shared,
}

impl Delivery {
    pub fn start(config: &Config, target: &Target) -> Result<Self, Error> {
        let (queue, spans) = unbounded_channel();
        let tally = Arc::new(Tally::new(config.queue_spans));
        let health = Health::new(target.endpoint.clone(), config.queue_spans);
        let condition = health.shared();
        let worker = Worker {
            queue: spans,
            held: VecDeque::new(),
            message: Vec::new(),
            client: Client::new(target, Signal::Traces)?,
            health,
            tally: tally.clone(),
            batch_spans: config.batch_spans,
            batch_delay: config.batch_delay,
            retry: config.retry,
        };
        Ok(Self {
            queue,
            task: tokio::spawn(worker.run()),
            tally,
            condition,
        })
    }

    pub fn offer(&self, spans: Vec<Span>) {
        let send = |spans| self.queue.send(spans).map_err(|refused| refused.0);
        self.tally.queue(spans, send);
    }

    /// Closes the queue and waits for the worker to empty it.
    pub async fn finish(mut self, deadline: Duration) -> OutputCounts {
        drop(self.queue);
        if timeout(deadline, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
        }
        let left = self.tally.read().waiting();
        self.tally.lose(Reason::Shutdown, left as usize);
        self.tally.read()
    }
}

struct Worker {
    queue: UnboundedReceiver<Vec<Span>>,
    /// Taken from the queue's channel, and not yet part of a batch.
    held: VecDeque<Span>,
    /// The message in the making, which keeps its memory.
    message: Vec<u8>,
    client: Client,
    health: Health,
    tally: Arc<Tally>,
    batch_spans: usize,
    batch_delay: Duration,
    retry: Policy,
}

impl Worker {
    async fn run(mut self) {
        while self.fill().await {
            let spans = self.held.len().min(self.batch_spans);
            encode::traces(self.held.range(..spans), &mut self.message);
            self.held.drain(..spans);
            self.tally.took(spans);
            let body = self.client.pack(&mut self.message);
            self.deliver(body, spans).await;
        }
    }

    /// Waits for a span, then for the batch to be full, old or the last. False: the queue is closed and empty.
    async fn fill(&mut self) -> bool {
        if self.held.is_empty() {
            match self.queue.recv().await {
                Some(spans) => self.held = spans.into(),
                None => return false,
            }
        }
        let due = Instant::now() + self.batch_delay;
        while self.held.len() < self.batch_spans {
            match timeout_at(due, self.queue.recv()).await {
                Ok(Some(spans)) => self.held.extend(spans),
                Ok(None) | Err(_) => break,
            }
        }
        true
    }

    async fn deliver(&mut self, body: Bytes, spans: usize) {
        let mut tries = Tries::begin(self.retry);
        let outcome = loop {
            let failure = match self.client.send(body.clone()).await {
                Ok(accepted) => break Ok(accepted),
                Err(failure) => failure,
            };
            self.health.failed(&failure, self.tally.read());
            match tries.failed(failure.retry) {
                Some(wait) => sleep(wait).await,
                None => break Err(failure),
            }
        };
        self.settle(spans, outcome);
    }

    fn settle(&mut self, spans: usize, outcome: Result<Accepted, Failure>) {
        match outcome {
            Ok(accepted) => {
                let rejected = usize::try_from(accepted.rejected).unwrap_or(0).min(spans);
                self.tally.deliver(spans - rejected);
                self.tally.lose(Reason::PartialSuccess, rejected);
                self.health.delivered(self.tally.read());
                if rejected > 0 || !accepted.message.is_empty() {
                    self.health.remarked(rejected, &accepted.message);
                }
            }
            Err(failure) if failure.retry == Retry::Never => {
                self.tally.lose(Reason::Rejected, spans)
            }
            Err(_) => self.tally.lose(Reason::RetriesExhausted, spans),
        }
    }
}
