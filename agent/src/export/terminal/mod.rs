//! The terminal output: spans in, text or JSON on standard output. Touches it from a thread of its own, because a
//! write blocks for as long as the reader likes.

pub mod json;
mod line;
mod printer;
mod screen;
mod text;
mod traces;
mod view;
mod waterfall;

use std::io::{ErrorKind, Write};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::counts::{OutputCounts, Reason, Tally};
use super::{Config, Error};
use crate::enrich::Span;
pub use printer::Printer;
pub use screen::{Columns, Screen};
pub use text::clean;
pub use traces::Held;

/// How often complete traces are looked for.
const TICK: Duration = Duration::from_millis(50);

/// The queue, and the thread that empties it.
pub(super) struct Terminal {
    queue: Sender<Vec<Span>>,
    ended: oneshot::Receiver<()>,
    pub tally: Arc<Tally>,
}

impl Terminal {
    pub fn start(
        config: &Config,
        screen: Screen,
        writer: impl Write + Send + 'static,
    ) -> Result<Self, Error> {
        let (queue, spans) = channel();
        let (ending, ended) = oneshot::channel();
        let tally = Arc::new(Tally::new(config.queue_spans));
        let mut sink = Sink {
            writer: Some(writer),
            tally: tally.clone(),
        };
        let printer = Printer::new(config.output, config.held, screen);
        let thread = std::thread::Builder::new().name("spanlet-output".into());
        thread
            .spawn(move || {
                run(spans, printer, &mut sink);
                let _ = ending.send(());
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            queue,
            ended,
            tally,
        })
    }

    pub fn offer(&self, spans: Vec<Span>) {
        let send = |spans| self.queue.send(spans).map_err(|refused| refused.0);
        self.tally.queue(spans, send);
    }

    /// Closes the queue and waits for the thread to empty it. A thread that is stuck in a write is left behind.
    pub async fn finish(self, deadline: Duration) -> OutputCounts {
        drop(self.queue);
        let _ = tokio::time::timeout(deadline, self.ended).await;
        let left = self.tally.read().waiting();
        self.tally.lose(Reason::Shutdown, left as usize);
        self.tally.read()
    }
}

fn run<W: Write>(queue: Receiver<Vec<Span>>, mut printer: Printer, sink: &mut Sink<W>) {
    let mut ticked = Instant::now();
    loop {
        match queue.recv_timeout(TICK) {
            Ok(spans) => {
                sink.tally.took(spans.len());
                let now = Instant::now();
                spans.into_iter().for_each(|span| printer.push(span, now));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            printer.tick(ticked);
        }
        sink.take(&mut printer);
    }
    printer.finish();
    sink.take(&mut printer);
}

/// Where text goes until it is closed; afterwards spans are only counted.
struct Sink<W> {
    writer: Option<W>,
    tally: Arc<Tally>,
}

impl<W: Write> Sink<W> {
    fn take(&mut self, printer: &mut Printer) {
        let (text, spans) = printer.take();
        let Some(writer) = &mut self.writer else {
            return self.tally.lose(Reason::OutputClosed, spans);
        };
        let written = writer
            .write_all(text.as_bytes())
            .and_then(|()| writer.flush());
        match written {
            Ok(()) => self.tally.deliver(spans),
            Err(error) => {
                let reason = match error.kind() {
                    ErrorKind::BrokenPipe => "its reader closed it".to_owned(),
                    _ => error.to_string(),
                };
                tracing::warn!(
                    "standard output takes no more spans: {reason}; this output stops, the agent goes on"
                );
                self.tally.lose(Reason::OutputClosed, spans);
                self.writer = None;
            }
        }
    }
}
