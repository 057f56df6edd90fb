//! A process with habits that mislead, simulated from a seed: requests that call, and polls to the same endpoint that
//! belong to none. Whatever their rates, hardly a poll may get a parent; without polls, no call may lose its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use crate::steps::{client, ms, server, Start, World, OFFSET};
use spanlet::attach::Language;
use spanlet::clock::Monotonic;
use spanlet::decode::Step;

const SECOND: u64 = 1_000_000;
const LASTS: u64 = 10 * SECOND;
/// Spans are asked for this often, µs.
const TICK: u64 = 50_000;

/// How a process behaves; times in µs, means of exponential ones.
#[derive(Clone, Copy, Debug)]
struct Habit {
    language: Language,
    in_flight: u64,
    /// Between an answer and the next request.
    pause: u64,
    /// Before and after a request's calls.
    work: u64,
    /// Of each call.
    call: u64,
    /// Calls of a request: from, to.
    calls: (u64, u64),
    /// Between two polls; 0: none.
    poll: u64,
    poll_from: u64,
}

const PLAIN: Habit = Habit {
    language: Language::Node,
    in_flight: 1,
    pause: 200,
    work: 3000,
    call: 1500,
    calls: (1, 1),
    poll: 0,
    poll_from: 0,
};

/// What an actor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Serve,
    Call { request: u64, left: u64 },
    Called { call: u64, request: u64, left: u64 },
    Answer { request: u64 },
    Poll,
    Polled { call: u64 },
}

struct Simulation {
    habit: Habit,
    random: u64,
    next: BinaryHeap<Reverse<(u64, u64, u64, Act)>>,
    ids: u64,
    world: World,
    open: HashMap<u64, Start>,
    /// Calls of requests, by their ids.
    callers: HashMap<u64, u64>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    right: u64,
    missing: u64,
    wrong: u64,
}

impl Simulation {
    fn run(habit: Habit, seed: u64) -> Score {
        let mut simulation = Self {
            habit,
            random: seed,
            next: BinaryHeap::new(),
            ids: 0,
            world: World::new().language(1, habit.language),
            open: HashMap::new(),
            callers: HashMap::new(),
        };
        for actor in 1..=habit.in_flight {
            simulation.at(actor, actor, Act::Serve);
        }
        if habit.poll > 0 {
            simulation.at(habit.poll_from + habit.poll, 0, Act::Poll);
        }
        let mut tick = 0;
        while let Some(Reverse((now, _, actor, act))) = simulation.next.pop() {
            while tick + TICK < now {
                tick += TICK;
                let world = &mut simulation.world;
                world.enricher.spans(time(tick), OFFSET, &mut world.spans);
            }
            simulation.act(now, actor, act);
        }
        simulation.world.end(LASTS / 1000 + 10_000);
        simulation.score()
    }

    fn act(&mut self, now: u64, actor: u64, act: Act) {
        let Habit {
            calls, work, call, ..
        } = self.habit;
        match act {
            Act::Serve if now > LASTS => {}
            Act::Serve => {
                let request = self.id();
                self.start(server(request, 0), now, actor);
                let left = calls.0 + self.number() % (calls.1 - calls.0 + 1);
                self.after(now, work, actor, Act::Call { request, left });
            }
            Act::Call { request, left: 0 } => self.after(now, work, actor, Act::Answer { request }),
            Act::Call { request, left } => {
                let id = self.id();
                self.callers.insert(id, request);
                self.start(client(id, 0).to("10.0.0.9"), now, actor);
                let left = left - 1;
                self.after(
                    now,
                    call,
                    actor,
                    Act::Called {
                        call: id,
                        request,
                        left,
                    },
                );
            }
            Act::Called {
                call,
                request,
                left,
            } => {
                self.finish(call, now);
                self.act(now + 1, actor, Act::Call { request, left });
            }
            Act::Answer { request } => {
                self.finish(request, now);
                self.after(now, self.habit.pause, actor, Act::Serve);
            }
            Act::Poll if now > LASTS => {}
            Act::Poll => {
                let id = self.id();
                self.start(client(id, 0).to("10.0.0.9"), now, actor);
                self.after(now, call / 2, actor, Act::Polled { call: id });
            }
            Act::Polled { call } => {
                self.finish(call, now);
                self.at(now + self.habit.poll, actor, Act::Poll);
            }
        }
    }

    /// Threads wait, each for its own, where the language has them.
    fn start(&mut self, mut start: Start, now: u64, actor: u64) {
        if self.habit.language != Language::Node {
            start = start.thread(100 + actor as u32);
        }
        start.0.origin.time = time(now);
        self.open.insert(start.0.id.0, start.clone());
        self.world.enricher.apply(Step::Started(start.0));
    }

    fn finish(&mut self, id: u64, now: u64) {
        let mut exchange = self.open.remove(&id).expect("it started").exchange(0);
        exchange.ended = time(now);
        let step = Step::Finished(Box::new(exchange));
        self.world.enricher.apply(step);
    }

    fn score(&self) -> Score {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        let spans = &self.world.spans;
        let of = |span: &spanlet::enrich::Span| number(span.text("user_agent.original").as_deref());
        let ids: HashMap<_, _> = spans.iter().map(|span| (span.span_id, of(span))).collect();
        let mut score = Score::default();
        for span in spans {
            let parent = span.parent_span_id.and_then(|parent| ids[&parent]);
            let caller = of(span).and_then(|id| self.callers.get(&id).copied());
            match (caller, parent) {
                (None, None) => {}
                (Some(_), None) => score.missing += 1,
                (caller, parent) if caller == parent => score.right += 1,
                _ => score.wrong += 1,
            }
        }
        score
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn at(&mut self, time: u64, actor: u64, act: Act) {
        let turn = self.id();
        self.next.push(Reverse((time, turn, actor, act)));
    }

    fn after(&mut self, now: u64, mean: u64, actor: u64, act: Act) {
        let share = (self.number() >> 11) as f64 / (1u64 << 53) as f64;
        let wait = -(mean as f64) * (1.0 - share).ln();
        self.at(now + 1 + wait as u64, actor, act);
    }

    /// splitmix64
    fn number(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn time(microseconds: u64) -> Monotonic {
    ms(0).after(Duration::from_micros(microseconds))
}

/// Over several seeds.
fn total(habit: Habit) -> Score {
    let mut total = Score::default();
    for seed in 1..=2 {
        let score = Simulation::run(habit, seed);
        total.right += score.right;
        total.missing += score.missing;
        total.wrong += score.wrong;
    }
    total
}

#[test]
fn a_poll_gets_no_parent_whatever_its_rate() {
    for language in [Language::Node, Language::Python] {
        for (in_flight, pause, calls) in [
            (1, 200, (1, 1)),
            (1, 200, (0, 3)),
            (1, 5000, (1, 1)),
            (4, 200, (1, 1)),
            (8, 5000, (0, 3)),
        ] {
            for poll in [3000, 8000, 37_000, 500_000, 3_000_000] {
                let habit = Habit {
                    language,
                    in_flight,
                    pause,
                    calls,
                    poll,
                    ..PLAIN
                };
                assert_eq!(total(habit).wrong, 0, "{habit:?}");
            }
        }
    }
}

#[test]
fn a_poll_that_begins_when_calls_are_trusted_gets_no_parent() {
    for poll in [8000, 37_000, 500_000] {
        let habit = Habit {
            poll,
            poll_from: 5 * SECOND,
            ..PLAIN
        };
        let score = total(habit);
        assert_eq!(score.wrong, 0, "{habit:?}");
        assert!(score.right > 1000, "{habit:?}: {score:?}");
    }
}

#[test]
fn calls_of_requests_one_after_another_keep_their_parents() {
    for language in [Language::Node, Language::Python] {
        for (pause, calls) in [
            (200, (1, 1)),
            (200, (3, 3)),
            (5000, (1, 1)),
            (50_000, (0, 3)),
        ] {
            let habit = Habit {
                language,
                pause,
                calls,
                ..PLAIN
            };
            assert_eq!(total(habit).missing, 0, "{habit:?}");
        }
    }
}
