//! The standard OpenTelemetry variables in, the same settings as a file has them out. Pure.

use toml::{Table, Value};

use super::fields::{Field, FIELDS, SIGNALS};
use super::{fault, Faults};

/// What the environment says; an empty variable says nothing (OpenTelemetry specification, "Environment variables").
pub(super) fn table(env: impl Fn(&str) -> Option<String>, faults: &mut Faults) -> Table {
    let mut table = Table::new();
    let mut take = |section: &str, field: &Field, variable: &str, faults: &mut Faults| {
        let text = env(variable).filter(|text| !variable.is_empty() && !text.trim().is_empty());
        let Some(text) = text else { return };
        match value(field, text.trim()) {
            Ok(value) => insert(&mut table, section, field.name(), value),
            Err(message) => fault(faults, variable, message),
        }
    };
    for field in FIELDS {
        take(field.section(), field, &field.variable(""), faults);
        if field.section() == "otlp" {
            for (section, signal) in SIGNALS {
                take(section, field, &field.variable(signal), faults);
            }
        }
        if field.key == "otlp.enabled" {
            take("otlp", field, "OTEL_TRACES_EXPORTER", faults);
        }
    }
    table
}

fn insert(table: &mut Table, section: &str, name: &str, value: Value) {
    let place = match section {
        "" => Some(table),
        section => table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut(),
    };
    if let Some(place) = place {
        place.insert(name.to_owned(), value);
    }
}

fn value(field: &Field, text: &str) -> Result<Value, String> {
    match field.key {
        "otlp.enabled" | "metrics.enabled" => match text {
            "otlp" => Ok(true.into()),
            "none" => Ok(false.into()),
            _ => Err(format!("`{text}` is not known here; give otlp or none")),
        },
        "otlp.insecure" => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(format!("`{text}` is neither true nor false")),
        },
        "otlp.headers" => headers(text),
        "otlp.protocol" => one_of(text, &["grpc", "http/protobuf"]),
        "otlp.compression" => one_of(text, &["none", "gzip", "zstd"]),
        _ if field.default.parse::<i64>().is_ok() => text
            .parse::<i64>()
            .ok()
            .filter(|number| *number >= 0)
            .map(Value::from)
            .ok_or(format!("`{text}` is not a number")),
        _ => Ok(text.into()),
    }
}

fn one_of(text: &str, choices: &[&str]) -> Result<Value, String> {
    match choices.contains(&text) {
        true => Ok(text.into()),
        false => Err(format!(
            "`{text}` is not known; give {}",
            choices.join(" or ")
        )),
    }
}

/// `name=value,name=value`, values percent-encoded (OTLP exporter specification, "Specifying headers").
fn headers(text: &str) -> Result<Value, String> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let headers = pairs.map(|pair| {
        // The pair itself may be a secret: it is not shown.
        let (name, value) = pair.split_once('=').ok_or("is not a list of name=value")?;
        let value = percent_decoded(value.trim()).ok_or(format!(
            "the value of `{}` is not percent-encoded text",
            name.trim()
        ))?;
        Ok((name.trim().to_owned(), Value::from(value)))
    });
    Ok(Value::Table(headers.collect::<Result<Table, String>>()?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn digit(byte: u8) -> Option<u8> {
    u8::try_from(char::from(byte).to_digit(16)?).ok()
}
