//! Every attribute of one server span and one client span, name and value, as a collector received them.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::language::Language;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Attributes, Kind, Span, Status, Value};

use crate::costs::serves_by_thread;
use crate::stage::{Seen, Stage};
use crate::traces::Check;

/// What one span must carry, and nothing else.
struct Expected {
    exact: Vec<(&'static str, Value)>,
    /// Values that depend on the machine or on time: a text that is not empty, a number that is not negative.
    varying: &'static [(&'static str, Presence)],
}

#[derive(Clone, Copy, PartialEq)]
enum Presence {
    Must,
    /// Left out where it would not be true: another thread, a kernel without the probe.
    May,
}
use Presence::{May, Must};

const SERVER_VARYING: &[(&str, Presence)] = &[
    ("spanlet.time_to_first_byte", Must),
    ("spanlet.cpu_time", May),
    ("spanlet.run_queue_wait", May),
    ("spanlet.read_wait", May),
    ("spanlet.accept_wait", May),
];
const CLIENT_VARYING: &[(&str, Presence)] = &[
    ("network.local.port", Must),
    ("spanlet.parent.evidence", Must),
    ("spanlet.time_to_first_byte", Must),
];
const RESOURCE_VARYING: &[(&str, Presence)] = &[
    ("container.id", May),
    ("host.id", May),
    ("service.instance.id", Must),
];

pub fn server(stage: &Stage, case: &'static str) -> Result<Check> {
    let mut connection = Connection::open(&stage.main.address)?;
    let request =
        Request::get(format!("/t/{case}:0/hello?name=value")).header("User-Agent", "spanlet-e2e/1");
    let answer = connection.exchange(&request)?;
    let client_port = connection.local_port()?.context("no port")?;
    let (pid, port) = (
        stage.main.pid(),
        stage.main.address.port().context("no port")?,
    );
    let expected = Expected {
        exact: vec![
            ("client.address", text("127.0.0.1")),
            ("client.port", integer(client_port)),
            ("http.request.body.size", integer(0)),
            ("http.request.method", text("GET")),
            ("http.response.body.size", integer(answer.body_bytes)),
            ("http.response.status_code", integer(200)),
            ("network.local.address", text("127.0.0.1")),
            ("network.local.port", integer(port)),
            ("network.peer.address", text("127.0.0.1")),
            ("network.peer.port", integer(client_port)),
            ("network.protocol.name", text("http")),
            ("network.protocol.version", text("1.1")),
            ("network.transport", text("tcp")),
            ("network.type", text("ipv4")),
            ("server.address", text("127.0.0.1")),
            ("server.port", integer(port)),
            ("spanlet.end.evidence", text("counted")),
            ("spanlet.parent.evidence", text("none")),
            ("url.path", text(&format!("/t/{case}:0/hello"))),
            ("url.query", text("name=REDACTED")),
            ("url.scheme", text("http")),
            ("user_agent.original", text("spanlet-e2e/1")),
        ],
        varying: SERVER_VARYING,
    };
    let resource = resource(stage, pid)?;
    Ok(Box::new(move |seen| {
        let span = only(seen, case, Kind::Server, pid)?;
        ensure!(
            span.parent_span_id.is_none() && span.trace_state.is_empty(),
            "{span:?}"
        );
        check(span, &expected, &resource)
    }))
}

pub fn client(stage: &Stage, case: &'static str) -> Result<Check> {
    let target = format!("/t/{case}:0/hello");
    let request = Request::get(format!("/t/{case}:0/chain?path={target}"));
    let answer = Connection::open(&stage.main.address)?.exchange(&request)?;
    let (pid, port) = (
        stage.main.pid(),
        stage.next.address.port().context("no port")?,
    );
    let mut exact = vec![
        ("http.request.body.size", integer(0)),
        ("http.request.method", text("GET")),
        ("http.response.body.size", integer(answer.body_bytes)),
        ("http.response.status_code", integer(200)),
        ("network.local.address", text("127.0.0.1")),
        ("network.peer.address", text("127.0.0.1")),
        ("network.peer.port", integer(port)),
        ("network.protocol.name", text("http")),
        ("network.protocol.version", text("1.1")),
        ("network.transport", text("tcp")),
        ("network.type", text("ipv4")),
        ("server.address", text("127.0.0.1")),
        ("server.port", integer(port)),
        ("spanlet.end.evidence", text("counted")),
        (
            "url.full",
            text(&format!("http://127.0.0.1:{port}{target}")),
        ),
        ("url.path", text(&target)),
        ("url.scheme", text("http")),
    ];
    if let Some(agent) = user_agent(stage.language)? {
        exact.push(("user_agent.original", text(&agent)));
    }
    let allowed = evidence(stage.language);
    let serves_by_thread = serves_by_thread(stage.language);
    let expected = Expected {
        exact,
        varying: CLIENT_VARYING,
    };
    let resource = resource(stage, pid)?;
    Ok(Box::new(move |seen| {
        let span = only(seen, case, Kind::Client, pid)?;
        let evidence = span.text("spanlet.parent.evidence").unwrap_or_default();
        let has_parent = span.parent_span_id.is_some();
        ensure!(has_parent == (evidence != "none"), "{span:?}");
        // A call that one request makes among many that make none: by the process alone it looks like a poll.
        let may_be_none = !serves_by_thread && evidence == "none";
        ensure!(
            may_be_none || allowed.contains(&evidence),
            "evidence {evidence:?}, not of {allowed:?}"
        );
        check(span, &expected, &resource)
    }))
}

fn check(span: &Span, expected: &Expected, resource: &Expected) -> Result<()> {
    let name = "GET /t/{id}/*";
    ensure!(span.name == name, "name {:?}, not {name:?}", span.name);
    ensure!(span.status == Status::Unset, "status {:?}", span.status);
    ensure!(span.scope.0 == "spanlet", "scope {:?}", span.scope);
    expected.compare(&span.attributes).context("attributes")?;
    resource.compare(&span.resource).context("resource")
}

impl Expected {
    /// All differences at once.
    fn compare(&self, found: &Attributes) -> Result<()> {
        let mut faults = Vec::new();
        for (key, value) in &self.exact {
            match found.get(*key) {
                Some(other) if other == value => {}
                other => faults.push(format!("{key} is {other:?}, not {value:?}")),
            }
        }
        for (key, presence) in self.varying {
            match found.get(*key) {
                Some(value) if is_sensible(value) => {}
                None if *presence == May => {}
                other => faults.push(format!("{key} is {other:?}")),
            }
        }
        let exact = self.exact.iter().map(|(key, _)| *key);
        let known: BTreeSet<_> = exact
            .chain(self.varying.iter().map(|(key, _)| *key))
            .collect();
        let unknown = found
            .iter()
            .filter(|(key, _)| !known.contains(key.as_str()));
        faults.extend(unknown.map(|(key, value)| format!("{key} is unexpected: {value:?}")));
        ensure!(faults.is_empty(), "{}", faults.join("; "));
        Ok(())
    }
}

fn is_sensible(value: &Value) -> bool {
    match value {
        Value::Text(text) => !text.is_empty(),
        Value::Integer(integer) => *integer >= 0,
        Value::Double(double) => *double >= 0.0,
        Value::Boolean(_) => true,
        Value::Array(values) => !values.is_empty(),
    }
}

/// What the first call of `main` may be known by. A thread for each request: nothing but the thread.
fn evidence(language: Language) -> &'static [&'static str] {
    match language {
        Language::Go => &["goroutine", "thread", "process"],
        Language::Node => &["turn", "thread", "process"],
        Language::Python | Language::Java | Language::C => &["thread"],
    }
}

/// The resource of `main`.
fn resource(stage: &Stage, pid: u32) -> Result<Expected> {
    let executable = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let name = executable
        .file_name()
        .context("no executable name")?
        .to_string_lossy();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let mut exact = vec![
        ("host.name", text(host.trim_end())),
        ("os.type", text("linux")),
        ("process.executable.name", text(&name)),
        (
            "process.executable.path",
            text(&executable.to_string_lossy()),
        ),
        ("process.pid", integer(pid)),
        ("service.name", text("main")),
        ("telemetry.sdk.language", text(sdk_language(stage.language))),
        ("telemetry.sdk.name", text("spanlet")),
        ("telemetry.sdk.version", text(env!("CARGO_PKG_VERSION"))),
    ];
    if let Some((name, version)) = runtime(stage.language)? {
        exact.push(("process.runtime.name", text(name)));
        exact.push(("process.runtime.version", text(&version)));
    }
    Ok(Expected {
        exact,
        varying: RESOURCE_VARYING,
    })
}

fn sdk_language(language: Language) -> &'static str {
    match language {
        Language::Go => "go",
        Language::Python => "python",
        Language::Node => "nodejs",
        Language::Java => "java",
        Language::C => "native",
    }
}

/// Runtime name and version, as the runtime itself says.
fn runtime(language: Language) -> Result<Option<(&'static str, String)>> {
    Ok(match language {
        Language::Go => {
            let version = say("go", &["env", "GOVERSION"])?;
            Some(("go", version.trim_start_matches("go").to_owned()))
        }
        Language::Python => {
            let code = "import platform; print(platform.python_version())";
            Some(("cpython", say("python3", &["-c", code])?))
        }
        Language::Node => {
            let version = say("node", &["--version"])?;
            Some(("nodejs", version.trim_start_matches('v').to_owned()))
        }
        Language::Java => {
            let settings = say("java", &["-XshowSettings:properties", "-version"])?;
            let mut lines = settings.lines().map(str::trim);
            let version = lines.find_map(|line| line.strip_prefix("java.runtime.version = "));
            let version = version.context("java does not say its version")?.to_owned();
            Some(("OpenJDK Runtime Environment", version))
        }
        Language::C => None,
    })
}

/// What the client of `/chain` says it is; C's says nothing.
fn user_agent(language: Language) -> Result<Option<String>> {
    Ok(match language {
        Language::Go => Some("Go-http-client/1.1".to_owned()),
        Language::Java => {
            let settings = say("java", &["-XshowSettings:properties", "-version"])?;
            let mut lines = settings.lines().map(str::trim);
            let version = lines.find_map(|line| line.strip_prefix("java.version = "));
            version.map(|version| format!("Java/{version}"))
        }
        Language::Python | Language::Node | Language::C => None,
    })
}

/// What a command prints, on either stream.
fn say(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        output.status
    );
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8(said)?.trim_end().to_owned())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn integer<Number: TryInto<i64>>(value: Number) -> Value {
    Value::Integer(value.try_into().unwrap_or(-1))
}

fn only<'a>(seen: &'a Seen, case: &str, kind: Kind, pid: u32) -> Result<&'a Span> {
    let spans = seen.exactly(case, kind, pid, 1)?;
    spans.first().copied().context("no span")
}
