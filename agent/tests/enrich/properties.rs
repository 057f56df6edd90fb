//! Whatever happens in whatever order: no parent that was not open or not of its rule, one trace for each tree, one
//! span for each finished exchange. A model beside the enricher knows what was open.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use crate::steps::{client, server, Start, World};
use spanlet::decode::exchange::Side;
use spanlet::enrich::span::{SpanId, TraceId};
use spanlet::enrich::Span;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    Serve {
        process: u32,
        thread: u32,
    },
    Call {
        process: u32,
        thread: u32,
    },
    /// The other end of the nth open client exchange starts to serve.
    Meet {
        nth: usize,
        process: u32,
        thread: u32,
    },
    Finish {
        nth: usize,
    },
    Wait,
}

fn acts() -> impl Strategy<Value = Vec<(Act, u64)>> {
    let place = || (1..4_u32, 1..4_u32);
    let act = prop_oneof![
        2 => place().prop_map(|(process, thread)| Act::Serve { process, thread }),
        4 => place().prop_map(|(process, thread)| Act::Call { process, thread }),
        3 => (any::<usize>(), place()).prop_map(|(nth, (process, thread))| Act::Meet { nth, process, thread }),
        5 => any::<usize>().prop_map(|nth| Act::Finish { nth }),
        1 => Just(Act::Wait),
    ];
    prop::collection::vec((act, 0..60_u64), 1..120)
}

/// What the model remembers of an exchange.
struct Known {
    start: Start,
    started: u64,
    ended: Option<u64>,
    /// Server exchanges of its process that were open when it started, with their threads.
    serving: Vec<(u64, u32)>,
}

#[derive(Default)]
struct Model {
    known: HashMap<u64, Known>,
    open: Vec<u64>,
}

impl Model {
    fn start(&mut self, world: &mut World, id: u64, at: u64, start: Start) {
        let process = start.0.origin.process;
        let serving = self.open.iter().filter_map(|open| {
            let other = &self.known[open].start.0;
            let serves = other.side == Side::Server && other.origin.process == process;
            serves.then_some((*open, other.origin.thread.0))
        });
        let known = Known {
            serving: serving.collect(),
            start: start.clone(),
            started: at,
            ended: None,
        };
        self.known.insert(id, known);
        self.open.push(id);
        world.start(start);
    }

    fn finish(&mut self, world: &mut World, nth: usize, at: u64) {
        if !self.open.is_empty() {
            let id = self.open.remove(nth % self.open.len());
            self.known.get_mut(&id).expect("known").ended = Some(at);
            world.finish(id, at);
        }
    }

    fn open_client(&self, nth: usize) -> Option<u64> {
        let is_client = |id: &&u64| self.known[*id].start.0.side == Side::Client;
        let clients: Vec<u64> = self.open.iter().filter(is_client).copied().collect();
        clients.get(nth % clients.len().max(1)).copied()
    }

    fn act(&mut self, world: &mut World, act: Act, id: u64, at: u64) {
        match act {
            Act::Serve { process, thread } => {
                self.start(
                    world,
                    id,
                    at,
                    server(id, at).process(process).thread(thread),
                );
            }
            Act::Call { process, thread } => {
                // Endpoints differ, so that no call looks like one of a loop.
                let far = format!("10.1.{}.{}", id / 250, id % 250);
                let start = client(id, at).process(process).thread(thread).to(&far);
                self.start(world, id, at, start);
            }
            Act::Meet {
                nth,
                process,
                thread,
            } => {
                if let Some(client) = self.open_client(nth) {
                    let start = server(id, at).on_connection(10_000 + client, client as u32);
                    self.start(world, id, at, start.process(process).thread(thread));
                }
            }
            Act::Finish { nth } => self.finish(world, nth, at),
            Act::Wait => world.wait(at),
        }
    }

    /// Asserts that a parent is one that its evidence allows.
    fn judge(&self, child: u64, parent: u64, evidence: &str) {
        let (below, above) = (&self.known[&child], &self.known[&parent]);
        assert!(above.started <= below.started);
        assert!(above.ended.is_none_or(|ended| ended >= below.started));
        let (to, from) = (&below.start.0, &above.start.0);
        let on_thread = |thread| below.serving.iter().filter(|(_, on)| *on == thread).count();
        match evidence {
            "connection" => assert_eq!(
                (&to.link.remote, to.position, to.side),
                (&from.link.local, from.position, Side::Server)
            ),
            "thread" => {
                assert_eq!(to.origin.thread, from.origin.thread);
                assert_eq!(on_thread(to.origin.thread.0), 1);
                assert!(below.serving.iter().any(|(id, _)| *id == parent));
            }
            "process" => assert_eq!(below.serving, [(parent, from.origin.thread.0)]),
            other => panic!("no such evidence here: {other}"),
        }
    }

    fn judge_all(&self, world: &World) {
        let number = |span: &Span| -> u64 {
            let mark = span.text("user_agent.original").expect("mark");
            mark.parse().expect("number")
        };
        let by_id: HashMap<SpanId, &Span> = world
            .spans
            .iter()
            .map(|span| (span.span_id, span))
            .collect();
        assert_eq!(by_id.len(), self.known.len());
        assert_eq!(world.spans.len(), self.known.len());
        let mut roots: HashSet<TraceId> = HashSet::new();
        for span in &world.spans {
            let Some(parent) = span.parent_span_id else {
                assert!(roots.insert(span.trace_id), "one root a trace");
                continue;
            };
            let parent = by_id[&parent];
            assert_eq!(span.trace_id, parent.trace_id);
            let evidence = span.text("spanlet.parent.evidence").expect("evidence");
            self.judge(number(span), number(parent), &evidence);
        }
    }
}

proptest! {
    #[test]
    fn parents_were_open_and_of_their_rule(acts in acts()) {
        let mut world = World::new();
        let mut model = Model::default();
        let mut at = 0;
        for (id, (act, gap)) in (1..).zip(acts) {
            at += gap;
            model.act(&mut world, act, id, at);
        }
        for id in std::mem::take(&mut model.open) {
            model.known.get_mut(&id).expect("known").ended = Some(at);
            world.finish(id, at);
        }
        world.end(at);
        model.judge_all(&world);
        prop_assert_eq!(world.counts().spans, world.counts().exchanges);
    }

    #[test]
    fn no_header_ends_the_stream(name in 0..6_usize, value in "\\PC{0,80}|[0-9a-f:;=-]{0,80}") {
        let names = ["traceparent", "tracestate", "b3", "x-b3-traceid", "uber-trace-id", "x-amzn-trace-id"];
        let mut world = World::new();
        world.run(server(1, 0).context(names[name], &value), 5);
        world.end(10);
        prop_assert_eq!(world.spans.len(), 1);
    }

    #[test]
    fn no_target_ends_the_stream(target in "\\PC{0,60}|(http://)?[@:/?#%a=&\\[\\]]{0,20}", host in "\\PC{0,20}|[@:\\[\\]a0]{0,8}") {
        let mut world = World::new();
        let mut exchange = client(1, 0).exchange(5);
        exchange.request.target = Some(target.into());
        exchange.request.host = Some(host.into());
        world.enricher.apply(spanlet::decode::Step::Finished(Box::new(exchange)));
        world.end(10);
        prop_assert_eq!(world.spans.len(), 1);
    }
}
