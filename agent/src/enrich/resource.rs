//! What a span's process is, in the words of the semantic conventions.
//!
//! In: the facts of a process, of its pod and of the host. Out: a [`Resource`]. What the function's owner said in
//! `OTEL_RESOURCE_ATTRIBUTES` wins over what Kubernetes says, and that over what was detected. Arguments may hold secrets and are left out.

use std::borrow::Cow;

use super::span::{Attribute, Resource, Value};
use super::{service, Config};
use crate::attach::ProcessFacts;
use crate::pods::model;

/// Attributes taken from `OTEL_RESOURCE_ATTRIBUTES`; the rest is left out.
const OWN_ATTRIBUTES_MAX: usize = 64;
/// Bytes of one of their values; a longer one is left out.
const OWN_VALUE_BYTES_MAX: usize = 1024;

/// `service.name` of a process.
pub fn service_name(facts: &ProcessFacts) -> String {
    service::name(facts, &own_attributes(facts))
}

/// The resource of a process.
pub fn of(facts: &ProcessFacts, config: &Config) -> Resource {
    let own = own_attributes(facts);
    let mut attributes = vec![
        Attribute::text("service.name", service::name(facts, &own)),
        Attribute::text("service.instance.id", instance(facts, config)),
        Attribute::integer("process.pid", facts.pid.0),
        Attribute::text("os.type", "linux"),
        Attribute::text("telemetry.sdk.name", "spanlet"),
        Attribute::text("telemetry.sdk.language", facts.language.name()),
        Attribute::text("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let optional = [
        ("process.executable.name", known(facts.executable_name())),
        ("process.executable.path", known(&facts.executable_path)),
        ("process.runtime.name", facts.runtime_name.clone()),
        ("process.runtime.version", facts.runtime_version.clone()),
        (
            "container.id",
            facts.place.container.as_ref().map(|id| id.0.to_string()),
        ),
        ("host.name", config.host_name.clone()),
        ("host.id", config.host_id.clone()),
    ];
    attributes.extend(
        optional
            .into_iter()
            .filter_map(|(key, value)| Some(Attribute::text(key, value?))),
    );
    for (key, value) in facts
        .workload
        .iter()
        .flat_map(|workload| &workload.attributes)
    {
        if is_settable(key) {
            set(&mut attributes, key.clone(), said(value));
        }
    }
    for (key, value) in own {
        set(&mut attributes, key.into(), Value::Text(value.into()));
    }
    Resource { attributes }
}

/// What names this instance for good: a pid alone is used again.
fn instance(facts: &ProcessFacts, config: &Config) -> String {
    let host = config.host_id.as_ref().or(config.host_name.as_ref());
    let host = host.map_or("", String::as_str);
    format!("{host}:{}:{}", facts.pid.0, facts.start_ticks)
}

/// The owner's attributes that may be set, percent-decoded (OpenTelemetry: Resource SDK, environment variable).
fn own_attributes(facts: &ProcessFacts) -> Vec<(String, String)> {
    facts
        .resource_attributes
        .iter()
        .take(OWN_ATTRIBUTES_MAX)
        .map(|(key, value)| (decoded(key.trim()), decoded(value.trim())))
        .filter(|(key, value)| is_settable(key) && value.len() <= OWN_VALUE_BYTES_MAX)
        .collect()
}

fn is_settable(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= OWN_VALUE_BYTES_MAX
        && !key.starts_with("telemetry.sdk.")
        && key != "process.pid"
}

fn set(attributes: &mut Vec<Attribute>, key: Cow<'static, str>, value: Value) {
    match attributes.iter_mut().find(|attribute| attribute.key == key) {
        // Its value was chosen with all that names it in view.
        Some(attribute) if attribute.key == "service.name" => {}
        Some(attribute) => attribute.value = value,
        None => attributes.push(Attribute { key, value }),
    }
}

fn said(value: &model::Value) -> Value {
    match value {
        model::Value::Text(text) => Value::Text(text.clone()),
        model::Value::Integer(number) => Value::Integer(*number),
        model::Value::Texts(texts) => Value::Texts(texts.clone()),
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match after {
            [high, low, after @ ..] if *first == b'%' => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                    continue;
                }
                _ => bytes.push(*first),
            },
            _ => bytes.push(*first),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
