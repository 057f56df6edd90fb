//! Readable steps: builds what the decoder would tell, and finds the spans that came of it.
//!
//! Exchanges are numbered by the test; a span is found again by its user agent, which is that number.

use std::sync::Arc;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use spanlet::attach::{Language, ProcessFacts};
use spanlet::capture::event::{
    ConnectionId, Endpoint, Goroutine, HostPid, HostTid, Origin, Task, TaskBirth, TlsVersion, Turn,
    Unborn,
};
use spanlet::clock::{Monotonic, WallOffset};
use spanlet::decode::exchange::{
    Answerer, Answering, EndEvidence, Exchange, ExchangeId, Link, Moved, Moving, Outcome, Protocol,
    Request, Response, Side, Started, Tls, Turned, Turning,
};
use spanlet::decode::Step;
use spanlet::enrich::{Config, Counts, Enricher, Evidence, Span};

pub const OFFSET: WallOffset = WallOffset(1_000_000_000_000);

/// Milliseconds since the start of the test.
pub fn ms(milliseconds: u64) -> Monotonic {
    Monotonic(1_000_000_000).after(Duration::from_millis(milliseconds))
}

/// An exchange's start, to be changed before it is told.
#[derive(Clone)]
pub struct Start(pub Started);

/// A server exchange of process 1, thread 1, on a connection of its own.
pub fn server(id: u64, at: u64) -> Start {
    let mut start = start(id, Side::Server, at).on_connection(10_000 + id, id as u32);
    start.0.first_on_connection = true;
    start
}

/// A client exchange of process 1, thread 1, on a connection of its own.
pub fn client(id: u64, at: u64) -> Start {
    start(id, Side::Client, at).on_connection(10_000 + id, id as u32)
}

fn start(id: u64, side: Side, at: u64) -> Start {
    Start(Started {
        id: ExchangeId(id),
        side,
        protocol: Protocol::Http11,
        link: Arc::new(Link {
            network_namespace: 1,
            ..Link::unknown(ConnectionId::default())
        }),
        origin: Origin {
            time: ms(at),
            process: HostPid(1),
            thread: HostTid(1),
        },
        goroutine: None,
        task: None,
        turn: None,
        asked: false,
        position: 0,
        first_on_connection: false,
        context: Vec::new(),
        process_losses: 0,
    })
}

pub fn tcp(address: &str, port: u16) -> Endpoint {
    let address: IpAddr = address.parse().expect("address");
    Endpoint::Tcp { address, port }
}

impl Start {
    pub fn process(mut self, process: u32) -> Self {
        self.0.origin.process = HostPid(process);
        self
    }

    pub fn thread(mut self, thread: u32) -> Self {
        self.0.origin.thread = HostTid(thread);
        self
    }

    pub fn goroutine(mut self, id: u64, parent: u64) -> Self {
        self.0.goroutine = Some(Goroutine { id, parent });
        self
    }

    /// Written by that asyncio task.
    pub fn task(mut self, id: u64) -> Self {
        self.0.task = Some(Task { id, born: None });
        self
    }

    /// Written by that asyncio task, which was born then.
    pub fn task_of(mut self, id: u64, born: u64) -> Self {
        let born = Some(ms(born));
        self.0.task = Some(Task { id, born });
        self
    }

    /// Written in the turn of an event loop that began then.
    pub fn in_turn(mut self, turn: u64) -> Self {
        self.0.turn = Some(Turn {
            running: Some(ms(turn)),
            dialed: None,
        });
        self
    }

    /// The same, first on a connection that was made in another turn.
    pub fn made_in_turn(mut self, made: u64, turn: u64) -> Self {
        self.0.first_on_connection = true;
        self.0.turn = Some(Turn {
            running: Some(ms(turn)),
            dialed: Some(ms(made)),
        });
        self
    }

    /// The TCP connection of that number: from 10.0.0.1, port number, to 10.0.0.2:80.
    pub fn on_connection(mut self, number: u64, position: u32) -> Self {
        let (near, far) = (tcp("10.0.0.1", number as u16), tcp("10.0.0.2", 80));
        let is_client = self.0.side == Side::Client;
        let (local, remote) = if is_client { (near, far) } else { (far, near) };
        Arc::make_mut(&mut self.0.link).local = local;
        Arc::make_mut(&mut self.0.link).remote = remote;
        Arc::make_mut(&mut self.0.link).id.socket = number * 2 + u64::from(is_client);
        self.0.position = position;
        self
    }

    /// The same from 127.0.0.1, in a network namespace.
    pub fn on_loopback(mut self, number: u64, namespace: u32) -> Self {
        self = self.on_connection(number, 0);
        let link = Arc::make_mut(&mut self.0.link);
        let near = match self.0.side {
            Side::Client => &mut link.local,
            Side::Server => &mut link.remote,
        };
        *near = tcp("127.0.0.1", number as u16);
        link.network_namespace = namespace;
        self
    }

    /// The server's port.
    pub fn at_port(mut self, port: u16) -> Self {
        let link = Arc::make_mut(&mut self.0.link);
        let far = match self.0.side {
            Side::Client => &mut link.remote,
            Side::Server => &mut link.local,
        };
        *far = tcp("10.0.0.2", port);
        self
    }

    /// Not the first exchange on its connection.
    pub fn reused(mut self) -> Self {
        self.0.first_on_connection = false;
        self
    }

    /// Of FastCGI.
    pub fn fastcgi(mut self) -> Self {
        self.0.protocol = Protocol::FastCgi;
        self
    }

    /// A Unix socket whose other end is that socket.
    pub fn on_unix(mut self, socket: u64, peer: u64) -> Self {
        Arc::make_mut(&mut self.0.link).local = Endpoint::Unix;
        Arc::make_mut(&mut self.0.link).remote = Endpoint::Unix;
        Arc::make_mut(&mut self.0.link).id.socket = socket;
        Arc::make_mut(&mut self.0.link).peer_socket = Some(peer);
        self
    }

    /// With TLS, whose start was seen or not; without.
    pub fn over_tls(mut self, from_start: Option<bool>) -> Self {
        Arc::make_mut(&mut self.0.link).tls = from_start.map(|from_start| Tls {
            from_start,
            version: TlsVersion::V1_2,
        });
        self
    }

    pub fn to(mut self, address: &str) -> Self {
        Arc::make_mut(&mut self.0.link).remote = tcp(address, 80);
        self
    }

    /// The first exchange on a connection dialled by that goroutine and established then.
    pub fn dialled(mut self, id: u64, parent: u64, established: u64) -> Self {
        Arc::make_mut(&mut self.0.link).dialer = Some(Goroutine { id, parent });
        Arc::make_mut(&mut self.0.link).established = Some(ms(established));
        self.0.first_on_connection = true;
        self
    }

    /// The first exchange on a connection that began to connect then.
    pub fn connecting(mut self, since: u64) -> Self {
        Arc::make_mut(&mut self.0.link).id.generation = ms(since).0;
        self.0.first_on_connection = true;
        self
    }

    pub fn context(mut self, name: &str, value: &str) -> Self {
        self.0.context.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn losses(mut self, losses: u32) -> Self {
        self.0.process_losses = losses;
        self
    }

    /// The exchange that this becomes: `GET /` answered by 200.
    pub fn exchange(&self, ended: u64) -> Exchange {
        let started = &self.0;
        Exchange {
            id: started.id,
            side: started.side,
            protocol: started.protocol,
            process: started.origin.process,
            thread: started.origin.thread,
            link: started.link.clone(),
            started: started.origin.time,
            first_byte: None,
            ended: ms(ended),
            request: Request {
                method: Some("GET".into()),
                target: Some("/".into()),
                user_agent: Some(started.id.0.to_string().into()),
                context: started.context.clone(),
                ..Request::default()
            },
            response: Response {
                status: Some(200),
                ..Response::default()
            },
            outcome: Outcome::Complete,
            end_evidence: EndEvidence::Counted,
            upgraded: false,
            serving: None,
            read_wait: None,
            route: None,
            accept_wait: None,
        }
    }
}

/// An enricher, what it was told, and what it told.
pub struct World {
    pub enricher: Enricher,
    open: HashMap<u64, Start>,
    pub spans: Vec<Span>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        Self {
            enricher: Enricher::new(config, 7),
            open: HashMap::new(),
            spans: Vec::new(),
        }
    }

    pub fn language(mut self, process: u32, language: Language) -> Self {
        self.enricher.process(ProcessFacts {
            pid: HostPid(process),
            executable_path: format!("/bin/program{process}"),
            language,
            ..ProcessFacts::default()
        });
        self
    }

    /// The process runs nginx.
    pub fn nginx(mut self, process: u32) -> Self {
        self.enricher.process(ProcessFacts {
            pid: HostPid(process),
            executable_path: "/usr/sbin/nginx".to_owned(),
            ..ProcessFacts::default()
        });
        self
    }

    /// What the event loop of process 1 did.
    pub fn moved(&mut self, what: Moved, at: u64) {
        self.enricher.apply(Step::Moving(Moving {
            process: HostPid(1),
            what,
            time: ms(at),
        }));
    }

    pub fn start(&mut self, start: Start) {
        self.open.insert(start.0.id.0, start.clone());
        self.enricher.apply(Step::Started(start.0));
    }

    pub fn finish(&mut self, id: u64, at: u64) {
        let exchange = self.open.remove(&id).expect("it started").exchange(at);
        self.enricher.apply(Step::Finished(Box::new(exchange)));
    }

    /// A task begins to answer a request.
    pub fn answer(&mut self, id: u64, task: u64, at: u64) {
        let born = None;
        self.answer_by(id, Answerer::Task(Task { id: task, born }), at);
    }

    /// The same by one of which it is known when it was born.
    pub fn answer_born(&mut self, id: u64, (task, born): (u64, u64), at: u64) {
        let born = Some(ms(born));
        self.answer_by(id, Answerer::Task(Task { id: task, born }), at);
    }

    /// A thread begins to answer a request.
    pub fn answer_on_thread(&mut self, id: u64, thread: u32, at: u64) {
        self.answer_by(id, Answerer::Thread(HostTid(thread)), at);
    }

    fn answer_by(&mut self, id: u64, by: Answerer, at: u64) {
        let request = &self.open.get(&id).expect("it is open").0;
        self.enricher.apply(Step::Answering(Answering {
            id: request.id,
            process: request.origin.process,
            connection: request.link.id,
            by,
            status: Some(200),
            time: ms(at),
        }));
    }

    /// A request, or the answer to a call, is read in that turn.
    pub fn read_in_turn(&mut self, id: u64, turn: u64) {
        let what = match self.open.get(&id).expect("it is open").0.side {
            Side::Server => Turned::ReadRequest,
            Side::Client => Turned::ReadAnswer,
        };
        self.turned(id, turn, what);
    }

    /// A request begins to be answered in that turn.
    pub fn answer_in_turn(&mut self, id: u64, turn: u64) {
        self.turned(id, turn, Turned::Answered);
    }

    fn turned(&mut self, id: u64, turn: u64, what: Turned) {
        let exchange = &self.open.get(&id).expect("it is open").0;
        self.enricher.apply(Step::Turning(Turning {
            id: exchange.id,
            process: exchange.origin.process,
            turn: ms(turn),
            what,
            time: ms(turn),
        }));
    }

    /// A task of process 1 was started by another, that by the next, each at that time.
    pub fn task_born(&mut self, task: u64, at: u64, above: &[(u64, u64)]) {
        let mut ancestors = [(0, None); _];
        for (place, (task, at)) in ancestors.iter_mut().zip(above) {
            *place = (*task, Some(ms(*at)));
        }
        let birth = TaskBirth {
            task,
            born: ms(at),
            ancestors,
        };
        self.enricher.task_born(HostPid(1), birth);
    }

    /// What was not born yet as that goroutine read the first byte of a request, which starts later.
    pub fn unborn(&mut self, request: &Start, goroutine: u64, given: u64, left: &[Range<u64>]) {
        self.enricher.unborn(
            request.0.origin.process,
            Unborn {
                connection: request.0.link.id,
                goroutine,
                position: request.0.position,
                given: Some(given),
                left: left.to_vec(),
            },
        );
    }

    /// A thread of a process starts another.
    pub fn thread_born(&mut self, process: u32, thread: u32, child: u32) {
        self.enricher
            .thread_born(origin(process, thread), HostTid(child));
    }

    pub fn thread_ended(&mut self, process: u32, thread: u32) {
        self.enricher.thread_ended(origin(process, thread));
    }

    /// A whole exchange.
    pub fn run(&mut self, start: Start, ended: u64) {
        let id = start.0.id.0;
        self.start(start);
        self.finish(id, ended);
    }

    /// The end of an exchange that went on as something else.
    pub fn upgrade(&mut self, id: u64, at: u64) {
        let mut exchange = self.open.remove(&id).expect("it started").exchange(at);
        exchange.upgraded = true;
        self.enricher.apply(Step::Finished(Box::new(exchange)));
    }

    /// The end of an exchange without an answer.
    pub fn cut(&mut self, id: u64, at: u64) {
        let mut exchange = self.open.remove(&id).expect("it started").exchange(at);
        exchange.outcome = Outcome::Cancelled;
        exchange.response.status = None;
        self.enricher.apply(Step::Finished(Box::new(exchange)));
    }

    pub fn opaque(&mut self, process: u32, socket: u64, at: u64, inbound: bool) {
        self.hides(HostPid(process), connection(socket), at, inbound, false);
    }

    /// A process and another talk over a pair of Unix sockets.
    pub fn opaque_pair(&mut self, process: u32, socket: u64, at: u64) {
        self.hides(HostPid(process), connection(socket), at, true, true);
    }

    /// What a connection carries is not understood any more.
    pub fn opaque_on(&mut self, start: &Start, at: u64) {
        let (process, connection) = (start.0.origin.process, start.0.link.id);
        self.hides(process, connection, at, true, false);
    }

    fn hides(
        &mut self,
        process: HostPid,
        connection: ConnectionId,
        at: u64,
        inbound: bool,
        unix: bool,
    ) {
        self.enricher.apply(Step::Opaque {
            process,
            connection,
            time: ms(at),
            inbound,
            tls: false,
            unix,
        });
    }

    pub fn opaque_ended(&mut self, process: u32, socket: u64, at: u64) {
        self.enricher.apply(Step::OpaqueEnded {
            process: HostPid(process),
            connection: connection(socket),
            time: ms(at),
            decrypted: false,
        });
    }

    /// Lets time pass.
    pub fn wait(&mut self, until: u64) {
        self.enricher.spans(ms(until), OFFSET, &mut self.spans);
    }

    /// Finishes what is open, the last first, as what waits for others does, and emits everything.
    pub fn end(&mut self, at: u64) {
        let mut open: Vec<u64> = self.open.keys().copied().collect();
        open.sort_unstable();
        open.into_iter().rev().for_each(|id| self.finish(id, at));
        self.enricher.flush(OFFSET, &mut self.spans);
    }

    pub fn counts(&self) -> Counts {
        self.enricher.counts()
    }

    /// The span of an exchange.
    pub fn span(&self, id: u64) -> &Span {
        let mark = id.to_string();
        let mut spans = self
            .spans
            .iter()
            .filter(|span| span.text("user_agent.original").as_deref() == Some(&mark));
        let span = spans.next().expect("the exchange has a span");
        assert!(spans.next().is_none(), "one span an exchange");
        span
    }

    pub fn evidence(&self, id: u64) -> &'static str {
        let evidence = self.span(id).evidence;
        evidence.map_or(Evidence::NONE, Evidence::name)
    }

    /// Asserts that one is the parent of the other, by that evidence.
    #[track_caller]
    pub fn assert_parent(&self, child: u64, parent: u64, evidence: &str) {
        let (child, parent) = (self.span(child), self.span(parent));
        let said = child.text("spanlet.parent.evidence");
        assert_eq!(said.as_deref(), Some(evidence));
        assert_eq!(child.parent_span_id, Some(parent.span_id));
        assert_eq!(child.trace_id, parent.trace_id);
    }

    /// Asserts that it has no parent.
    #[track_caller]
    pub fn assert_root(&self, id: u64) {
        assert_eq!(self.evidence(id), "none");
        assert_eq!(self.span(id).parent_span_id, None);
        assert!(!self.span(id).parent_is_remote);
    }
}

/// All that leaves of a span in words.
pub fn told(span: &Span) -> String {
    let state = &span.trace_state;
    format!("{} {state:?} {:?}", span.name, span.attributes())
}

fn origin(process: u32, thread: u32) -> Origin {
    Origin {
        time: ms(0),
        process: HostPid(process),
        thread: HostTid(thread),
    }
}

fn connection(socket: u64) -> ConnectionId {
    ConnectionId {
        socket,
        generation: 1,
    }
}
