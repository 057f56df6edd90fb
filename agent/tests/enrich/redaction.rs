//! What must not leave the node: canaries in queries, credentials and arguments.

use crate::steps::{client, server, told, World};
use spanlet::attach::ProcessFacts;
use spanlet::capture::event::HostPid;
use spanlet::decode::Step;
use spanlet::enrich::{Config, Query, Span};

const CANARY: &str = "canary";

fn spans_of(target: &str, query: Query) -> Vec<Span> {
    let mut world = World::with(Config {
        query,
        ..Config::default()
    });
    world.enricher.process(ProcessFacts {
        pid: HostPid(1),
        executable_path: "/bin/function".to_owned(),
        command_args: vec!["function".to_owned(), "--password=canary".to_owned()],
        ..ProcessFacts::default()
    });
    for start in [server(1, 0), client(2, 0)] {
        let mut exchange = start.exchange(5);
        exchange.request.target = Some(target.into());
        exchange.request.context = vec![("x-other".to_owned(), CANARY.to_owned())];
        world.enricher.apply(Step::Finished(Box::new(exchange)));
    }
    world.end(10);
    world.spans
}

const TARGETS: [&str; 7] = [
    "/a?token=canary",
    "/a?canary",
    "/a?x=1&canary&y=canary=canary",
    "/a?x=canary;y=canary",
    "/a#canary",
    "http://user:canary@host/a?token=canary#canary",
    "http://canary@host?canary",
];

#[test]
fn values_and_credentials_do_not_leave_by_default() {
    for target in TARGETS {
        let spans = spans_of(target, Query::default());
        assert_eq!(spans.len(), 2);
        let told: String = spans.iter().map(told).collect();
        assert!(!told.contains(CANARY), "{target}: {told}");
    }
}

#[test]
fn keys_are_kept() {
    let spans = spans_of("/a?token=1&page=2&&flag", Query::Redact);
    assert_eq!(
        spans[0].text("url.query").as_deref(),
        Some("token=REDACTED&page=REDACTED&&REDACTED")
    );
}

#[test]
fn credentials_in_urls_are_marked() {
    let spans = spans_of("http://user:canary@host/a", Query::Keep);
    assert_eq!(
        spans[1].text("url.full").as_deref(),
        Some("http://REDACTED:REDACTED@host/a")
    );
    assert_eq!(spans[1].text("server.address").as_deref(), Some("host"));
}

#[test]
fn signatures_do_not_leave_even_where_queries_may() {
    let spans = spans_of(
        "/a?page=2&sig=canary&X-Goog-Signature=canary&AWSAccessKeyId=canary",
        Query::Keep,
    );
    let expected = "page=2&sig=REDACTED&X-Goog-Signature=REDACTED&AWSAccessKeyId=REDACTED";
    assert_eq!(spans[0].text("url.query").as_deref(), Some(expected));
    let told: String = spans.iter().map(told).collect();
    assert!(!told.contains(CANARY), "{told}");
}

#[test]
fn queries_can_be_left_out() {
    for span in spans_of("/a?token=canary", Query::Drop) {
        assert_eq!(span.value("url.query"), None);
        assert!(!told(&span).contains('?'));
    }
}
