//! A simulated nginx: one thread, many requests, and whatever puts calls off, makes several, or none. It knows who called; whatever
//! happens in whatever order, no turn gives a wrong parent.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::steps::{client, server, World};
use spanlet::decode::exchange::{ExchangeId, Moved};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is called for over a kept connection.
    Kept,
    /// Over a new one.
    Dialed,
    /// It waits first (`limit_req`).
    Limited,
    /// It waits, and is answered without a call.
    Delayed,
    /// It is answered at once.
    Static,
    /// A second call is made whose answer goes nowhere.
    Mirrored,
    /// The same, each over a new connection.
    MirroredDialed,
    /// Another is asked first (`auth_request`).
    Asked,
    /// The first attempt takes too long (`proxy_next_upstream`).
    Late,
    /// The first attempt's connection is closed by the other side.
    Refused,
    /// Its body comes later.
    Slow,
    /// The same, and it is called for before that.
    Streamed,
}

const FATES: [Fate; 12] = [
    Fate::Kept,
    Fate::Dialed,
    Fate::Limited,
    Fate::Delayed,
    Fate::Static,
    Fate::Mirrored,
    Fate::MirroredDialed,
    Fate::Asked,
    Fate::Late,
    Fate::Refused,
    Fate::Slow,
    Fate::Streamed,
];

/// What the loop may call back for next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Arrival(Fate),
    Timer(u64, Fate),
    Body(u64, Fate),
    Connected { call: u64, since: u64, then: Then },
    Answer(u64, Then),
}

/// What the answer to a call is for.
#[derive(Clone, Copy, Debug)]
enum Then {
    Answer,
    Forget,
    Call,
    /// It does not come, or nothing but the end of its stream.
    TimesOut,
    Ends,
}

struct Loop {
    world: World,
    events: Vec<Event>,
    /// For which request each call is made.
    callers: HashMap<u64, u64>,
    now: u64,
    next: u64,
}

impl Loop {
    fn new(arrivals: &[Fate]) -> Self {
        Self {
            world: World::new().nginx(1),
            events: arrivals.iter().copied().map(Event::Arrival).collect(),
            callers: HashMap::new(),
            now: 0,
            next: 0,
        }
    }

    /// `choices`: which of what is ready comes first.
    fn run(mut self, choices: &[usize]) -> Self {
        let mut choices = choices.iter().copied().cycle();
        while !self.events.is_empty() {
            let choice = choices.next().unwrap_or_default();
            let event = self.events.swap_remove(choice % self.events.len());
            self.now += 1;
            self.turn(event);
        }
        self
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn moved(&mut self, what: Moved) {
        self.world.moved(what, self.now);
    }

    fn turn(&mut self, event: Event) {
        match event {
            Event::Arrival(fate) => self.arrival(fate),
            Event::Timer(request, Fate::Delayed) => self.answer(request),
            Event::Timer(request, _) => self.call(request, Then::Answer),
            Event::Body(request, fate) => {
                self.moved(Moved::Request(ExchangeId(request)));
                if matches!(fate, Fate::Slow) {
                    self.call(request, Then::Answer);
                }
            }
            Event::Connected { call, since, then } => {
                self.world.start(client(call, self.now).connecting(since));
                self.moved(Moved::Call);
                self.events.push(Event::Answer(call, then));
            }
            Event::Answer(call, then) => self.answered(call, then),
        }
    }

    fn arrival(&mut self, fate: Fate) {
        let id = self.id();
        self.world.start(server(id, self.now));
        let what = match fate {
            Fate::Slow | Fate::Streamed => Moved::Other,
            _ => Moved::Request(ExchangeId(id)),
        };
        self.moved(what);
        match fate {
            Fate::Kept => self.call(id, Then::Answer),
            Fate::Dialed => self.dial(id, Then::Answer),
            Fate::Limited | Fate::Delayed => self.events.push(Event::Timer(id, fate)),
            Fate::Static => self.answer(id),
            Fate::Mirrored => {
                self.call(id, Then::Answer);
                self.call(id, Then::Forget);
            }
            Fate::MirroredDialed => {
                self.dial(id, Then::Answer);
                self.dial(id, Then::Forget);
            }
            Fate::Asked => self.call(id, Then::Call),
            Fate::Late => self.call(id, Then::TimesOut),
            Fate::Refused => self.call(id, Then::Ends),
            Fate::Slow => self.events.push(Event::Body(id, fate)),
            Fate::Streamed => {
                self.call(id, Then::Answer);
                self.events.push(Event::Body(id, fate));
            }
        }
    }

    fn call(&mut self, request: u64, then: Then) {
        let call = self.id();
        self.callers.insert(call, request);
        self.world.start(client(call, self.now));
        self.moved(Moved::Call);
        self.events.push(Event::Answer(call, then));
    }

    fn dial(&mut self, request: u64, then: Then) {
        let (call, since) = (self.id(), self.now);
        self.callers.insert(call, request);
        self.events.push(Event::Connected { call, since, then });
    }

    fn answered(&mut self, call: u64, then: Then) {
        match then {
            Then::TimesOut | Then::Ends => self.world.cut(call, self.now),
            _ => self.world.finish(call, self.now),
        }
        self.moved(match then {
            Then::TimesOut => Moved::Other,
            _ => Moved::Answer(ExchangeId(call)),
        });
        let request = self.callers[&call];
        match then {
            Then::Answer => self.answer(request),
            Then::Forget => {}
            Then::Call => self.call(request, Then::Answer),
            Then::TimesOut | Then::Ends => self.dial(request, Then::Answer),
        }
    }

    fn answer(&mut self, request: u64) {
        self.world.answer_on_thread(request, 1, self.now);
        self.world.finish(request, self.now);
        self.moved(Moved::Other);
    }

    /// Calls whose parent the loop told, all of them the right one; and all calls.
    fn told(mut self) -> (usize, usize) {
        self.world.end(self.now + 1);
        let mut told = 0;
        for (call, request) in &self.callers {
            if self.world.evidence(*call) == "turn" {
                let parent = self.world.span(*call).parent_span_id;
                let truth = self.world.span(*request).span_id;
                assert_eq!(parent, Some(truth), "call {call} of {request}");
                told += 1;
            }
        }
        (told, self.callers.len())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_turn_gives_a_wrong_parent(
        arrivals in prop::collection::vec(prop::sample::select(&FATES[..]), 2..40),
        choices in prop::collection::vec(any::<usize>(), 1..64),
    ) {
        Loop::new(&arrivals).run(&choices).told();
    }
}

#[test]
fn all_that_is_called_at_once_has_its_parent() {
    for fate in [Fate::Kept, Fate::Asked, Fate::Slow] {
        let (told, all) = Loop::new(&[fate; 50]).run(&[3, 1, 4, 1, 5, 9, 2, 6]).told();
        assert_eq!(told, all, "{fate:?}");
    }
}

#[test]
fn of_what_is_called_late_or_twice_some_have_their_parent() {
    let at_least = [
        (Fate::Dialed, 0.7),
        (Fate::Limited, 0.4),
        (Fate::Streamed, 0.9),
        (Fate::Mirrored, 0.5),
        (Fate::Refused, 0.4),
    ];
    for (fate, least) in at_least {
        let (told, all) = Loop::new(&[fate; 50]).run(&[3, 1, 4, 1, 5, 9, 2, 6]).told();
        let share = told as f64 / all as f64;
        assert!(share >= least, "{fate:?}: {told} of {all}");
    }
}
