//! The part of the chart's `values.schema.json` that is the agent's configuration: made from the table of keys, with types
//! found by asking the agent's own reader, so that helm refuses what the agent would refuse.

use std::path::{Path, PathBuf};

use serde_json::{json, Map, Value};
use spanlet::config::fields::{Field, FIELDS, SIGNALS};
use spanlet::config::RawConfig;

/// What the chart sets itself, from other values; a section or a key.
const SET_BY_CHART: [&str; 11] = [
    "socket",
    "go_offsets",
    "health",
    "kubernetes.node_name",
    "kubernetes.pod_name",
    "kubernetes.pod_namespace",
    "kubernetes.kubeconfig",
    "otlp.headers_file",
    "otlp.certificate",
    "otlp.client_certificate",
    "otlp.client_key",
];

/// To write it anew: `SPANLET_WRITE=1 cargo test -p spanlet --test config_schema`.
#[test]
fn the_charts_schema_is_fresh() {
    let text = std::fs::read_to_string(schema_path()).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    let written = schema["properties"]["config"].take();
    let wanted = configuration();
    schema["properties"]["config"] = wanted.clone();
    if std::env::var_os("SPANLET_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        std::fs::write(schema_path(), text).unwrap();
        return;
    }
    assert!(
        written == wanted,
        "deploy/chart/values.schema.json is stale: run SPANLET_WRITE=1 cargo test -p spanlet --test config_schema"
    );
}

#[test]
fn types_are_those_that_the_agent_reads() {
    let of = |key: &str| {
        let field = FIELDS.iter().find(|field| field.key == key).unwrap();
        kind(field)
    };
    assert_eq!(of("thread_clocks"), json!({ "type": "boolean" }));
    assert_eq!(
        of("queue_spans"),
        json!({ "type": "integer", "minimum": 0 })
    );
    assert_eq!(of("otlp.endpoint"), json!({ "type": "string" }));
    assert_eq!(of("query"), json!({ "enum": ["redact", "keep", "drop"] }));
    assert_eq!(
        of("otlp.protocol"),
        json!({ "enum": ["grpc", "http/protobuf"] })
    );
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    assert_eq!(of("select.exec"), texts);
    let numbers = json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } });
    assert_eq!(of("select.ports"), numbers);
    let table = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    assert_eq!(of("otlp.headers"), table);
}

/// The whole of `config`.
fn configuration() -> Value {
    let mut properties = Map::new();
    for field in FIELDS {
        if SET_BY_CHART
            .iter()
            .any(|set| *set == field.key || *set == field.section())
        {
            continue;
        }
        let described = described(field);
        if field.section() == "otlp" && field.name() != "enabled" {
            for (signal, _) in SIGNALS {
                insert(&mut properties, signal, field.name(), described.clone());
            }
        }
        insert(&mut properties, field.section(), field.name(), described);
    }
    object(properties)
}

fn insert(properties: &mut Map<String, Value>, section: &str, name: &str, described: Value) {
    let place = match section {
        "" => properties,
        section => properties
            .entry(section)
            .or_insert_with(|| object(Map::new()))["properties"]
            .as_object_mut()
            .unwrap(),
    };
    place.insert(name.to_owned(), described);
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn described(field: &Field) -> Value {
    let mut described = kind(field);
    described["description"] = json!(field.meaning);
    if !field.default.is_empty() {
        let default: toml::Table = format!("it = {}", field.default).parse().unwrap();
        described["default"] = serde_json::to_value(&default["it"]).unwrap();
    }
    described
}

/// What the agent's reader takes for this key.
fn kind(field: &Field) -> Value {
    let (text, number) = (
        json!({ "type": "string" }),
        json!({ "type": "integer", "minimum": 0 }),
    );
    let candidates = [
        ("true", json!({ "type": "boolean" })),
        ("1", number.clone()),
        (r#""?""#, text.clone()),
        (r#"["?"]"#, json!({ "type": "array", "items": text })),
        ("[1]", json!({ "type": "array", "items": number })),
        (
            r#"{ x = "?" }"#,
            json!({ "type": "object", "additionalProperties": text }),
        ),
    ];
    let taken = candidates
        .into_iter()
        .find(|(value, _)| read(field, value).is_ok());
    taken.map_or_else(|| json!({ "enum": words(field) }), |(_, kind)| kind)
}

/// The words that a key takes, as the reader names them when it is given another.
fn words(field: &Field) -> Vec<String> {
    let fault = read(field, r#""?""#).unwrap_err().to_string();
    let (_, expected) = fault
        .split_once("expected ")
        .unwrap_or_else(|| panic!("{}: of no known type: {fault}", field.key));
    let quoted = expected.split('`').skip(1).step_by(2);
    let words: Vec<_> = quoted.map(str::to_owned).collect();
    assert!(words.len() > 1, "{}: of no known type: {fault}", field.key);
    words
}

fn read(field: &Field, value: &str) -> Result<RawConfig, toml::de::Error> {
    let section = match field.section() {
        "" => String::new(),
        section => format!("[{section}]\n"),
    };
    toml::from_str(&format!("{section}{} = {value}\n", field.name()))
}

fn schema_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart/values.schema.json")
}
