//! What this room knows of one process: who it is, what it serves now, and what of it was not seen.
//!
//! In: facts, exchanges as they start and end, opaque connections, losses. Out: which server exchange a thread or a
//! goroutine or the whole process is working for, if that is certain; whether its threads tell at all.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::births::Births;
use super::calls::Calls;
use super::goroutines::Goroutines;
use super::nodes::{Alone, Node};
use super::program::Program;
use super::proxies::{is_proxy, Proxy};
use super::rhythm::Stretch;
use super::route::Names;
use super::routes::Routes;
use super::tasks::Tasks;
use super::threads::{Purpose, Threads};
use super::trust::{Case, Verdict};
use super::turns::Turns;
use super::{Evidence, Refusal};
use crate::attach::{Language, ProcessFacts};
use crate::capture::event::{ConnectionId, Endpoint, HostTid};
use crate::clock::Monotonic;
use crate::decode::exchange::ExchangeId;
use crate::few::Few;
use crate::hash::{WordMap, WordSet};

/// Opaque inbound connections of a process that are told apart. More of them: the process counts as having hidden
/// work for good.
const OPAQUE_MAX: usize = 4096;

/// Requests of a process whose times are remembered. More: the task of an older one is not known for its own.
const SERVED_MAX: usize = 256;

/// A process.
#[derive(Debug, Default)]
pub struct Process {
    pub facts: ProcessFacts,
    pub program: Program,
    pub names: Names,
    pub routes: Routes,
    pub goroutines: Goroutines,
    pub births: Births,
    pub calls: Calls,
    pub threads: Threads,
    pub tasks: Tasks,
    pub turns: Turns,
    /// What only a proxy has.
    pub proxy: Option<Box<Proxy>>,
    /// It ended then.
    pub gone: Option<Monotonic>,
    /// When it made the call that started last.
    pub last_call: Option<Monotonic>,
    /// Stretches of serving: from nothing served to nothing served.
    stretches: u64,
    /// The last of them in which two requests were open at once; the last that called.
    crowded: u64,
    nested: u64,
    /// Those in which there were not.
    uncrowded: u64,
    /// How long it served nothing, since the first request that was seen; and since when it does again.
    idle: Duration,
    idle_since: Option<Monotonic>,
    /// When the latest requests came, in order.
    served: VecDeque<Monotonic>,
    by_thread: BTreeMap<(HostTid, ExchangeId), ConnectionId>,
    by_goroutine: WordMap<u64, Few<ExchangeId>>,
    /// The client exchanges that are open.
    calling: BTreeMap<(HostTid, ExchangeId), ConnectionId>,
    /// A thread that serves was seen to serve two connections at once, to call over two at once, or not to wait for a
    /// call, or to run tasks: the threads are event loops, or work on after they answered.
    multiplexes: bool,
    /// One thread reads requests that others answer.
    hands_on: bool,
    /// A thread serves one request at a time and waits for all its calls, also for several at once.
    waits_for_all: bool,
    opaque: WordSet<ConnectionId>,
    opaque_full: bool,
    losses: u32,
    shadow_until: Option<Monotonic>,
}

impl Process {
    pub fn new(facts: ProcessFacts, program: Program) -> Self {
        Self {
            facts,
            program,
            ..Self::default()
        }
    }

    /// Forgets what belonged to the program that the process ran before. The same program with other arguments has the
    /// same ways: only its memory is new.
    pub fn exec(&mut self, is_other_program: bool) {
        if is_other_program {
            self.calls = Calls::default();
            self.multiplexes = false;
            self.hands_on = false;
            self.waits_for_all = false;
        }
        self.goroutines = Goroutines::default();
        self.births = Births::default();
        self.threads = Threads::default();
        self.tasks = Tasks::default();
        self.turns = Turns::default();
        self.proxy = None;
        self.names = Names::default();
        self.routes = Routes::default();
        self.opaque.clear();
        self.opaque_full = false;
        self.gone = None;
    }

    /// What is known of it now.
    pub fn learn(&mut self, facts: ProcessFacts) {
        match is_proxy(&facts) {
            true => _ = self.proxy.get_or_insert_default(),
            false => self.proxy = None,
        }
        self.facts = facts;
    }

    /// The server exchanges that are open.
    pub fn serving(&self) -> impl Iterator<Item = ExchangeId> + '_ {
        self.by_thread.keys().map(|(_, id)| *id)
    }

    pub fn serves_nothing(&self) -> bool {
        self.by_thread.is_empty()
    }

    pub fn serve(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        thread: HostTid,
        goroutine: Option<u64>,
        time: Monotonic,
    ) {
        self.idle = self.idle(time);
        self.idle_since = None;
        match self.serves_nothing() {
            true => (self.stretches, self.uncrowded) = (self.stretches + 1, self.uncrowded + 1),
            false => self.crowd(),
        }
        self.served.push_back(time);
        if self.served.len() > SERVED_MAX {
            self.served.pop_front();
        }
        match self.waits_for_all {
            // The end of what it served before was not seen.
            true => self.by_thread.retain(|(other, _), _| *other != thread),
            false => self.multiplexes |= is_on_another(&self.by_thread, thread, connection),
        }
        self.by_thread.insert((thread, id), connection);
        if let Some(goroutine) = goroutine {
            self.by_goroutine.entry(goroutine).or_default().push(id);
        }
    }

    /// When the next request came after one that came then; `None`: none has since. That time itself where it is not
    /// remembered.
    pub fn served_after(&self, time: Monotonic) -> Option<Monotonic> {
        let place = self.served.iter().rposition(|served| *served == time);
        match place {
            Some(place) => {
                let others = self.served.iter().enumerate();
                let later = others.filter(|(other, served)| *other != place && **served >= time);
                later.map(|(_, served)| *served).min()
            }
            None => Some(time),
        }
    }

    /// Whether a thread may read requests that others answer. Only of Ruby it is known that a thread which answers waits for what
    /// it calls: elsewhere tasks that move between threads look like this, too.
    pub fn may_hand_on(&self) -> bool {
        self.facts.language == Language::Ruby
    }

    /// A thread answers a request that another, or itself, read.
    pub fn answered_by(&mut self, thread: HostTid, reader: HostTid) {
        self.hands_on |= thread != reader;
    }

    /// Whether a thread's calls are of the request that it answers next.
    pub fn hands_on(&self) -> bool {
        self.hands_on
    }

    /// It serves FastCGI. In PHP that is php-fpm, or php-cgi: scripts that call several at once (curl's multi interface) wait for them.
    pub fn serves_fastcgi(&mut self) {
        self.waits_for_all |= self.facts.language == Language::Php;
    }

    /// A thread of it runs tasks.
    pub fn is_event_loop(&mut self) {
        self.multiplexes = true;
    }

    pub fn call(&mut self, id: ExchangeId, connection: ConnectionId, thread: HostTid) {
        if is_on_another(&self.calling, thread, connection) {
            // One that serves nothing is a client's loop: it says nothing of the threads that serve.
            let serves = on(&self.by_thread, thread).next().is_some();
            self.multiplexes |= serves && !self.waits_for_all;
            self.threads.mixes(thread);
        }
        self.calling.insert((thread, id), connection);
    }

    /// A call that was taken for the work of a request was still open when the request was answered then.
    pub fn outlived(&mut self, call: &Node, request_thread: HostTid, time: Monotonic) {
        if self.in_shadow(time) {
            return;
        }
        let evidence = call.parent.as_ref().map(|parent| parent.evidence);
        self.multiplexes |= evidence == Some(Evidence::Thread) && call.thread == request_thread;
        self.calls.idle(&call.remote, call.thread, time);
    }

    /// A call is made now, while it serves only one request.
    pub fn alone(&self, time: Monotonic) -> Alone {
        Alone {
            stretch: self.stretch(),
            idle: self.idle(time),
        }
    }

    /// Counts a call while only one request is served. `by_process`: only that tells whose it is.
    pub fn nested(&mut self, endpoint: &Endpoint, time: Monotonic, alone: Alone, by_process: bool) {
        let Some(trust) = self.calls.trust(endpoint) else {
            return;
        };
        if alone.stretch.number > 0 {
            self.nested = alone.stretch.number;
            trust.call(alone.stretch, by_process);
        }
        if by_process {
            trust.nested(time, alone.idle);
        }
    }

    /// A second request is open.
    fn crowd(&mut self) {
        if self.crowded == self.stretches {
            return;
        }
        self.crowded = self.stretches;
        self.uncrowded -= 1;
        if self.nested == self.stretches {
            self.calls.crowd(self.stretches);
        }
    }

    fn stretch(&self) -> Stretch {
        let is_crowded = self.crowded == self.stretches;
        Stretch {
            number: if is_crowded { 0 } else { self.stretches },
            place: self.uncrowded,
        }
    }

    /// Whether a call that is known by the process alone was made for the request that it served.
    pub fn verdict(&self, call: &Node, now: Monotonic) -> Verdict {
        let Some(alone) = call.alone else {
            return Verdict::No;
        };
        let passed = now.since(call.started).as_secs_f64();
        let idle = self.idle(now).saturating_sub(alone.idle).as_secs_f64();
        let case = Case {
            stretch: alone.stretch,
            over: self.stretches - u64::from(!self.serves_nothing()),
            idle_share: idle / passed.max(f64::EPSILON),
        };
        self.calls.verdict(&call.remote, now, &case)
    }

    /// How long it served nothing by then.
    fn idle(&self, time: Monotonic) -> Duration {
        self.idle
            + self
                .idle_since
                .map_or(Duration::ZERO, |since| time.since(since))
    }

    pub fn ended(
        &mut self,
        id: ExchangeId,
        thread: HostTid,
        goroutine: Option<u64>,
        time: Monotonic,
    ) {
        if self.by_thread.remove(&(thread, id)).is_some() {
            self.threads.answered(id, self.pools_threads());
            self.idle_since = self.serves_nothing().then_some(time);
        }
        self.calling.remove(&(thread, id));
        self.births.ended(id);
        if let Some(Entry::Occupied(mut served)) =
            goroutine.map(|goroutine| self.by_goroutine.entry(goroutine))
        {
            served.get_mut().remove(id);
            if served.get().is_empty() {
                served.remove();
            }
        }
    }

    /// Whether a thread works for one request until it is answered. Not where goroutines or tasks move between
    /// threads, nor in event loops.
    pub fn threads_wait(&self) -> bool {
        use Language::{DotNet, Go, Node, Rust};
        let is_loop = self.multiplexes || self.proxy.is_some();
        !is_loop && !matches!(self.facts.language, Go | Node | Rust | DotNet)
    }

    /// Whether threads are those of pools, started by whichever request came first: what one calls later is as likely
    /// the work of another request. Ruby keeps the kernel's thread of one that has ended for the next that is started.
    pub fn pools_threads(&self) -> bool {
        matches!(self.facts.language, Language::Java | Language::Ruby)
    }

    /// A request is over for good: its threads that have not ended.
    pub fn over(&mut self, request: ExchangeId) -> Vec<HostTid> {
        self.threads.over(request, self.pools_threads())
    }

    /// The one server exchange open on a thread.
    pub fn on_thread(&self, thread: HostTid) -> Result<Option<ExchangeId>, Refusal> {
        only(on(&self.by_thread, thread))
    }

    /// A thread started another: for the request that it serves, or was itself started for.
    pub fn thread_born(&mut self, parent: HostTid, child: HostTid) {
        let purpose = match self.on_thread(parent) {
            _ if !self.threads_wait() => None,
            Ok(None) => self.threads.purpose(parent),
            Ok(served) => served.map(Purpose::Request),
            Err(_) => None,
        };
        self.threads.born(child, purpose);
    }

    /// The one server exchange whose goroutine this is.
    pub fn on_goroutine(&self, goroutine: u64) -> Result<Option<ExchangeId>, Refusal> {
        let served = self.by_goroutine.get(&goroutine);
        only(served.into_iter().flat_map(Few::as_slice).copied())
    }

    /// The one server exchange of the process, if nothing it serves is hidden.
    pub fn in_process(&self) -> Result<Option<ExchangeId>, Refusal> {
        let one = only(self.by_thread.keys().map(|(_, id)| *id))?;
        if one.is_some() && (self.opaque_full || !self.opaque.is_empty()) {
            return Err(Refusal::Opaque);
        }
        Ok(one)
    }

    /// It may carry requests that are not seen. `is_tls`: encrypted. A proxy talks over Unix sockets with its own other processes.
    pub fn hide(&mut self, connection: ConnectionId, is_tls: bool, is_unix: bool) {
        if let Some(proxy) = self.proxy.as_mut().filter(|_| !is_unix) {
            proxy.hide(connection, is_tls);
        }
        if self.opaque.len() < OPAQUE_MAX {
            self.opaque.insert(connection);
        } else {
            self.opaque_full |= !self.opaque.contains(&connection);
        }
    }

    pub fn reveal(&mut self, connection: ConnectionId, is_decrypted: bool) {
        if let Some(proxy) = &mut self.proxy {
            proxy.reveal(connection, is_decrypted);
        }
        self.opaque.remove(&connection);
    }

    /// The losses of the process so far; true if there are new ones.
    pub fn has_lost(&mut self, losses: u32) -> bool {
        let has_lost = losses != self.losses;
        self.losses = losses;
        has_lost
    }

    /// Something of it was lost: nothing is certain until then.
    pub fn shadow(&mut self, until: Monotonic) {
        self.shadow_until = self.shadow_until.max(Some(until));
        self.proxy.iter_mut().for_each(|proxy| proxy.lost());
    }

    pub fn in_shadow(&self, time: Monotonic) -> bool {
        self.shadow_until.is_some_and(|until| time < until)
    }
}

fn is_on_another(
    open: &BTreeMap<(HostTid, ExchangeId), ConnectionId>,
    thread: HostTid,
    connection: ConnectionId,
) -> bool {
    !open.is_empty() && on(open, thread).any(|id| open.get(&(thread, id)) != Some(&connection))
}

fn on<Key: Copy + Ord, Value>(
    open: &BTreeMap<(Key, ExchangeId), Value>,
    key: Key,
) -> impl Iterator<Item = ExchangeId> + '_ {
    open.range((key, ExchangeId(0))..=(key, ExchangeId(u64::MAX)))
        .map(|((_, id), _)| *id)
}

fn only(mut ids: impl Iterator<Item = ExchangeId>) -> Result<Option<ExchangeId>, Refusal> {
    match (ids.next(), ids.next()) {
        (_, Some(_)) => Err(Refusal::Ambiguous),
        (one, None) => Ok(one),
    }
}
