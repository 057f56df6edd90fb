//! The terminal output: exact text for representative traces, when it appears, and that no writer holds the agent up.

mod export_support;

use std::io::{Error, ErrorKind, Write};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use export_support::{checkout, lone, resource, Make};
use proptest::prelude::*;
use spanlet::enrich::span::{Span, SpanId};
use spanlet::enrich::Evidence;
use spanlet::export::retry::Policy;
use spanlet::export::terminal::{Columns, Held, Printer, Screen};
use spanlet::export::{Config, Exporter, Output, OutputCounts, Reason};

const LONG: Duration = Duration::from_secs(60);

fn screen(columns: usize) -> Screen {
    Screen {
        columns: Columns::Fixed(columns),
        colour: false,
        utc_offset: 0,
    }
}

/// All that is written about these spans, without waiting.
fn printed(output: Output, screen: Screen, spans: Vec<Span>) -> String {
    let mut printer = Printer::new(output, Held::default(), screen);
    let number = spans.len();
    for span in spans {
        printer.push(span, Instant::now());
    }
    printer.finish();
    let (text, spans) = printer.take();
    assert_eq!(spans, number);
    text
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert!(
        text == expected,
        "\n--- is\n{text}\n--- should be\n{expected}"
    );
}

#[test]
fn a_trace_is_a_waterfall_on_80_columns() {
    let expected = "\
12:04:31.218  812 ms  5 spans, 3 errors         07070707070707070707070707070707
  gateway ← GET /checkout         ✗ 502    812 ms  █████████████████
  ├─ → GET /cart/42                 200   12.4 ms  ▒                 thread
  │  └─ cart ← GET /cart/42         200   10.1 ms  ▎                 connection
  └─ → POST /charge               ✗ 503    780 ms  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ thread
     └─ payments ← POST /charge   ✗ 503    777 ms  ████████████████▊ connection
";
    check(&printed(Output::Text, screen(80), checkout()), expected);
}

#[test]
fn a_wide_screen_has_room_for_when_spans_started() {
    let expected = "\
12:04:31.218  812 ms  5 spans, 3 errors                                                 07070707070707070707070707070707
  gateway ← GET /checkout                          ✗ 502              812 ms  ██████████████████████████
  ├─ → GET /cart/42                                  200  +1.20 ms   12.4 ms  ▒                          thread
  │  └─ cart ← GET /cart/42                          200  +1.90 ms   10.1 ms  ▍                          connection
  └─ → POST /charge                                ✗ 503  +20.0 ms    780 ms  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ thread
     └─ payments ← POST /charge                    ✗ 503  +21.0 ms    777 ms  █████████████████████████▌ connection
";
    check(&printed(Output::Text, screen(120), checkout()), expected);
}

#[test]
fn a_call_that_nobody_here_answers_names_its_host() {
    let spans = checkout()
        .into_iter()
        .filter(|span| span.span_id != SpanId([0, 0, 0, 0, 0, 0, 0, 3]));
    let text = printed(Output::Text, screen(80), spans.collect());
    assert!(text.contains("├─ → GET cart:8081/cart/42 "), "{text}");
    assert!(text.contains("└─ → POST /charge "), "{text}");
}

#[test]
fn a_wide_line_has_room_for_the_evidence() {
    let expected = "\
12:04:31.219  cart             ← GET  /cart/42                        200   10.1 ms  connection
";
    let span = checkout().remove(0);
    check(&printed(Output::Lines, screen(100), vec![span]), expected);
}

#[test]
fn waterfalls_stand_apart_and_lines_together() {
    let mut printer = Printer::new(Output::Text, Held::default(), screen(80));
    let mut trace = |spans: Vec<Span>| {
        for span in spans {
            printer.push(span, Instant::now());
        }
        printer.finish();
        printer.take().0
    };
    let waterfall = trace(checkout());
    assert!(waterfall.starts_with("12:04"));
    assert_eq!(trace(checkout()), format!("\n{waterfall}"));
    assert!(trace(vec![lone(1)]).starts_with("\n12:04"));
    assert!(trace(vec![lone(2)]).starts_with("12:04"));
    assert_eq!(trace(checkout()), format!("\n{waterfall}"));
}

#[test]
fn lines_come_as_spans_finish_and_are_aligned() {
    let mut spans = checkout();
    spans.push(lone(9));
    let expected = "\
12:04:31.219  cart             ← GET  /cart/42                     200   10.1 ms
12:04:31.219  gateway          → GET  cart:8081/cart/42            200   12.4 ms
12:04:31.239  payments         ← POST /charge                    ✗ 503    777 ms
12:04:31.238  gateway          → POST payments:8082/charge       ✗ 503    780 ms
12:04:31.218  gateway          ← GET  /checkout                  ✗ 502    812 ms
12:04:31.218  hello            ← GET  /hello                       200   1.50 ms
";
    check(&printed(Output::Lines, screen(80), spans), expected);
}

#[test]
fn what_the_status_does_not_say_is_said() {
    let service = resource("thumbnailer");
    let make = |id, end| Make {
        trace: id,
        id,
        parent: None,
        resource: &service,
        start: 0,
        end,
    };
    let reset = make(1, 3_605_000).server("DELETE", "/images/cat.png", 0);
    let host = "files.storage.svc.cluster.local";
    let long = make(2, 754_000_000).client("GET", host, 80, "/a/rather/long/path", 404);
    let expected = "\
12:04:31.218  thumbnailer      ← DELETE /images/c…  the connect… ✗   -    3.60 s
12:04:31.218  thumbnailer      → GET  files…/a/rather/long/path  ✗ 404 12 m 34 s
";
    check(
        &printed(Output::Lines, screen(80), vec![reset, long]),
        expected,
    );
}

#[test]
fn hostile_text_is_escaped() {
    let service = resource("evil\x1b]0;title\x07\r\n");
    let make = Make {
        trace: 1,
        id: 1,
        parent: None,
        resource: &service,
        start: 0,
        end: 1,
    };
    let span = make.server("GET", "/\x1b[2J\u{9b}31m\u{202e}\u{0}é'", 200);
    let line = printed(Output::Lines, screen(180), vec![span]);
    assert!(line.contains(r"/\u{1b}[2J\u{9b}31m\u{202e}\0é'"), "{line}");
    assert_eq!(
        line.chars().filter(|c| c.is_control()).collect::<String>(),
        "\n"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    let colour = Screen {
        colour: true,
        ..screen(120)
    };
    let painted = printed(Output::Text, colour, checkout());
    assert!(painted.contains("\x1b[31m✗ 503\x1b[0m"));
    let mut plain = String::new();
    for part in painted.split('\x1b') {
        let text = part.strip_prefix('[').and_then(|code| code.split_once('m'));
        plain.push_str(text.map_or(part, |(_, text)| text));
    }
    check(&plain, &printed(Output::Text, screen(120), checkout()));
}

#[test]
fn json_has_the_documented_fields() {
    let span = checkout().remove(2);
    let expected = concat!(
        r#"{"traceId":"07070707070707070707070707070707","spanId":"0000000000000005","#,
        r#""parentSpanId":"0000000000000004","parentIsRemote":true,"name":"POST /charge","kind":"server","#,
        r#""startTimeUnixNano":"1772366671239000000","endTimeUnixNano":"1772366672016000000","#,
        r#""durationNano":777000000,"status":{"code":"error"},"attributes":{"http.request.method":"POST","#,
        r#""url.scheme":"http","url.path":"/charge","network.protocol.name":"http","#,
        r#""http.response.status_code":503,"error.type":"503","spanlet.parent.evidence":"connection"},"resource":{"service.name":"payments"}}"#,
        "\n"
    );
    check(&printed(Output::Json, screen(80), vec![span]), expected);
}

/// What was printed at each of these times, in spans.
fn shown(printer: &mut Printer, now: Instant) -> usize {
    printer.tick(now);
    printer.take().1
}

#[test]
fn a_trace_appears_when_it_is_complete_and_quiet() {
    let mut printer = Printer::new(Output::Text, Held::default(), screen(80));
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut spans = checkout();
    let root = spans.pop().unwrap();
    for span in spans {
        printer.push(span, start);
    }
    // The children's parent is still at work.
    assert_eq!(shown(&mut printer, at(5_000)), 0);
    printer.push(root, at(5_000));
    assert_eq!(shown(&mut printer, at(7_499)), 0);
    assert_eq!(shown(&mut printer, at(7_500)), 5);
    assert_eq!(shown(&mut printer, at(50_000)), 0);
}

#[test]
fn a_trace_whose_parent_never_comes_is_shown_all_the_same() {
    let mut printer = Printer::new(Output::Text, Held::default(), screen(80));
    let start = Instant::now();
    printer.push(checkout().remove(1), start);
    assert_eq!(shown(&mut printer, start + Duration::from_millis(9_999)), 0);
    assert_eq!(shown(&mut printer, start + Duration::from_secs(10)), 1);
}

#[test]
fn a_parent_named_by_a_header_is_not_waited_for() {
    let mut span = checkout().remove(0);
    span.evidence = Some(Evidence::TraceParent);
    let mut printer = Printer::new(Output::Text, Held::default(), screen(80));
    let start = Instant::now();
    printer.push(span, start);
    assert_eq!(shown(&mut printer, start + Held::default().quiet), 1);
}

#[test]
fn held_spans_are_bounded() {
    let held = Held {
        spans_max: 10,
        ..Held::default()
    };
    let mut printer = Printer::new(Output::Text, held, screen(80));
    let start = Instant::now();
    for id in 1..=200u8 {
        // None of these is ever complete.
        let mut span = lone(id);
        span.parent_span_id = Some(SpanId([9; 8]));
        printer.push(span, start + Duration::from_millis(id.into()));
    }
    assert_eq!(printer.take().1, 190);
}

#[test]
fn very_large_traces_are_cut() {
    let service = resource("fan");
    let make = |id, parent| Make {
        trace: 1,
        id,
        parent,
        resource: &service,
        start: id.into(),
        end: 300,
    };
    let spans = (1..=200u8).map(|id| make(id, (id > 1).then_some(1)).server("GET", "/", 200));
    let text = printed(Output::Text, screen(80), spans.collect());
    assert_eq!(text.lines().count(), 62);
    assert!(text.ends_with("  … 140 more spans\n"));
}

proptest! {
    /// Whatever the parents (missing, circles, a chain of a hundred) and the names: each span once, in the width.
    #[test]
    fn any_trace_is_printable(
        parents in prop::collection::vec(0u8..60, 2..50),
        path in ".{0,40}",
        columns in 20usize..200,
    ) {
        let service = resource(&path);
        let spans: Vec<Span> = (0u8..).zip(&parents).map(|(id, parent)| {
            let make = Make { trace: 1, id, parent: Some(*parent), resource: &service, start: id.into(), end: 99 };
            make.server("GET", &format!("/{id}"), 200)
        }).collect();
        let number = spans.len();
        let text = printed(Output::Text, screen(columns), spans);
        prop_assert_eq!(text.lines().count(), number + 1);
        for line in text.lines().skip(1) {
            prop_assert!(line.chars().count() <= columns.clamp(60, 180), "{}", line);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}

fn config(output: Output) -> Config {
    Config {
        output,
        otlp: None,
        queue_spans: 8,
        batch_spans: 1,
        batch_delay: Duration::ZERO,
        retry: Policy::default(),
        held: Held::default(),
    }
}

fn accounted(counts: OutputCounts) -> OutputCounts {
    assert_eq!(counts.accepted, counts.delivered + counts.dropped_total());
    counts
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_exporter_writes_and_the_shutdown_shows_what_is_held() {
    let kept = Kept::default();
    let exporter = Exporter::start_with(config(Output::Text), screen(80), kept.clone()).unwrap();
    exporter.offer(checkout());
    let counts = exporter.shutdown(LONG).await;
    assert!(counts.otlp.is_none());
    assert_eq!(accounted(counts.terminal.unwrap()).delivered, 5);
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    check(&text, &printed(Output::Text, screen(80), checkout()));
}

/// As a pipe whose reader went away.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(Error::from(ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_closed_output_stops_and_its_spans_are_counted() {
    let exporter = Exporter::start_with(config(Output::Lines), screen(80), Closed).unwrap();
    exporter.offer(checkout());
    let counts = accounted(exporter.shutdown(LONG).await.terminal.unwrap());
    assert_eq!(counts.dropped(Reason::OutputClosed), 5);
}

/// As a pager that waits for a key: each write takes a permission.
struct Pager {
    begun: Sender<()>,
    permitted: Receiver<()>,
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.begun.send(());
        let _ = self.permitted.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nothing_up() {
    let (begun, writing) = channel();
    let (permit, permitted) = channel();
    let pager = Pager { begun, permitted };
    let exporter = Exporter::start_with(config(Output::Lines), screen(80), pager).unwrap();
    exporter.offer(vec![lone(1)]);
    writing.recv().unwrap();
    // The thread is in a write: eight of these find room.
    exporter.offer((2..=101).map(lone).collect());
    let counts = exporter.counts().terminal.unwrap();
    assert_eq!(counts.dropped(Reason::QueueFull), 92);
    let counts = accounted(
        exporter
            .shutdown(Duration::from_millis(10))
            .await
            .terminal
            .unwrap(),
    );
    assert_eq!((counts.delivered, counts.dropped(Reason::Shutdown)), (0, 9));
    drop(permit);
}
