//! Every function keeps the contract, in every language: what the other cases stand on. No agent here.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::{Function, Options};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{Answer, End, Framing, Request};
use spanlet_e2e::reader::Pace;
use spanlet_e2e::system::monotonic_ns;
use spanlet_e2e::wait::wait_until;

use crate::durations::least;

macro_rules! in_every_language {
    ($($language:ident: $variant:ident),*) => {$(
        mod $language {
            use spanlet_e2e::language::Language::$variant;

            #[test]
            fn answers() -> anyhow::Result<()> { super::answers($variant) }
            #[test]
            fn streams() -> anyhow::Result<()> { super::streams($variant) }
            #[test]
            fn bodies() -> anyhow::Result<()> { super::bodies($variant) }
            #[test]
            fn connections() -> anyhow::Result<()> { super::connections($variant) }
            #[test]
            fn broken_answers() -> anyhow::Result<()> { super::broken_answers($variant) }
            #[test]
            fn addresses() -> anyhow::Result<()> { super::addresses($variant) }
            #[test]
            fn calls() -> anyhow::Result<()> { super::calls($variant) }
            #[test]
            fn hops() -> anyhow::Result<()> { super::hops($variant) }
            #[test]
            fn ground_truth() -> anyhow::Result<()> { super::ground_truth($variant) }
            #[test]
            fn late_reads() -> anyhow::Result<()> { super::late_reads($variant) }
        }
    )*};
}

in_every_language!(go: Go, python: Python, node: Node, java: Java, c: C);

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn start(language: Language) -> Result<Function> {
    Function::start(language, &Options::default())
}

fn get(function: &Function, target: &str) -> Result<Answer> {
    Connection::open(&function.address)?.exchange(&Request::get(target))
}

fn elapsed(answer: &Answer) -> Duration {
    Duration::from_nanos(answer.last_byte_ns - answer.sent_ns)
}

fn answers(language: Language) -> Result<()> {
    let function = start(language)?;
    let hello = format!("hello from {}\n", language.name());
    for target in ["/hello", "/t/abc/hello", "/t/a-b_c.d/hello?x=1"] {
        let answer = get(&function, target)?;
        assert_eq!((answer.status, answer.text()), (200, hello.clone()));
        assert_eq!(
            answer.header("content-length"),
            Some(hello.len().to_string().as_str())
        );
    }
    let mut connection = Connection::open(&function.address)?;
    let head = connection.exchange(&Request::head("/hello"))?;
    assert_eq!((head.status, head.body_bytes), (200, 0));
    assert_eq!(
        head.header("content-length"),
        Some(hello.len().to_string().as_str())
    );
    assert_eq!(
        connection.exchange(&Request::get("/hello"))?.text(),
        hello,
        "after HEAD"
    );

    let delayed = get(&function, "/delay?ms=30")?;
    assert_eq!(delayed.text(), "delayed 30\n");
    assert!(elapsed(&delayed) >= Duration::from_millis(30));
    for status in [200, 204, 304, 404, 418, 500, 503] {
        let answer = get(&function, &format!("/error?status={status}"))?;
        let body = format!("status {status}\n");
        let expected = if matches!(status, 204 | 304) {
            String::new()
        } else {
            body
        };
        assert_eq!((answer.status, answer.text()), (status, expected));
    }
    assert_eq!(get(&function, "/nowhere")?.status, 404);
    assert_eq!(get(&function, "/t/abc/nowhere")?.status, 404);
    let echo = Request::get("/echo-headers").header("X-Marker", "a b");
    let echoed = Connection::open(&function.address)?.exchange(&echo)?.text();
    assert!(
        echoed.to_lowercase().contains("x-marker: a b\n"),
        "{echoed}"
    );
    let burned = get(&function, "/burn?ms=20")?.text();
    let nanoseconds = burned
        .trim_end()
        .strip_prefix("cpu_ns=")
        .map(str::parse::<u64>);
    assert!(
        matches!(nanoseconds, Some(Ok(20_000_000..80_000_000))),
        "{burned}"
    );
    Ok(())
}

fn streams(language: Language) -> Result<()> {
    let function = start(language)?;
    let answer = get(&function, "/stream?n=4&ms=100")?;
    assert_eq!(answer.text(), "piece 1\npiece 2\npiece 3\npiece 4\n");
    assert_eq!(answer.end, End::Chunks);
    let spread = Duration::from_nanos(answer.last_byte_ns - answer.first_byte_ns);
    assert!(
        spread >= Duration::from_millis(150),
        "not flushed piece by piece: {spread:?}"
    );
    let events = get(&function, "/stream?n=2&ms=1&sse=1")?;
    assert_eq!(events.text(), "data: piece 1\n\ndata: piece 2\n\n");
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    let old = Request::get("/stream?n=2&ms=1").http10();
    let old = Connection::open(&function.address)?.exchange(&old)?;
    assert_eq!(
        (old.text().as_str(), old.end),
        ("piece 1\npiece 2\n", End::Close)
    );
    Ok(())
}

fn bodies(language: Language) -> Result<()> {
    let function = start(language)?;
    let mut connection = Connection::open(&function.address)?;
    for bytes in [0, 1, 65_537, MIB, GIB] {
        let answer = connection.exchange(&Request::get(format!("/big?bytes={bytes}")))?;
        assert_eq!((answer.body_bytes, answer.end), (bytes, End::Length));
        assert!(answer.body_start.iter().all(|byte| *byte == b'x'));
    }
    for bytes in [0, 1, 65_537, 64 * MIB] {
        let answer = connection.exchange(&Request::get(format!("/file?bytes={bytes}")))?;
        assert_eq!((answer.body_bytes, answer.end), (bytes, End::Length));
        assert!(answer.body_start.iter().all(|byte| *byte == 0));
    }
    for framing in [Framing::ContentLength, Framing::Chunked] {
        for bytes in [0, 1, 65_537, MIB, GIB] {
            let answer = connection.upload("/upload", bytes, framing)?;
            assert_eq!(answer.text(), format!("bytes={bytes}\n"), "{framing:?}");
        }
    }
    let slow = connection.upload("/upload?delay=30", 10, Framing::Chunked)?;
    assert!(elapsed(&slow) >= Duration::from_millis(30));
    connection.read_slowly(Pace {
        bytes: 64 << 10,
        pause: Duration::from_millis(1),
    });
    let answer = connection.exchange(&Request::get("/big?bytes=8388608"))?;
    assert_eq!(answer.body_bytes, 8 * MIB, "to a slow reader");
    Ok(())
}

fn connections(language: Language) -> Result<()> {
    let function = start(language)?;
    let hello = format!("hello from {}\n", language.name());
    for (in_flight, keep_alive) in [(1, true), (1, false), (8, true), (8, false)] {
        let load = Load {
            in_flight,
            requests: 80,
            keep_alive,
        };
        let answers = load.run(&function.address, |index| {
            Request::get(format!("/t/{index}/delay?ms={}", index % 4))
        })?;
        for (index, answer) in answers.iter().enumerate() {
            assert_eq!(answer.text(), format!("delayed {}\n", index % 4));
        }
    }
    let mut connection = Connection::open(&function.address)?;
    for _ in 0..3 {
        connection.send(&Request::get("/hello"))?;
    }
    for _ in 0..3 {
        assert_eq!(connection.receive()?.text(), hello, "pipelined");
    }
    connection.send_split(&Request::get("/hello"), 1, Duration::ZERO)?;
    assert_eq!(connection.receive()?.text(), hello, "byte by byte");
    connection.exchange(&Request::get("/hello").header("Connection", "close"))?;
    assert!(connection.is_closed()?, "asked to close");
    let mut old = Connection::open(&function.address)?;
    assert_eq!(
        old.exchange(&Request::get("/hello").http10())?.text(),
        hello
    );
    assert!(old.is_closed()?, "HTTP/1.0 closes");
    let mut leaving = Connection::open(&function.address)?;
    leaving.send(&Request::get("/delay?ms=20"))?;
    leaving.abort()?;
    assert_eq!(
        get(&function, "/hello")?.text(),
        hello,
        "after an aborted request"
    );
    Ok(())
}

fn broken_answers(language: Language) -> Result<()> {
    let mut function = start(language)?;
    for target in ["/abort", "/abort?reset=1"] {
        let answer = get(&function, target)?;
        assert_eq!((answer.status, answer.end), (200, End::Cut), "{target}");
        assert_eq!(answer.header("content-length"), Some("1000"));
        assert!(answer.body_bytes <= 100);
    }
    let answer = get(&function, "/die")?;
    assert_eq!(
        (answer.status, answer.end, answer.body_bytes),
        (200, End::Cut, 100)
    );
    let status = function.wait(Duration::from_secs(5))?;
    assert_eq!(status.code(), Some(3), "{}", function.said());
    let lines: Vec<_> = function
        .truth()?
        .into_iter()
        .map(|line| line.path)
        .collect();
    assert_eq!(lines, ["/abort", "/abort?reset=1", "/die"]);
    Ok(())
}

fn addresses(language: Language) -> Result<()> {
    let hello = format!("hello from {}\n", language.name());
    for host in ["::1", "::"] {
        let options = Options {
            host: Some(host),
            ..Options::default()
        };
        let function = Function::start(language, &options)?;
        assert_eq!(get(&function, "/hello")?.text(), hello, "{host}");
    }
    if language.has_unix_sockets() {
        let options = Options {
            unix: true,
            ..Options::default()
        };
        let function = Function::start(language, &options)?;
        assert_eq!(get(&function, "/hello")?.text(), hello, "Unix socket");
        assert_eq!(get(&function, "/big?bytes=1048576")?.body_bytes, MIB);
    }
    Ok(())
}

fn calls(language: Language) -> Result<()> {
    let next = start(Language::C)?;
    let options = Options {
        next: Some(next.address.clone()),
        ..Options::default()
    };
    let function = Function::start(language, &options)?;
    let mut connection = Connection::open(&function.address)?;
    let mut chain = |path: &str| connection.exchange(&Request::get(format!("/chain?path={path}")));
    for _ in 0..3 {
        let answer = chain("/t/abc/hello")?;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "hello from c\n")
        );
    }
    let error = chain("/error%3Fstatus=503")?;
    assert_eq!((error.status, error.text().as_str()), (503, "status 503\n"));
    assert_eq!(chain("/stream%3Fn=2%26ms=1")?.text(), "piece 1\npiece 2\n");
    assert_eq!(chain("/big%3Fbytes=1048576")?.body_bytes, MIB);
    assert_eq!(chain("/abort")?.status, 502);
    let fan = get(&function, "/fan?n=4&path=/t/fan/delay%3Fms=200")?;
    assert_eq!(fan.text(), "fan 200,200,200,200\n");
    let called = wait_until(Duration::from_secs(5), "ground truth of the fan", || {
        let mut lines = next.truth()?;
        lines.retain(|line| line.path.starts_with("/t/fan/"));
        Ok(Some(lines).filter(|lines| lines.len() == 4))
    })?;
    let last_start = called.iter().map(|line| line.started_ns).max();
    let first_end = called.iter().map(|line| line.ended_ns).min();
    assert!(last_start < first_end, "not in parallel: {called:?}");
    let load = Load {
        in_flight: 8,
        requests: 40,
        keep_alive: true,
    };
    let answers = load.run(&function.address, |index| {
        Request::get(format!("/chain?path=/delay%3Fms={}", index % 4))
    })?;
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.text(), format!("delayed {}\n", index % 4));
    }
    let heard = chain("/echo-headers")?.text().to_lowercase();
    assert!(!heard.contains("traceparent"), "{heard}");
    Ok(())
}

fn hops(language: Language) -> Result<()> {
    let function = start(language)?;
    let port = function.address.port().context("a port")?;
    let plan = |mode: char, last: u16| {
        format!(
            "{port};/hop/a/0;2;3;{mode};1,2,3|{port};/hop/b/a;100;0;s;|{port};/hop/c/a;100;0;s;|{last};/hop/d/a;100;0;{mode};"
        )
    };
    let follow = |plan: String| {
        let request = Request::get("/hop/a/0").header("X-Plan", plan);
        Connection::open(&function.address)?.exchange(&request.header("X-Node", "0".to_owned()))
    };
    let (one_by_one, at_once) = (follow(plan('s', port))?, follow(plan('p', port))?);
    for answer in [&one_by_one, &at_once] {
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    }
    assert!(elapsed(&one_by_one) >= least(language, 305));
    assert!(elapsed(&at_once) >= least(language, 105));
    assert!(elapsed(&at_once) < elapsed(&one_by_one));
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    for mode in ['s', 'p'] {
        assert_eq!(follow(plan(mode, nobody))?.status, 502, "{mode}");
    }
    // The last line is written when the answer is over.
    let lines = wait_until(Duration::from_secs(5), "14 lines of ground truth", || {
        Ok(Some(function.truth()?).filter(|lines| lines.len() == 14))
    })?;
    let mut paths: Vec<_> = lines.into_iter().map(|line| line.path).collect();
    paths.sort();
    let times = |count: usize, path: &str| vec![path.to_owned(); count];
    let expected = [
        times(4, "/hop/a/0"),
        times(4, "/hop/b/a"),
        times(4, "/hop/c/a"),
        times(2, "/hop/d/a"),
    ];
    assert_eq!(paths, expected.concat());
    Ok(())
}

fn ground_truth(language: Language) -> Result<()> {
    let function = start(language)?;
    let load = Load {
        in_flight: 8,
        requests: 40,
        keep_alive: true,
    };
    let before = monotonic_ns();
    let answers = load.run(&function.address, |index| {
        Request::get(format!("/t/{index}/delay?ms=20"))
    })?;
    let lines = wait_until(Duration::from_secs(5), "40 lines of ground truth", || {
        Ok(Some(function.truth()?).filter(|lines| lines.len() == 40))
    })?;
    let after = monotonic_ns();
    for (index, answer) in answers.iter().enumerate() {
        let path = format!("/t/{index}/delay?ms=20");
        let mine: Vec<_> = lines.iter().filter(|line| line.path == path).collect();
        ensure!(mine.len() == 1, "{} lines for {path}", mine.len());
        let line = mine[0];
        assert_eq!(line.pid, function.pid());
        assert!(before <= line.started_ns && line.ended_ns <= after);
        assert!(answer.sent_ns <= line.started_ns, "the same clock");
        let worked = Duration::from_nanos(line.ended_ns - line.started_ns);
        assert!(worked >= least(language, 20), "{worked:?}");
    }
    Ok(())
}

fn late_reads(language: Language) -> Result<()> {
    let function = start(language)?;
    let mut connection = Connection::open(&function.address)?;
    let armed = connection.exchange(&Request::get("/late?ms=200"))?;
    if !language.has_late() {
        assert_eq!(armed.status, 404);
        return Ok(());
    }
    assert_eq!(armed.text(), "late 200\n");
    let late = connection.exchange(&Request::get("/hello"))?;
    assert!(elapsed(&late) >= Duration::from_millis(200));
    let usual = connection.exchange(&Request::get("/hello"))?;
    assert!(
        elapsed(&usual) < Duration::from_millis(150),
        "late only once"
    );
    Ok(())
}
