//! The OTLP output: spans in, batches at the collector or counted out. Touches the network through the client.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{channel, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at, Instant};
use tonic::codegen::Bytes;

use super::counts::{OutputCounts, Reason, Tally};
use super::health::Health;
use super::otlp::{encode, Accepted, Client, Signal, Target};
use super::retry::{Failure, Policy, Retry, Tries};
use super::{Config, Error};
use crate::enrich::Span;

/// The queue, and the task that empties it.
pub(super) struct Delivery {
    queue: Sender<Arc<Span>>,
    task: JoinHandle<()>,
    pub tally: Arc<Tally>,
}

impl Delivery {
    pub fn start(config: &Config, target: &Target) -> Result<Self, Error> {
        let (queue, spans) = channel(config.queue_spans);
        let tally = Arc::<Tally>::default();
        let worker = Worker {
            spans,
            client: Client::new(target, Signal::Traces)?,
            health: Health::new(target.endpoint.clone(), config.queue_spans),
            tally: tally.clone(),
            batch_spans: config.batch_spans,
            batch_delay: config.batch_delay,
            retry: config.retry,
        };
        Ok(Self {
            queue,
            task: tokio::spawn(worker.run()),
            tally,
        })
    }

    pub fn offer(&self, span: Arc<Span>) {
        self.tally.accept();
        if self.queue.try_send(span).is_err() {
            self.tally.lose(Reason::QueueFull, 1);
        }
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
    spans: Receiver<Arc<Span>>,
    client: Client,
    health: Health,
    tally: Arc<Tally>,
    batch_spans: usize,
    batch_delay: Duration,
    retry: Policy,
}

impl Worker {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch_spans);
        while self.fill(&mut batch).await {
            let body = self.client.pack(encode::traces(&batch));
            let spans = batch.len();
            batch.clear();
            self.deliver(body, spans).await;
        }
    }

    /// Waits for a span, then for the batch to be full, old or the last. False: the queue is closed and empty.
    async fn fill(&mut self, batch: &mut Vec<Arc<Span>>) -> bool {
        if self.spans.recv_many(batch, self.batch_spans).await == 0 {
            return false;
        }
        let due = Instant::now() + self.batch_delay;
        while batch.len() < self.batch_spans {
            let room = self.batch_spans - batch.len();
            match timeout_at(due, self.spans.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
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
