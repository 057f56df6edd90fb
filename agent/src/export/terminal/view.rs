//! What a person wants to see of a span: a span in, its words out. Pure.

use std::time::Duration;

use super::text::{clean, Cells, Style};
use crate::enrich::span::{Kind, Span, Status, Value};
use crate::enrich::Evidence;

/// A span in words, all harmless to a terminal.
pub struct View {
    pub service: String,
    /// Requests come in (`←`) or go out (`→`).
    pub arrow: &'static str,
    /// Empty where the path is the span's name.
    pub method: String,
    /// Client: host and port.
    host: String,
    path: String,
    /// Status code; `-` where there is none.
    pub status: String,
    pub status_style: Style,
    pub duration: Duration,
    /// What is to say about it, where the span failed; empty where the status code says it.
    pub error: Option<String>,
    pub evidence: &'static str,
}

impl View {
    pub fn of(span: &Span) -> Self {
        let status = match span.value("http.response.status_code") {
            Some(Value::Integer(code)) => Some(code),
            _ => None,
        };
        let failed = matches!(span.status(), Status::Error(_));
        let (method, (host, path)) = match span.text("http.request.method") {
            Some(method) => (clean(&method), target(span)),
            None => (String::new(), (String::new(), span.name.to_string())),
        };
        Self {
            service: clean(span.resource.text("service.name").unwrap_or("?")),
            arrow: match span.kind() {
                Kind::Server => "←",
                Kind::Client => "→",
            },
            method,
            host: clean(&host),
            path: clean(&path),
            status: status.map_or("-".into(), |code| code.to_string()),
            status_style: status_style(status, failed),
            duration: Duration::from_nanos(span.ended().0.saturating_sub(span.started().0)),
            error: failed.then(|| error(span)),
            evidence: evidence(span),
        }
    }

    /// The status code, with a mark where the span failed: colours may be off.
    pub fn marked_status(&self) -> String {
        match self.error {
            Some(_) => format!("✗ {:>3}", self.status),
            None => self.status.clone(),
        }
    }

    /// Appends the target and, where the status code does not say it, why the request failed: that is worth more
    /// than the end of a long path.
    pub fn put_target(&self, cells: &mut Cells, with_host: bool, end: usize) {
        let error = self.error.as_deref().filter(|error| !error.is_empty());
        let room = cells.room(end);
        let error_columns = error.map_or(0, |error| error.chars().count().min(room / 2) + 2);
        let target_end = end.saturating_sub(error_columns);
        let host = if with_host { self.host.as_str() } else { "" };
        let whole = format!("{host}{}", self.path);
        match whole.chars().count() > cells.room(target_end) {
            true => {
                let short = format!("{}{}", shortened(host), self.path);
                cells.put(Style::Plain, &short, target_end);
            }
            false => cells.put(Style::Plain, &whole, target_end),
        }
        if let Some(error) = error {
            cells.put(Style::Plain, "  ", end);
            cells.put(Style::Red, error, end);
        }
    }
}

/// Server: the path. Client: host and port, and the path.
fn target(span: &Span) -> (String, String) {
    let full = span.text("url.full");
    let full = full.as_deref().and_then(|url| url.split_once("://"));
    let (scheme, rest) = full.unwrap_or_default();
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = span.text("url.path").unwrap_or(path.into()).to_string();
    if span.kind() == Kind::Server {
        return (String::new(), path);
    }
    if !authority.is_empty() {
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.strip_suffix(usual).unwrap_or(authority);
        return (host.to_owned(), path);
    }
    let host = span.text("server.address").unwrap_or_default();
    match span.value("server.port") {
        Some(Value::Integer(port)) if port != 80 => (format!("{host}:{port}"), path),
        _ => (host.to_string(), path),
    }
}

/// `files.storage.svc.cluster.local` says no more than `files…`, where there is no room; addresses stay whole.
fn shortened(host: &str) -> String {
    match host.split_once('.') {
        Some((first, _)) if first.contains(|c: char| !c.is_ascii_digit()) => format!("{first}…"),
        _ => host.to_owned(),
    }
}

/// A root's `none` is not worth a word.
fn evidence(span: &Span) -> &'static str {
    let evidence = span.evidence.filter(|_| span.parent_span_id.is_some());
    evidence.map_or("", Evidence::name)
}

fn status_style(status: Option<i64>, failed: bool) -> Style {
    match status {
        Some(500..) => Style::Red,
        Some(400..) => Style::Yellow,
        _ if failed => Style::Red,
        Some(_) => Style::Green,
        None => Style::Dim,
    }
}

/// The status code is shown already; anything else is named.
fn error(span: &Span) -> String {
    let kind = span.text("error.type").unwrap_or_default();
    let known = kind.is_empty() || kind.bytes().all(|byte| byte.is_ascii_digit());
    match span.status() {
        Status::Error(Some(message)) => message.to_owned(),
        _ if known => String::new(),
        _ => clean(&kind),
    }
}
