//! Where a setting may come from: flags, environment, file and defaults in, one value for each key out. Touches the
//! file.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::fields::{defaults, Field, FIELDS, SIGNALS};
use super::{environment, fault, Faults, RawConfig};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Flag,
    Variable,
    File,
    Default,
}

/// A setting in effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub key: String,
    /// As TOML; secrets are masked.
    pub value: String,
    pub source: Source,
}

/// What each source says, the strongest first.
pub(super) struct Layers {
    layers: Vec<(Source, Table, RawConfig)>,
}

impl Layers {
    /// Reads every source. What is wrong with one key is a fault, and the key is as if not written.
    pub fn gather(
        path: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
        flags: &RawConfig,
    ) -> (Self, Faults) {
        let mut faults = Faults::new();
        let flags = Table::try_from(flags).unwrap_or_else(|error| {
            fault(&mut faults, "flags", error);
            Table::new()
        });
        let variables = environment::table(env, &mut faults);
        let file = match path {
            Some(path) => file(path, &mut faults),
            None => Table::new(),
        };
        let defaults = defaults().parse().unwrap_or_default();
        let sources = [
            (Source::Flag, flags),
            (Source::Variable, variables),
            (Source::File, file),
            (Source::Default, defaults),
        ];
        let mut selected = false;
        let mut layers = Vec::new();
        for (source, table) in sources {
            let (mut table, mut raw) = checked(table, &mut faults);
            if selected && source != Source::Default {
                forget_selection(&mut table, &mut raw);
            }
            selected |= raw.select.selects();
            layers.push((source, table, raw));
        }
        (Self { layers }, faults)
    }

    /// The first value that `of` finds.
    pub fn pick<T>(&self, of: impl Fn(&RawConfig) -> Option<T>) -> Option<T> {
        self.raw().find_map(of)
    }

    /// What each source says, the strongest first.
    pub fn raw(&self) -> impl Iterator<Item = &RawConfig> {
        self.layers.iter().map(|(_, _, raw)| raw)
    }

    /// Every key that has a value.
    pub fn settings(&self) -> Vec<Setting> {
        let signals = SIGNALS.map(|(section, _)| section);
        let keys = FIELDS.iter().flat_map(|field| {
            let sections = match field.section() {
                "otlp" => [&["otlp"][..], &signals[..]].concat(),
                section => vec![section],
            };
            sections
                .into_iter()
                .map(|section| (section, field.name()))
                .collect::<Vec<_>>()
        });
        keys.filter_map(|(section, name)| self.setting(section, name))
            .collect()
    }

    /// Whether any source but the defaults has the key.
    pub fn written(&self, section: &str, name: &str) -> bool {
        self.setting(section, name)
            .is_some_and(|setting| setting.source != Source::Default)
    }

    fn setting(&self, section: &str, name: &str) -> Option<Setting> {
        let key = path(section, name);
        self.layers.iter().find_map(|(source, table, _)| {
            let table = match section {
                "" => table,
                section => table.get(section)?.as_table()?,
            };
            Some(Setting {
                value: masked(name, table.get(name)?),
                key: key.clone(),
                source: *source,
            })
        })
    }
}

fn file(path: &Path, faults: &mut Faults) -> Table {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            fault(
                faults,
                path.display().to_string(),
                format!("cannot read it: {error}"),
            );
            return Table::new();
        }
    };
    text.parse().unwrap_or_else(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(0, |span| text[..span.start.min(text.len())].lines().count());
        fault(
            faults,
            format!("{}, line {line}", path.display()),
            error.message(),
        );
        Table::new()
    })
}

/// Reads each key on its own, so that every fault is found and not only the first.
fn checked(table: Table, faults: &mut Faults) -> (Table, RawConfig) {
    let mut good = Table::new();
    for (key, value) in table {
        match value {
            Value::Table(section) if known(&key) => {
                let keys = section
                    .into_iter()
                    .filter(|(name, value)| sound(&key, name, value, faults))
                    .collect();
                good.insert(key, Value::Table(keys));
            }
            value => {
                if sound("", &key, &value, faults) {
                    good.insert(key, value);
                }
            }
        }
    }
    let raw = RawConfig::deserialize(good.clone()).unwrap_or_else(|error| {
        fault(faults, "configuration", error.message());
        RawConfig::default()
    });
    (good, raw)
}

/// Selections are not mixed: who says `--pid 7` wants that process and not also those that the file names.
fn forget_selection(table: &mut Table, raw: &mut RawConfig) {
    raw.select.forget();
    if let Some(select) = table.get_mut("select").and_then(Value::as_table_mut) {
        select.retain(|name, _| name == "exclude_exec");
    }
}

fn known(section: &str) -> bool {
    let fields = FIELDS.iter().map(Field::section);
    let signals = SIGNALS.iter().map(|(section, _)| *section);
    fields.chain(signals).any(|known| known == section)
}

fn sound(section: &str, name: &str, value: &Value, faults: &mut Faults) -> bool {
    let mut table = Table::from_iter([(name.to_owned(), value.clone())]);
    if !section.is_empty() {
        table = Table::from_iter([(section.to_owned(), Value::Table(table))]);
    }
    let result = RawConfig::deserialize(table);
    if let Err(error) = &result {
        let message = match section.starts_with("otlp") {
            true => without_value(error.message()),
            false => error.message().to_owned(),
        };
        fault(faults, path(section, name), message);
    }
    result.is_ok()
}

/// Only what was expected: the value may be a token in the wrong form.
fn without_value(message: &str) -> String {
    if message.starts_with("unknown field") {
        return message.to_owned();
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "its value cannot be used".to_owned(),
    }
}

fn path(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        section => format!("{section}.{name}"),
    }
}

/// Headers are where tokens are.
fn masked(name: &str, value: &Value) -> String {
    match (name, value) {
        ("headers", Value::Table(headers)) => {
            let headers = headers.keys().map(|name| (name.clone(), "***".into()));
            Value::Table(headers.collect()).to_string()
        }
        _ => value.to_string(),
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, source } = self;
        let source = match source {
            Source::Flag => "flag",
            Source::Variable => "environment",
            Source::File => "file",
            Source::Default => "default",
        };
        write!(f, "{:<50} # {source}", format!("{key} = {value}"))
    }
}
