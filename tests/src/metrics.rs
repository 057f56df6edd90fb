//! OTLP/JSON metrics as a collector's file exporter writes them. In: lines. Out: the latest value of each series.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One series of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// `service.name` of its resource.
    pub service: String,
    pub name: String,
    /// The values of its attributes, in the order in which they came.
    pub labels: Vec<String>,
    pub value: f64,
}

/// The series of a file exporter's output; a last line without its end is left for later.
pub fn parse(text: &str) -> Result<Vec<Metric>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut latest = BTreeMap::new();
    for line in whole.lines() {
        let request: Request =
            serde_json::from_str(line).with_context(|| format!("collector output: {line}"))?;
        for resource_metrics in request.resource_metrics {
            let service = service(&resource_metrics.resource);
            let scopes = resource_metrics.scope_metrics.into_iter();
            for wire in scopes.flat_map(|scope| scope.metrics) {
                for point in wire
                    .sum
                    .or(wire.gauge)
                    .context("no sum and no gauge")?
                    .data_points
                {
                    let labels = labels(&point.attributes);
                    latest.insert((service.clone(), wire.name.clone(), labels), point.value()?);
                }
            }
        }
    }
    let series = latest.into_iter();
    Ok(series
        .map(|((service, name, labels), value)| Metric {
            service,
            name,
            labels,
            value,
        })
        .collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics {
    resource: Resource,
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Deserialize)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct ScopeMetrics {
    metrics: Vec<WireMetric>,
}

#[derive(Deserialize)]
struct WireMetric {
    name: String,
    sum: Option<Points>,
    gauge: Option<Points>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Points {
    data_points: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    #[serde(default)]
    attributes: Vec<Attribute>,
    as_int: Option<String>,
    as_double: Option<f64>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    string_value: Option<String>,
}

impl Point {
    fn value(&self) -> Result<f64> {
        match &self.as_int {
            Some(integer) => Ok(integer.parse()?),
            None => self.as_double.context("a point without a value"),
        }
    }
}

fn service(resource: &Resource) -> String {
    let named = resource.attributes.iter();
    let name = named
        .filter(|attribute| attribute.key == "service.name")
        .find_map(|attribute| attribute.value.string_value.clone());
    name.unwrap_or_default()
}

fn labels(attributes: &[Attribute]) -> Vec<String> {
    let texts = attributes.iter();
    texts
        .map(|attribute| attribute.value.string_value.clone().unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_value_of_each_series_is_kept() -> Result<()> {
        let line = |value: &str| {
            format!(
                r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"s"}}}}]}},"scopeMetrics":[{{"metrics":[{{"name":"m","sum":{{"dataPoints":[{{"attributes":[{{"key":"reason","value":{{"stringValue":"r"}}}}],"asInt":"{value}"}}]}}}}]}}]}}]}}"#
            )
        };
        let metrics = parse(&format!("{}\n{}\n{{\"half", line("1"), line("2")))?;
        let expected = Metric {
            service: "s".to_owned(),
            name: "m".to_owned(),
            labels: vec!["r".to_owned()],
            value: 2.0,
        };
        assert_eq!(metrics, [expected]);
        assert!(parse("{\"resourceMetrics\":[{}]}\n").is_err());
        Ok(())
    }
}
