//! The room's constructor and its one loop body.
//!
//! In: processes and [`Step`]s. Out: [`Span`]s whose grace has passed, and [`Counts`].

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use smol_str::{format_smolstr, SmolStr};

use super::context::{self, Context};
use super::counts::Counts;
use super::held::Fate;
use super::ids::Ids;
use super::nodes::{Birth, Node, Nodes};
use super::place::Place;
use super::process::Process;
use super::program::{Program, State, Unresolved};
use super::semantic;
use super::span::{Resource, Span};
use super::trust::Verdict;
use super::wire::{Name, Wire};
use super::{parents, proxies, resource, tasks, turns, Config, Evidence};
use crate::attach::{Language, ProcessFacts};
use crate::capture::event::{HostPid, HostTid, Origin, RouteName, TaskBirth, Unborn};
use crate::clock::{Monotonic, WallOffset};
use crate::decode::exchange::{
    Answering, Exchange, ExchangeId, Moving, Protocol, Side, Started, Turning,
};
use crate::decode::Step;
use crate::hash::WordMap;
use crate::pods::Peer;

/// Makes spans of exchanges.
pub struct Enricher {
    pub(super) config: Config,
    ids: Ids,
    /// The latest time that anything told of.
    pub(super) latest: Monotonic,
    pub(super) processes: WordMap<HostPid, Process>,
    /// Processes that ended, in order.
    gone: VecDeque<(Monotonic, HostPid)>,
    pub(super) nodes: Nodes,
    wire: Wire,
    pub(super) waiting: VecDeque<Waiting>,
    /// Those that wait for Kubernetes.
    pub(super) held: VecDeque<Waiting>,
    pub(super) unresolved: Vec<Unresolved>,
    /// Processes that made calls of which neither task, goroutine nor turn told for which request.
    untold: BTreeSet<HostPid>,
    pub(super) counts: Counts,
}

/// A finished exchange whose span is not emitted.
pub(super) struct Waiting {
    pub due: Monotonic,
    pub exchange: Box<Exchange>,
    /// What its process ran when it ended, where the process was known.
    pub program: Option<Program>,
    /// Who was at the other end of its connection when it ended.
    pub peer: Option<Arc<Peer>>,
    /// By which route it was served, where that is known.
    pub route: Option<SmolStr>,
}

impl Waiting {
    /// Due since ever: it waits no longer for its parents.
    pub const AT_ONCE: Monotonic = Monotonic(0);
}

/// For what a finished exchange may still wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    All,
    /// Until tasks have told whose calls are whose.
    ForTasks,
    None,
}

impl Enricher {
    /// The same seed and the same input give the same spans.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            ids: Ids::new(seed),
            latest: Monotonic::default(),
            processes: WordMap::default(),
            gone: VecDeque::new(),
            nodes: Nodes::default(),
            wire: Wire::default(),
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            unresolved: Vec::new(),
            untold: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Works by another configuration from now on.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is held now: exchanges, and threads that requests started.
    pub fn held(&self) -> (usize, usize) {
        let threads = self.processes.values().map(|process| process.threads.len());
        (self.nodes.len(), threads.sum())
    }

    /// A process was found, or runs another program now.
    pub fn process(&mut self, facts: ProcessFacts) {
        let pid = facts.pid;
        let Some(process) = known(&mut self.processes, pid, &self.config, &mut self.counts) else {
            return;
        };
        let before = &process.facts;
        let is_other = process.gone.is_some()
            || (before.start_ticks != 0 && before.start_ticks != facts.start_ticks);
        let is_exec = !before.executable_path.is_empty()
            && (&before.executable_path, &before.command_args)
                != (&facts.executable_path, &facts.command_args);
        if is_exec || is_other {
            process.serving().for_each(|open| self.nodes.unsure(open));
        }
        if is_other {
            *process = Process::default();
        } else if is_exec {
            let is_other_program = process.facts.executable_path != facts.executable_path;
            process.exec(is_other_program);
        }
        match is_other || is_exec {
            true => process.program = Program::new(&facts, &self.config),
            false => process.program.learn(&facts, &self.config),
        }
        let program = process.program.clone();
        process.learn(facts.clone());
        self.unresolved(&facts, program);
    }

    /// A process was forked: the child is taken for the same program until its own facts come.
    pub fn forked(&mut self, parent: HostPid, child: HostPid) {
        let is_known = self
            .processes
            .get(&child)
            .is_some_and(|process| process.gone.is_none() && process.facts.start_ticks != 0);
        let Some(from) = self.processes.get(&parent).filter(|_| !is_known) else {
            return;
        };
        self.process(ProcessFacts {
            pid: child,
            parent,
            start_ticks: 0,
            ..from.facts.clone()
        });
    }

    /// A thread started another.
    pub fn thread_born(&mut self, parent: Origin, child: HostTid) {
        if let Some(process) = self.processes.get_mut(&parent.process) {
            process.thread_born(parent.thread, child);
        }
    }

    /// A task was started by another.
    pub fn task_born(&mut self, process: HostPid, birth: TaskBirth) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.tasks.lineage.born(birth);
        }
    }

    /// Go: which goroutines were not born yet as a request was read, which starts after this is told.
    pub fn unborn(&mut self, process: HostPid, unborn: Unborn) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.births.read(unborn);
        }
    }

    /// The pattern of a route that a process serves by.
    pub fn route(&mut self, process: HostPid, name: RouteName, pattern: &[u8]) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.routes.learn(name, pattern);
        }
    }

    /// A thread ended, but not its process.
    pub fn thread_ended(&mut self, origin: Origin) {
        if let Some(process) = self.processes.get_mut(&origin.process) {
            process.threads.ended(origin.thread);
        }
    }

    /// A process ended. It is remembered for a while, because its exchanges may still have to be finished.
    pub fn gone(&mut self, pid: HostPid, now: Monotonic) {
        if let Some(process) = self.processes.get_mut(&pid) {
            if process.gone.is_none() {
                process.gone = Some(now);
                self.gone.push_back((now, pid));
            }
        }
    }

    /// Records of a process were lost: what is open in it may not be all that is open.
    pub fn lost(&mut self, process: HostPid, now: Monotonic) {
        self.latest = self.latest.max(now);
        let until = now.after(self.config.limits.loss_shadow);
        let Some(process) = self.processes.get_mut(&process) else {
            return;
        };
        process.shadow(until);
        process.serving().for_each(|open| self.nodes.unsure(open));
    }

    /// Takes in what the decoder tells.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::Started(started) => self.started(&started),
            Step::Answering(answering) => self.answering(&answering),
            Step::Turning(turning) => self.turning(&turning),
            Step::Moving(moving) => self.moving(&moving),
            Step::Finished(exchange) => self.finished(exchange, None),
            Step::Opaque {
                process,
                connection,
                time,
                inbound,
                tls,
                unix,
            } => {
                self.latest = self.latest.max(time);
                let process = known(&mut self.processes, process, &self.config, &mut self.counts);
                if let Some(process) = process.filter(|_| inbound) {
                    process.hide(connection, tls, unix);
                }
            }
            Step::OpaqueEnded {
                process,
                connection,
                time,
                decrypted,
            } => {
                self.latest = self.latest.max(time);
                if let Some(process) = self.processes.get_mut(&process) {
                    process.reveal(connection, decrypted);
                }
            }
        }
    }

    /// Emits the spans whose grace has passed.
    pub fn spans(&mut self, now: Monotonic, offset: WallOffset, out: &mut Vec<Span>) {
        self.latest = self.latest.max(now);
        self.give_up_unresolved(now);
        // Those that have to wait longer come back at the end: each has one turn, whatever its times say.
        for _ in 0..self.held.len() + self.waiting.len() {
            let is_due = |waiting: &mut Waiting| waiting.due <= now;
            let held = self.held.pop_front_if(is_due);
            let was_held = held.is_some();
            let next = held.or_else(|| self.waiting.pop_front_if(is_due));
            let Some(mut waiting) = next else {
                break;
            };
            let patience = self.patience(&waiting, now);
            let fate = self.fate(&waiting, was_held);
            waiting.due = now.after(self.config.grace);
            match fate {
                Fate::Dropped => self.drop(&waiting),
                Fate::Held => self.held.push_back(waiting),
                Fate::Told if self.settle(waiting.exchange.id, now, patience) => {
                    out.push(self.emit(waiting, offset));
                }
                Fate::Told => self.waiting.push_back(waiting),
            }
        }
        while let Some((time, pid)) = self
            .gone
            .pop_front_if(|(time, _)| now.since(*time) > self.config.limits.gone)
        {
            self.forget(pid, time);
        }
    }

    /// Emits all spans, but those of processes that may not be meant.
    pub fn flush(&mut self, offset: WallOffset, out: &mut Vec<Span>) {
        self.unresolved.iter().for_each(Unresolved::give_up);
        self.give_up_unresolved(self.latest);
        let mut held = std::mem::take(&mut self.held);
        held.append(&mut self.waiting);
        self.waiting = held;
        let over = |waiting: &Waiting| (waiting.exchange.process, waiting.exchange.id);
        let all: Vec<_> = self.waiting.iter().map(over).collect();
        all.into_iter().for_each(|(pid, id)| self.over(pid, id));
        while let Some(waiting) = self.waiting.pop_front() {
            if self.fate(&waiting, false) == Fate::Dropped {
                self.drop(&waiting);
                continue;
            }
            self.settle(waiting.exchange.id, self.latest, Patience::None);
            out.push(self.emit(waiting, offset));
        }
    }

    fn patience(&self, waiting: &Waiting, now: Monotonic) -> Patience {
        let waited = now.since(waiting.exchange.ended);
        let limits = &self.config.limits;
        let is_crowded = self.waiting.len() > limits.waiting / 2;
        match () {
            () if waiting.due == Waiting::AT_ONCE => Patience::None,
            () if waited < self.config.hold => Patience::All,
            () if waited < limits.task && !is_crowded => Patience::ForTasks,
            () => Patience::None,
        }
    }

    /// Whether what stands above an exchange can be told now. If it must be, what is not certain is taken back.
    fn settle(&mut self, id: ExchangeId, now: Monotonic, patience: Patience) -> bool {
        if patience != Patience::None && self.waits_for_task(id) {
            return false;
        }
        let is_final = patience != Patience::All;
        let mut doubtful = Vec::new();
        for loose in self.nodes.loose(id) {
            let process = self.processes.get(&loose.node.process);
            let (verdict, may_mix) = match (process, loose.evidence) {
                (Some(process), Evidence::Process) => (process.verdict(loose.node, now), false),
                (Some(process), _) => (Verdict::Open, process.threads.lives(loose.node.thread)),
                (None, _) => (Verdict::Open, false),
            };
            match verdict {
                Verdict::Yes => {}
                _ if !is_final => return false,
                Verdict::Open if !may_mix && !loose.node.is_doubtful => {}
                Verdict::Open | Verdict::No => doubtful.push(loose.child),
            }
        }
        for child in doubtful {
            self.counts.undone += u64::from(self.nodes.orphan(child));
        }
        true
    }

    /// Whether a task may still tell whose a call is that stands above an exchange, or is it.
    fn waits_for_task(&self, id: ExchangeId) -> bool {
        let mut above = self.nodes.upwards(id);
        above.any(|(_, node)| node.waits_for_task && self.may_be_told(node))
    }

    fn may_be_told(&self, call: &Node) -> bool {
        let process = self.processes.get(&call.process);
        process.is_some_and(|process| tasks::may_be_told(call, process, &self.nodes))
    }

    fn started(&mut self, started: &Started) {
        let origin = started.origin;
        self.latest = self.latest.max(origin.time);
        let reading = context::read(&started.context);
        self.counts.context_malformed += reading.malformed;
        if self.nodes.len() >= self.config.limits.exchanges {
            self.counts.exchanges_full += 1;
            return;
        }
        let birth = self.birth(started, reading.context);
        if !self.nodes.insert(started.id, birth) {
            return;
        }
        let in_shadow = self.in_process(started);
        let name = self.nodes.get(started.id).and_then(|node| node.name);
        if name.is_some_and(|name| name.has_place() || !in_shadow) {
            parents::meet(
                started,
                &mut self.wire,
                &mut self.nodes,
                &self.config.limits,
                &mut self.counts,
            );
        }
    }

    /// What the start of an exchange means in its process; true in the shadow of a loss.
    fn in_process(&mut self, started: &Started) -> bool {
        let (origin, goroutine) = (started.origin, started.goroutine);
        let (config, counts) = (&self.config, &mut self.counts);
        let Some(process) = known(&mut self.processes, origin.process, config, counts) else {
            return false;
        };
        if process.has_lost(started.process_losses) {
            process.shadow(origin.time.after(config.limits.loss_shadow));
            process.serving().for_each(|open| self.nodes.unsure(open));
        }
        let goroutines = goroutine.into_iter().chain(started.link.dialer);
        goroutines.for_each(|goroutine| process.goroutines.learn(goroutine, origin.time));
        match started.side {
            Side::Server => {
                // Nearly always this is the latest.
                if process.last_call >= Some(origin.time) {
                    let open = process.serving();
                    self.counts.undone += self.nodes.undo_by_process(open, origin.time);
                }
                if started.protocol == Protocol::FastCgi {
                    process.serves_fastcgi();
                }
                let connection = started.link.id;
                let goroutine = goroutine.map(|reader| {
                    let goroutines = &mut process.goroutines;
                    let serving = goroutines.serves(reader, connection, origin.time);
                    self.nodes.served_by(started.id, serving);
                    process.births.started(started, serving);
                    serving
                });
                if let Some(proxy) = &mut process.proxy {
                    proxy.served(started.id, origin.time);
                }
                process.serve(
                    started.id,
                    connection,
                    origin.thread,
                    goroutine,
                    origin.time,
                );
            }
            Side::Client => {
                process.last_call = process.last_call.max(Some(origin.time));
                let (nodes, limits) = (&mut self.nodes, &self.config.limits);
                let is_told = parents::ask(started, process, nodes, limits, &mut self.counts);
                let turn = started.turn.and_then(|turn| turn.running);
                let is_followed = match process.facts.language {
                    Language::Node => turn.is_some(),
                    Language::Rust => false,
                    _ => true,
                };
                if !is_told || !is_followed {
                    self.untold.insert(origin.process);
                }
            }
        }
        process.in_shadow(origin.time)
    }

    fn answering(&mut self, answering: &Answering) {
        self.latest = self.latest.max(answering.time);
        if let Some(process) = self.processes.get_mut(&answering.process) {
            let (nodes, limits) = (&mut self.nodes, &self.config.limits);
            tasks::answer(answering, process, nodes, limits, &mut self.counts);
            proxies::answer(answering, process, nodes, limits, &mut self.counts);
        }
    }

    fn turning(&mut self, turning: &Turning) {
        self.latest = self.latest.max(turning.time);
        if let Some(process) = self.processes.get_mut(&turning.process) {
            let (nodes, limits) = (&mut self.nodes, &self.config.limits);
            turns::turned(turning, process, nodes, limits, &mut self.counts);
        }
    }

    fn moving(&mut self, moving: &Moving) {
        self.latest = self.latest.max(moving.time);
        let process = self.processes.get_mut(&moving.process);
        if let Some(proxy) = process.and_then(|process| process.proxy.as_mut()) {
            proxy.moved(moving);
        }
    }

    fn birth(&mut self, started: &Started, context: Option<Context>) -> Birth {
        let trace = context.as_ref().map(|context| context.trace);
        let span = self.ids.span();
        Birth {
            process: started.origin.process,
            thread: started.origin.thread,
            goroutine: started.goroutine.map(|goroutine| goroutine.id),
            remote: started.link.remote.clone(),
            name: Name::of(started.side, &started.link, started.position),
            first_on_connection: started.first_on_connection,
            started: started.origin.time,
            span,
            trace: trace.unwrap_or_else(|| self.ids.trace(span)),
            context: context.map(Box::new),
        }
    }

    /// An exchange ended, with the service at the other end of its connection, where that is known: by the time its span is
    /// told, another may be there.
    pub fn finished(&mut self, exchange: Box<Exchange>, peer: Option<Arc<Peer>>) {
        self.latest = self.latest.max(exchange.ended);
        self.counts.exchanges += 1;
        let process = self.processes.get_mut(&exchange.process);
        let program = process.as_ref().map(|process| process.program.clone());
        let route = process.as_ref().zip(exchange.route);
        let route = route.and_then(|(process, name)| process.routes.get(name));
        if let (Some(node), Some(process)) = (self.nodes.get(exchange.id), process) {
            if let Some(proxy) = &mut process.proxy {
                proxy.finished(&exchange);
            }
            process.ended(exchange.id, node.thread, node.goroutine, exchange.ended);
            let calls = self.nodes.outliving(node, exchange.ended);
            calls.for_each(|call| process.outlived(call, node.thread, exchange.ended));
        }
        self.counts.undone += self.nodes.end(exchange.id, exchange.ended);
        if self.waiting.len() + self.held.len() >= self.config.limits.waiting {
            self.counts.dropped_waiting_full += 1;
            self.take(exchange.id);
            return;
        }
        self.waiting.push_back(Waiting {
            due: self.latest.after(self.config.grace),
            exchange,
            program,
            peer,
            route,
        });
    }

    fn emit(&mut self, waiting: Waiting, offset: WallOffset) -> Span {
        let exchange = waiting.exchange;
        self.over(exchange.process, exchange.id);
        let place = match self.take(exchange.id) {
            Some(node) => {
                self.note_untold(&node);
                Place::of(node)
            }
            None => self.unannounced(&exchange),
        };
        self.counts.by_context += u64::from(place.is_by_context());
        self.counts.spans += 1;
        let name = self.name(&exchange, waiting.route.as_deref());
        let resource = match waiting.program {
            Some(program) => {
                self.counts.unnamed_late += u64::from(program.is_given_up());
                let is_incomplete = program.state() == State::Incomplete;
                self.counts.unnamed_held_full += u64::from(is_incomplete);
                program.resource()
            }
            None => self.resource(exchange.process),
        };
        Span {
            trace_id: place.trace,
            span_id: place.span,
            parent_span_id: place.parent,
            parent_is_remote: place.parent_is_remote,
            evidence: place.evidence,
            query: self.config.query,
            trace_state: place.trace_state,
            name,
            exchange,
            offset,
            resource,
            peer: waiting.peer,
            route: waiting.route,
        }
    }

    /// Nothing more will come of an exchange.
    pub(super) fn over(&mut self, pid: HostPid, id: ExchangeId) {
        if let Some(process) = self.processes.get_mut(&pid) {
            let left = process.over(id);
            self.counts.undone += self.nodes.undo_by_threads(id, &left);
        }
    }

    fn note_untold(&mut self, node: &Node) {
        let is_told = !node.waits_for_task || node.context.is_some();
        if !is_told {
            self.untold.insert(node.process);
        }
    }

    /// Processes, since the last time, that made calls of which neither task, goroutine nor turn told for which request: to know
    /// which started which, since when they are there, and which turn it is, may help with others.
    pub fn take_untold(&mut self) -> BTreeSet<HostPid> {
        std::mem::take(&mut self.untold)
    }

    fn name(&mut self, exchange: &Exchange, route: Option<&str>) -> SmolStr {
        let (method, path) = semantic::naming(exchange);
        // All that is below it has this one, as where another router goes on: the path tells more.
        if let Some(route) = route.filter(|route| !route.ends_with('/') || path == Some(route)) {
            return format_smolstr!("{method} {route}");
        }
        match self.processes.get_mut(&exchange.process) {
            Some(process) => process.names.name(method, path, self.config.limits.names),
            None => method.into(),
        }
    }

    fn resource(&self, pid: HostPid) -> Arc<Resource> {
        match self.processes.get(&pid) {
            Some(process) => process.program.resource(),
            None => Arc::new(resource::of(&unknown(pid), &self.config)),
        }
    }

    pub(super) fn take(&mut self, id: ExchangeId) -> Option<Node> {
        let node = self.nodes.emit(id)?;
        if let Some(name) = node.name {
            self.wire.remove(id, name);
        }
        if let Some(process) = self.processes.get_mut(&node.process) {
            process.turns.forget(id);
            if node.waits_for_task {
                process.tasks.forget(id);
            }
        }
        Some(node)
    }

    /// The place of an exchange whose start is not known here: only its headers can name its parent.
    fn unannounced(&mut self, exchange: &Exchange) -> Place {
        self.counts.unannounced += 1;
        let context = context::read(&exchange.request.context)
            .context
            .map(Box::new);
        let span = self.ids.span();
        Place::by_context(context, span, self.ids.trace(span))
    }

    /// Forgets a process that ended then, unless its pid names another one now.
    fn forget(&mut self, pid: HostPid, ended: Monotonic) {
        let is_same = |process: &Process| process.gone == Some(ended);
        if !self.processes.get(&pid).is_some_and(is_same) {
            return;
        }
        self.processes.remove(&pid);
        for id in self.nodes.unfinished_of(pid) {
            self.counts.abandoned += 1;
            self.take(id);
        }
    }
}

/// The process of that pid; a new one is added where there is room.
fn known<'a>(
    processes: &'a mut WordMap<HostPid, Process>,
    pid: HostPid,
    config: &Config,
    counts: &mut Counts,
) -> Option<&'a mut Process> {
    let is_full = processes.len() >= config.limits.processes;
    match processes.entry(pid) {
        Entry::Occupied(process) => Some(process.into_mut()),
        Entry::Vacant(_) if is_full => {
            counts.processes_full += 1;
            None
        }
        Entry::Vacant(place) => {
            let facts = unknown(pid);
            let program = Program::new(&facts, config);
            Some(place.insert(Process::new(facts, program)))
        }
    }
}

fn unknown(pid: HostPid) -> ProcessFacts {
    ProcessFacts {
        pid,
        ..ProcessFacts::default()
    }
}
