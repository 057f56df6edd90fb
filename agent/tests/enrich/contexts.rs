//! The formats of trace context, as tables: headers in; trace, parent and evidence, or nothing, out.

use crate::steps::{server, World};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Headers, then the evidence and ids they give.
type Valid = (
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
    &'static str,
);

const VALID: &[Valid] = &[
    (&[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")], "traceparent", TRACE, PARENT),
    (&[("traceparent", " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00 ")], "traceparent", TRACE, PARENT),
    // A later version: as much as version 00 has is read, and more may follow.
    (&[("traceparent", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")], "traceparent", TRACE, PARENT),
    (&[("traceparent", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more-of-it")], "traceparent", TRACE, PARENT),
    (&[("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7")], "b3", TRACE, PARENT),
    (&[("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-05e3ac9a4f6e3b90")], "b3", TRACE, PARENT),
    (&[("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-d")], "b3", "0000000000000000a3ce929d0e0e4736", PARENT),
    (&[("x-b3-traceid", TRACE), ("x-b3-spanid", PARENT), ("x-b3-sampled", "1")], "b3", TRACE, PARENT),
    (&[("x-b3-traceid", "a3ce929d0e0e4736"), ("x-b3-spanid", PARENT)], "b3", "0000000000000000a3ce929d0e0e4736", PARENT),
    (&[("uber-trace-id", "4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0:1")], "uber-trace-id", TRACE, PARENT),
    (&[("uber-trace-id", "4bf92f3577b34da6a3ce929d0e0e4736%3A00f067aa0ba902b7%3a0%3A1")], "uber-trace-id", TRACE, PARENT),
    (&[("x-amzn-trace-id", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1")], "x-amzn-trace-id", TRACE, PARENT),
    (&[("x-amzn-trace-id", "Self=1-67891234-abc; Root=1-4bf92f35-77b34da6a3ce929d0e0e4736; Parent=00f067aa0ba902b7")], "x-amzn-trace-id", TRACE, PARENT),
    // The strongest wins; a malformed one gives way to the next.
    (&[("b3", "11111111111111111111111111111111-2222222222222222"), ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")], "traceparent", TRACE, PARENT),
    (&[("traceparent", "nonsense"), ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7")], "b3", TRACE, PARENT),
];

const MALFORMED: &[Headers] = &[
    &[("traceparent", "")],
    &[(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    )],
    &[(
        "traceparent",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )],
    &[(
        "traceparent",
        "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )],
    &[(
        "traceparent",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    )],
    &[(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
    )],
    &[(
        "traceparent",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01extra",
    )],
    &[(
        "traceparent",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    )],
    &[(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    )],
    &[(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
    )],
    &[
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ],
    &[("b3", "4bf92f3577b34da6a3ce929d0e0e4736")],
    &[("b3", "4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-1")],
    &[("b3", "0000000000000000-00f067aa0ba902b7-1")],
    &[("b3", "2")],
    &[("x-b3-traceid", TRACE)],
    &[("x-b3-spanid", PARENT)],
    &[(
        "uber-trace-id",
        "4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0",
    )],
    &[("uber-trace-id", "0:f067aa0ba902b7:0:1")],
    &[("uber-trace-id", "+4bf92f:f067aa0ba902b7:0:1")],
    &[(
        "uber-trace-id",
        "14bf92f3577b34da6a3ce929d0e0e47360:f067aa0ba902b7:0:1",
    )],
    &[(
        "x-amzn-trace-id",
        "Root=2-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7",
    )],
    &[(
        "x-amzn-trace-id",
        "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067",
    )],
    &[("x-amzn-trace-id", "Parent=00f067aa0ba902b7")],
];

/// Valid, and names no parent.
const SILENT: &[Headers] = &[
    &[],
    &[("b3", "0")],
    &[("x-b3-sampled", "1")],
    &[("tracestate", "a=b")],
    &[(
        "x-amzn-trace-id",
        "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736",
    )],
];

fn received(headers: Headers) -> World {
    let mut world = World::new();
    let start = headers.iter().fold(server(1, 0), |start, (name, value)| {
        start.context(name, value)
    });
    world.run(start, 5);
    world.end(5);
    world
}

#[test]
fn a_valid_header_names_trace_and_parent() {
    for (headers, evidence, trace, parent) in VALID {
        let world = received(headers);
        let span = world.span(1);
        assert_eq!(world.evidence(1), *evidence, "{headers:?}");
        assert_eq!(span.trace_id.to_string(), *trace, "{headers:?}");
        let found = span.parent_span_id.map(|parent| parent.to_string());
        assert_eq!(found.as_deref(), Some(*parent), "{headers:?}");
        assert!(span.parent_is_remote);
        assert_eq!(world.counts().by_context, 1);
    }
}

#[test]
fn a_malformed_header_is_ignored_and_counted() {
    for headers in MALFORMED {
        let world = received(headers);
        world.assert_root(1);
        assert_eq!(world.counts().context_malformed, 1, "{headers:?}");
    }
}

#[test]
fn a_header_without_a_parent_is_not_malformed() {
    for headers in SILENT {
        let world = received(headers);
        world.assert_root(1);
        assert_eq!(world.counts().context_malformed, 0, "{headers:?}");
    }
}

#[test]
fn trace_state_is_passed_on_with_a_valid_trace_parent_only() {
    let valid = (
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    let b3 = ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7");
    let long = format!("k={}", "v".repeat(257));
    let cases: [(Headers, Option<&str>); 6] = [
        (&[valid, ("tracestate", "a=1,b@c=2")], Some("a=1,b@c=2")),
        (
            &[valid, ("tracestate", "a=1"), ("tracestate", " b=2 ")],
            Some("a=1,b=2"),
        ),
        (&[valid, ("tracestate", "A=1")], None),
        (&[valid, ("tracestate", "a=1=2")], None),
        (&[valid, ("tracestate", &long)], None),
        (&[b3, ("tracestate", "a=1")], None),
    ];
    for (headers, expected) in cases {
        let world = received(headers);
        assert_eq!(
            world.span(1).trace_state.as_deref(),
            expected,
            "{headers:?}"
        );
    }
}
