//! Room 5: [`crate::enrich::Span`] in; acknowledged or counted out.
//!
//! Each output has its own bounded queue and its own worker, so that one that stands still (a dead collector, a
//! terminal behind a pager) holds up neither the pipeline nor the other. For each: in = out + dropped.

pub mod counts;
mod delivery;
pub mod health;
pub mod otlp;
pub mod retry;
pub mod terminal;

use std::io::{stdout, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::enrich::Span;
use counts::Gone;
pub use counts::{Counts, OutputCounts, Reason};
use delivery::Delivery;
use health::Condition;
use terminal::{Screen, Terminal};

/// What is written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Each trace as a waterfall when it is complete; a trace of one span as a line.
    #[default]
    Text,
    /// Each span as a line, as soon as it is finished.
    Lines,
    /// Each span as a JSON object on a line; its fields are listed in [`terminal::json`].
    Json,
    /// Nothing.
    None,
}

/// Where spans go, and how much of them is held meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub output: Output,
    pub otlp: Option<otlp::Target>,
    /// Spans that wait in each output's queue at most; more are dropped and counted.
    pub queue_spans: usize,
    /// Spans in one OTLP request at most.
    pub batch_spans: usize,
    /// How long a span waits at most for its batch to fill.
    pub batch_delay: Duration,
    pub retry: retry::Policy,
    pub held: terminal::Held,
}

/// Why the exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot set up the OTLP client for {endpoint}: {reason}; check its certificates and headers")]
    Client { endpoint: String, reason: String },
    #[error("cannot start the thread that writes to standard output")]
    Thread(#[source] std::io::Error),
}

/// Delivers spans to every output that is on.
pub struct Exporter {
    config: Config,
    otlp: Option<Delivery>,
    terminal: Option<Terminal>,
    past: Past,
}

/// What became of the spans of outputs that were replaced.
#[derive(Default)]
struct Past {
    otlp: Gone,
    terminal: Gone,
}

impl Exporter {
    /// Starts the outputs, writing to standard output. Must be called inside a tokio runtime.
    pub fn start(config: Config) -> Result<Self, Error> {
        Self::start_with(config, Screen::of_stdout(), stdout())
    }

    /// As [`Self::start`], with `writer` in the place of standard output.
    pub fn start_with(
        config: Config,
        screen: Screen,
        writer: impl Write + Send + 'static,
    ) -> Result<Self, Error> {
        let terminal = match config.output {
            Output::None => None,
            _ => Some(Terminal::start(&config, screen, writer)?),
        };
        let otlp = match &config.otlp {
            Some(target) => Some(Delivery::start(&config, target)?),
            None => None,
        };
        Ok(Self {
            config,
            otlp,
            terminal,
            past: Past::default(),
        })
    }

    /// Goes on with the outputs that `config` says, where they are others. What the old ones hold is still delivered, for
    /// at most `deadline`. Must be called inside a tokio runtime.
    ///
    /// Errors: as at the start; then nothing has changed.
    pub fn reconfigure(&mut self, config: Config, deadline: Duration) -> Result<(), Error> {
        if config == self.config {
            return Ok(());
        }
        let mut new = Self::start(Config {
            output: match self.config.is_same_terminal(&config) {
                true => Output::None,
                false => config.output,
            },
            ..config.clone()
        })?;
        if self.config.is_same_terminal(&config) {
            new.terminal = self.terminal.take();
        }
        new.config = config;
        new.past = std::mem::take(&mut self.past);
        let old = std::mem::replace(self, new);
        if let Some(otlp) = old.otlp {
            self.past.otlp.add(otlp.tally.clone());
            tokio::spawn(otlp.finish(deadline));
        }
        if let Some(terminal) = old.terminal {
            self.past.terminal.add(terminal.tally.clone());
            tokio::spawn(terminal.finish(deadline));
        }
        Ok(())
    }

    /// Hands spans to each output. Never blocks: what does not fit is dropped and counted.
    pub fn offer(&self, spans: Vec<Span>) {
        match (&self.terminal, &self.otlp) {
            (Some(terminal), Some(otlp)) => {
                terminal.offer(spans.clone());
                otlp.offer(spans);
            }
            (Some(terminal), None) => terminal.offer(spans),
            (None, Some(otlp)) => otlp.offer(spans),
            (None, None) => {}
        }
    }

    /// What became of the spans so far.
    pub fn counts(&self) -> Counts {
        let otlp = self.otlp.as_ref().map(|otlp| otlp.tally.read());
        let terminal = self.terminal.as_ref().map(|terminal| terminal.tally.read());
        Counts {
            otlp: self.past.otlp.with(otlp),
            terminal: self.past.terminal.with(terminal),
        }
    }

    /// How it goes at the collector, where there is one.
    pub fn collector(&self) -> Option<Condition> {
        let otlp = self.otlp.as_ref()?;
        Some(otlp.condition.read())
    }

    /// Delivers what is queued for at most `deadline`; what is left then is counted as dropped by the shutdown.
    pub async fn shutdown(self, deadline: Duration) -> Counts {
        let Self {
            otlp,
            terminal,
            past,
            ..
        } = self;
        let (otlp, terminal) = tokio::join!(async { Some(otlp?.finish(deadline).await) }, async {
            Some(terminal?.finish(deadline).await)
        },);
        Counts {
            otlp: past.otlp.with(otlp),
            terminal: past.terminal.with(terminal),
        }
    }
}

impl Config {
    /// Whether standard output goes on as it is.
    fn is_same_terminal(&self, other: &Self) -> bool {
        let terminal = |config: &Self| (config.output, config.held, config.queue_spans);
        terminal(self) == terminal(other)
    }
}
