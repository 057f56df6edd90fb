//! A simulated event loop of one thread, with what misleads: a pool with fewer connections than calls, a limit on work at once, timers,
//! calls side by side, connections that are made late. It knows who called; whatever happens in whatever order, no
//! turn gives a wrong parent.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use crate::steps::{client, server, World};
use spanlet::attach::Language;

/// What a request does next.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Calls so many times at once, over kept connections, of which there are few; waits for all answers.
    Call(usize),
    /// The same over a new connection.
    Dial,
    /// The same, one at a time among all requests.
    Limited,
    /// Nobody waits for it.
    Forgotten,
    Timer,
}

/// What the loop can call back for.
#[derive(Clone, Copy, Debug)]
enum Event {
    Arrival,
    Connected(u64),
    Answer(u64),
    Timer(u64),
}

#[derive(Debug, Default)]
struct Request {
    acts: VecDeque<Act>,
    /// Answers that it waits for.
    waits: usize,
}

/// A call that was asked for.
#[derive(Clone, Copy, Debug)]
struct Call {
    request: u64,
    is_awaited: bool,
    /// Over one of the pool.
    is_pooled: bool,
    is_limited: bool,
    /// The turn that made its connection.
    made: Option<u64>,
}

struct Loop {
    world: World,
    arrivals: Vec<Vec<Act>>,
    events: Vec<Event>,
    requests: HashMap<u64, Request>,
    calls: HashMap<u64, Call>,
    /// Calls that wait for a connection, and those that wait for the limit.
    queue: VecDeque<u64>,
    limited: VecDeque<u64>,
    is_limit_taken: bool,
    free: usize,
    turn: u64,
    next: u64,
}

impl Loop {
    fn new(arrivals: Vec<Vec<Act>>, connections: usize) -> Self {
        Self {
            world: World::new().language(1, Language::Node),
            events: arrivals.iter().map(|_| Event::Arrival).collect(),
            arrivals,
            requests: HashMap::new(),
            calls: HashMap::new(),
            queue: VecDeque::new(),
            limited: VecDeque::new(),
            is_limit_taken: false,
            free: connections,
            turn: 0,
            next: 0,
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Runs until nothing is left to call back for. `choices`: which of what is ready comes first.
    fn run(mut self, choices: &[usize]) -> Self {
        let mut choices = choices.iter().copied().cycle();
        while !self.events.is_empty() {
            let choice = choices.next().unwrap_or_default();
            let event = self.events.swap_remove(choice % self.events.len());
            self.turn += 1;
            self.turn(event, choice % 2 == 0);
        }
        self
    }

    fn turn(&mut self, event: Event, frees_first: bool) {
        match event {
            Event::Arrival => {
                let (id, acts) = (self.id(), self.arrivals.pop().unwrap_or_default());
                self.world.start(server(id, self.turn));
                self.world.read_in_turn(id, self.turn);
                let acts = acts.into();
                self.requests.insert(id, Request { acts, waits: 0 });
                self.go_on(id);
            }
            Event::Timer(request) => self.go_on(request),
            Event::Connected(call) => self.write(call),
            Event::Answer(call) => {
                self.world.read_in_turn(call, self.turn);
                self.world.finish(call, self.turn);
                if frees_first {
                    self.free(call);
                    self.answered(call);
                } else {
                    self.answered(call);
                    self.free(call);
                }
            }
        }
    }

    /// The connection of a call, and the limit, are for the next one.
    fn free(&mut self, call: u64) {
        if self.calls[&call].is_pooled {
            match self.queue.pop_front() {
                Some(next) => self.write(next),
                None => self.free += 1,
            }
        }
        if self.calls[&call].is_limited {
            match self.limited.pop_front() {
                Some(next) => self.ask(next),
                None => self.is_limit_taken = false,
            }
        }
    }

    fn answered(&mut self, call: u64) {
        let call = self.calls[&call];
        if let Some(request) = self.requests.get_mut(&call.request) {
            if call.is_awaited {
                request.waits -= 1;
                if request.waits == 0 {
                    self.go_on(call.request);
                }
            }
        }
    }

    /// A request runs until it waits.
    fn go_on(&mut self, id: u64) {
        loop {
            let act = self
                .requests
                .get_mut(&id)
                .and_then(|request| request.acts.pop_front());
            match act {
                None => {
                    self.requests.remove(&id);
                    self.world.answer_in_turn(id, self.turn);
                    self.world.finish(id, self.turn);
                    return;
                }
                Some(Act::Timer) => return self.events.push(Event::Timer(id)),
                Some(Act::Forgotten) => {
                    self.call(id, false, false, false);
                }
                Some(act) => {
                    let count = match act {
                        Act::Call(count) => count,
                        _ => 1,
                    };
                    if let Some(request) = self.requests.get_mut(&id) {
                        request.waits = count;
                    }
                    let (dials, is_limited) =
                        (matches!(act, Act::Dial), matches!(act, Act::Limited));
                    (0..count).for_each(|_| self.call(id, true, dials, is_limited));
                    return;
                }
            }
        }
    }

    fn call(&mut self, request: u64, is_awaited: bool, dials: bool, is_limited: bool) {
        let id = self.id();
        let call = Call {
            request,
            is_awaited,
            is_pooled: !dials,
            is_limited,
            made: dials.then_some(self.turn),
        };
        self.calls.insert(id, call);
        if dials {
            self.events.push(Event::Connected(id));
        } else if is_limited && std::mem::replace(&mut self.is_limit_taken, true) {
            self.limited.push_back(id);
        } else {
            self.ask(id);
        }
    }

    /// For a connection of the pool.
    fn ask(&mut self, call: u64) {
        if self.free > 0 {
            self.free -= 1;
            self.write(call);
        } else {
            self.queue.push_back(call);
        }
    }

    fn write(&mut self, id: u64) {
        let start = client(id, self.turn);
        let start = match self.calls[&id].made {
            Some(made) => start.made_in_turn(made, self.turn),
            None => start.in_turn(self.turn),
        };
        self.world.start(start);
        self.events.push(Event::Answer(id));
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..4_usize).prop_map(Act::Call),
        2 => Just(Act::Dial),
        2 => Just(Act::Limited),
        1 => Just(Act::Forgotten),
        3 => Just(Act::Timer),
    ];
    prop::collection::vec(act, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_turn_gives_a_wrong_parent(
        arrivals in prop::collection::vec(acts(), 2..10),
        connections in 1..6_usize,
        choices in prop::collection::vec(any::<usize>(), 1..64),
    ) {
        let mut simulated = Loop::new(arrivals, connections).run(&choices);
        let at = simulated.turn + 1;
        simulated.world.end(at);
        for (call, truth) in &simulated.calls {
            if simulated.world.evidence(*call) == "turn" {
                simulated.world.assert_parent(*call, truth.request, "turn");
            }
        }
    }
}

#[test]
fn nearly_all_that_is_called_at_once_has_its_parent() {
    let arrivals = vec![vec![Act::Call(4)]; 50];
    let mut simulated = Loop::new(arrivals, 1000).run(&[3, 1, 4, 1, 5, 9, 2, 6]);
    simulated.world.end(simulated.turn + 1);
    for (call, truth) in &simulated.calls {
        simulated.world.assert_parent(*call, truth.request, "turn");
    }
    assert_eq!(simulated.calls.len(), 200);
}
