//! An exchange while it is open: calls and heads in, the finished [`Exchange`] out.

use super::books::{Alone, Books};
use super::exchange::{
    Answerer, Answering, EndEvidence, Exchange, Outcome, Protocol, Request, Response, Serving,
    Side, Started, Step,
};
use super::scene::Scene;
use crate::capture::event::{Direction, Goroutine, Io, Origin, RouteName, Task, ThreadClock, Turn};
use crate::clock::Monotonic;
use std::time::Duration;

/// How far the estimate of a thread's CPU time may be too long before it is left out.
const ESTIMATE_EXCESS_MAX: Duration = Duration::from_micros(10);

/// The first byte of a message, and the call that moved it.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Its time is when the byte was read, or when the write of it began.
    pub origin: Origin,
    pub goroutine: Option<Goroutine>,
    pub task: Option<Task>,
    pub turn: Option<Turn>,
    pub asked: bool,
    pub route: Option<RouteName>,
    pub thread_clock: Option<ThreadClock>,
    pub position: u32,
    /// The message begins its turn.
    pub turn_start: bool,
    /// How long the byte lay unread.
    pub read_wait: Option<Duration>,
    pub process_losses: u32,
}

/// A request, as its head says it.
#[derive(Debug)]
pub struct Asked {
    pub request: Request,
    pub protocol: Protocol,
    pub malformed: bool,
}

/// See the file.
#[derive(Debug)]
pub struct OpenExchange {
    pub exchange: Box<Exchange>,
    /// It is not valid, whatever its answer is.
    pub malformed: bool,
    /// Records of its answer were lost, so that where it ends is not certain.
    pub records_lost: bool,
    /// The last call that moved bytes of it, either way.
    pub last_seen: Monotonic,
    /// The last call that moved bytes of its answer.
    pub last_answer: Option<Monotonic>,
    mark: Mark,
    alone: Option<Alone>,
    one_thread: bool,
    last_clock: Option<ThreadClock>,
    footprint: usize,
}

/// How and when an exchange ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub outcome: Outcome,
    pub evidence: EndEvidence,
    pub time: Monotonic,
}

impl End {
    pub fn complete(evidence: EndEvidence, time: Monotonic) -> Self {
        Self {
            outcome: Outcome::Complete,
            evidence,
            time,
        }
    }

    /// It ended without its answer, or without a whole one.
    pub fn cut(outcome: Outcome, time: Monotonic) -> Self {
        Self {
            outcome,
            evidence: EndEvidence::None,
            time,
        }
    }
}

impl Mark {
    /// The byte of this call that stands at `position`, after so many bytes of empty lines.
    pub fn new(io: &Io<'_>, position: u32, blank: usize) -> Self {
        let first_of_call = position.wrapping_sub(blank as u32) == io.position;
        let time = match (io.direction, io.ready) {
            (Direction::Egress, Some(ready)) if io.turn_start => ready.min(io.origin.time),
            _ => io.origin.time,
        };
        let waited = io.ready.map(|ready| io.origin.time.since(ready));
        Self {
            origin: Origin { time, ..io.origin },
            goroutine: io.goroutine,
            task: io.task,
            turn: io.turn,
            asked: io.asked,
            route: io.route,
            thread_clock: io.thread_clock,
            position,
            turn_start: io.turn_start && first_of_call,
            read_wait: waited.filter(|_| first_of_call && io.direction == Direction::Ingress),
            process_losses: io.process_losses,
        }
    }
}

impl OpenExchange {
    /// Starts an exchange and tells so.
    pub fn start(
        side: Side,
        mark: Mark,
        head: Asked,
        first_on_connection: bool,
        scene: &mut Scene<'_>,
    ) -> Self {
        let (link, books, out) = (scene.link, &mut *scene.books, &mut *scene.out);
        let id = books.next_exchange();
        let (thread, held) = (mark.origin.thread, head.request.held());
        books.counts.malformed += u64::from(head.malformed);
        books.counts.incomplete_heads += u64::from(head.request.head_incomplete);
        out.push(Step::Started(Started {
            id,
            side,
            protocol: head.protocol,
            link: link.clone(),
            origin: mark.origin,
            goroutine: mark.goroutine,
            task: mark.task,
            turn: mark.turn,
            asked: mark.asked,
            position: mark.position,
            first_on_connection,
            context: head.request.context.clone(),
            process_losses: mark.process_losses,
        }));
        let exchange = Exchange {
            id,
            side,
            protocol: head.protocol,
            process: mark.origin.process,
            thread,
            link: link.clone(),
            started: mark.origin.time,
            first_byte: None,
            ended: mark.origin.time,
            request: head.request,
            response: Response::default(),
            outcome: Outcome::StillOpen,
            end_evidence: EndEvidence::None,
            upgraded: false,
            serving: None,
            read_wait: mark.read_wait.filter(|_| side == Side::Server),
            route: None,
            accept_wait: link
                .accept_wait
                .filter(|_| first_on_connection && side == Side::Server),
        };
        Self {
            exchange: Box::new(exchange),
            malformed: head.malformed,
            records_lost: false,
            last_seen: mark.origin.time,
            last_answer: None,
            mark,
            alone: (side == Side::Server).then(|| books.threads.begin(thread)),
            one_thread: mark.goroutine.is_none(),
            last_clock: None,
            footprint: size_of::<Self>() + size_of::<Exchange>() + held,
        }
    }

    /// A call moved bytes of its request.
    pub fn saw_request(&mut self, io: &Io<'_>, books: &mut Books) {
        self.last_seen = self.last_seen.max(io.origin.time);
        if io.origin.thread != self.exchange.thread || io.goroutine.is_some() {
            self.one_thread = false;
            if self.exchange.side == Side::Server {
                books.threads.disturb(io.origin.thread);
            }
        }
    }

    /// A call moved bytes of its answer.
    pub fn saw_answer(&mut self, io: &Io<'_>, books: &mut Books) {
        self.saw_request(io, books);
        self.last_answer = Some(io.origin.time);
        self.last_clock = io.thread_clock;
    }

    /// The head of its answer was seen, its first byte at `first_byte` where that was seen.
    pub fn answered(
        &mut self,
        response: Response,
        malformed: bool,
        first_byte: Option<Monotonic>,
        books: &mut Books,
    ) {
        books.counts.malformed += u64::from(malformed);
        books.counts.incomplete_heads += u64::from(response.head_incomplete);
        self.malformed |= malformed;
        let exchange = &mut self.exchange;
        exchange.first_byte = first_byte.map(|time| time.max(exchange.started));
        exchange.response = response;
    }

    /// Whether what begins there is surely its answer.
    pub fn is_surely_answered(&self, mark: Mark, io: &Io<'_>) -> bool {
        mark.turn_start && !self.lost_before(io)
    }

    /// Tells who answers with what begins there, if that is surely its answer.
    pub fn tell_answerer(&self, mark: Mark, scene: &mut Scene<'_>) {
        let by = match (mark.task, mark.goroutine, mark.turn) {
            (Some(task), _, _) => Answerer::Task(task),
            (None, None, None) => Answerer::Thread(mark.origin.thread),
            _ => return,
        };
        if self.is_surely_answered(mark, scene.io) {
            scene.out.push(Step::Answering(Answering {
                id: self.exchange.id,
                process: mark.origin.process,
                connection: scene.io.connection,
                by,
                status: self.exchange.response.status,
                time: mark.origin.time,
            }));
        }
    }

    /// Adds to the length of the request's or the answer's body; `None`: it is no longer known.
    pub fn add(body_bytes: &mut Option<u64>, more: Option<u64>) {
        *body_bytes = body_bytes
            .zip(more)
            .map(|(sum, more)| sum.saturating_add(more));
    }

    /// Whether its request began a turn: the other side had had the last word.
    pub fn begins_turn(&self) -> bool {
        self.mark.turn_start
    }

    /// Whether records of its process were lost between its begin and this call.
    pub fn lost_before(&self, io: &Io<'_>) -> bool {
        self.mark.process_losses != io.process_losses
    }

    /// Whether records of its process are known to have been lost since it began.
    pub fn had_losses(&self, books: &Books) -> bool {
        books.lost_since(self.exchange.process, self.mark.process_losses)
    }

    /// Bytes it holds.
    pub fn footprint(&self) -> usize {
        self.footprint
    }

    /// Ends it and tells so.
    pub fn finish(mut self, end: End, books: &mut Books, out: &mut Vec<Step>) {
        books.counts.finished += 1;
        let thread = self.exchange.thread;
        let alone = self
            .alone
            .is_some_and(|alone| books.threads.end(thread, alone));
        if alone && self.one_thread && end.outcome == Outcome::Complete {
            let lasted = end.time.since(self.exchange.started);
            self.exchange.serving = self.serving().and_then(|serving| within(serving, lasted));
        }
        let exchange = &mut self.exchange;
        exchange.outcome = match end.outcome {
            Outcome::ProcessExited | Outcome::StillOpen | Outcome::EndUnseen => end.outcome,
            _ if self.malformed => Outcome::Malformed,
            Outcome::Complete if self.records_lost => Outcome::EndUnseen,
            outcome => outcome,
        };
        exchange.end_evidence = end.evidence;
        exchange.ended = end.time.max(exchange.started);
        out.push(Step::Finished(self.exchange));
    }

    fn serving(&self) -> Option<Serving> {
        let (first, last) = self.mark.thread_clock.zip(self.last_clock)?;
        let spent = |from: u64, to: u64| to.checked_sub(from).map(Duration::from_nanos);
        Some(Serving {
            cpu: spent(first.cpu_ns, last.cpu_ns)?,
            run_queue_wait: spent(first.run_queue_wait_ns, last.run_queue_wait_ns)?,
        })
    }
}

/// A thread's CPU time is partly an estimate (the scheduler brings it up to date at switches and ticks). What is a
/// little too long for the exchange is cut; what is much too long is not true, and left out.
fn within(serving: Serving, lasted: Duration) -> Option<Serving> {
    let room = lasted.checked_sub(serving.run_queue_wait)?;
    (serving.cpu <= room + ESTIMATE_EXCESS_MAX).then(|| Serving {
        cpu: serving.cpu.min(room),
        ..serving
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_cannot_have_run_for_longer_than_its_exchange() {
        let micros = Duration::from_micros;
        let spent = |cpu, run_queue_wait| {
            let serving = Serving {
                cpu: micros(cpu),
                run_queue_wait: micros(run_queue_wait),
            };
            within(serving, micros(100)).map(|serving| serving.cpu)
        };
        assert_eq!(spent(60, 40), Some(micros(60)));
        assert_eq!(spent(68, 40), Some(micros(60)), "a little too long");
        assert_eq!(spent(71, 40), None, "not true");
        assert_eq!(spent(0, 101), None, "not true");
    }
}
