//! The destination of one signal: what the sources say about it in, a checked [`Target`] out. Touches the
//! certificate files.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, Url};

use super::check::in_range;
use super::layers::Layers;
use super::{fault, Faults, RawConfig, RawOtlp};
use crate::export::otlp::{ClientIdentity, Pem, Protocol, Signal, Target};

/// An endpoint as it was written.
enum Endpoint {
    /// For every signal: HTTP appends the signal's path.
    Base(String),
    /// For one signal: used as it is.
    Exact(String),
}

/// The target; `None` where the signal is not sent.
pub(super) fn target(layers: &Layers, signal: Signal, faults: &mut Faults) -> Option<Target> {
    let options = Options { layers, signal };
    let exact = |raw: &RawConfig| Some(Endpoint::Exact(options.section(raw).endpoint.clone()?));
    let base = |raw: &RawConfig| Some(Endpoint::Base(raw.otlp.endpoint.clone()?));
    let endpoint = layers.pick(|raw| exact(raw).or_else(|| base(raw)));
    let enabled = layers.pick(|raw| raw.otlp.enabled);
    if !enabled.unwrap_or(endpoint.is_some()) {
        return None;
    }
    let protocol = options.pick(|raw| raw.protocol);
    let protocol = protocol.unwrap_or_else(|| usual_protocol(endpoint.as_ref()));
    let endpoint = options.url(endpoint, protocol, faults);
    let timeout = options.pick(|raw| raw.timeout_ms);
    let timeout = in_range(options.at("timeout_ms"), timeout, 1..=600_000, faults);
    let certificate = options.pem("certificate", |raw| raw.certificate.as_deref(), faults);
    if let Some(pem) = &certificate {
        let certificates = Certificate::from_pem_bundle(&pem.bytes);
        if certificates.map_or(true, |certificates| certificates.is_empty()) {
            let path = pem.path.display();
            fault(
                faults,
                options.at("certificate"),
                format!("{path} holds no PEM certificate"),
            );
        }
    }
    Some(Target {
        endpoint,
        protocol,
        headers: options.headers(faults),
        timeout: Duration::from_millis(timeout),
        compression: options.pick(|raw| raw.compression).unwrap_or_default(),
        certificate,
        client: options.client(faults),
    })
}

/// `http/protobuf`, but nobody means it who names the gRPC port.
fn usual_protocol(endpoint: Option<&Endpoint>) -> Protocol {
    let text = match endpoint {
        Some(Endpoint::Base(text) | Endpoint::Exact(text)) => text,
        None => return Protocol::HttpProtobuf,
    };
    match text.trim_end_matches('/').ends_with(":4317") {
        true => Protocol::Grpc,
        false => Protocol::HttpProtobuf,
    }
}

/// What is said about one signal: each source's section for the signal wins over its `[otlp]`.
struct Options<'a> {
    layers: &'a Layers,
    signal: Signal,
}

impl<'a> Options<'a> {
    fn section<'r>(&self, raw: &'r RawConfig) -> &'r RawOtlp {
        match self.signal {
            Signal::Traces => &raw.otlp_traces,
            Signal::Metrics => &raw.otlp_metrics,
        }
    }

    fn pick<T>(&self, of: impl Fn(&'a RawOtlp) -> Option<T>) -> Option<T> {
        self.layers
            .raw()
            .find_map(|raw| of(self.section(raw)).or_else(|| of(&raw.otlp)))
    }

    /// Where a fault is: in the signal's section if that has the key, else in `[otlp]`.
    fn at(&self, name: &str) -> String {
        let section = match self.signal {
            Signal::Traces => "otlp_traces",
            Signal::Metrics => "otlp_metrics",
        };
        match self.layers.written(section, name) {
            true => format!("{section}.{name}"),
            false => format!("otlp.{name}"),
        }
    }

    fn url(&self, endpoint: Option<Endpoint>, protocol: Protocol, faults: &mut Faults) -> String {
        let usual = match protocol {
            Protocol::Grpc => "http://localhost:4317",
            Protocol::HttpProtobuf => "http://localhost:4318",
        };
        let (text, base) = match endpoint {
            Some(Endpoint::Base(text)) => (text, true),
            Some(Endpoint::Exact(text)) => (text, false),
            None => (usual.to_owned(), true),
        };
        let insecure = self.pick(|raw| raw.insecure).unwrap_or(false);
        let whole = match (text.contains("://"), protocol) {
            (false, Protocol::Grpc) if insecure => format!("http://{text}"),
            (false, Protocol::Grpc) => format!("https://{text}"),
            _ => text.clone(),
        };
        let url = Url::parse(&whole)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            // It may hold a password: it is not shown.
            let example = format!("this is not a URL like {usual}");
            fault(faults, self.at("endpoint"), example);
            return String::new();
        };
        if !url.username().is_empty() || url.password().is_some() {
            let what = "holds a user or a password, which would be logged: send them as a header";
            fault(faults, self.at("endpoint"), what);
        }
        match (protocol, base) {
            (Protocol::HttpProtobuf, true) => {
                format!(
                    "{}/{}",
                    url.as_str().trim_end_matches('/'),
                    self.signal.http_path()
                )
            }
            (Protocol::HttpProtobuf, false) => url.to_string(),
            // gRPC has a path of its own.
            (Protocol::Grpc, _) => url.as_str().trim_end_matches('/').to_owned(),
        }
    }

    fn headers(&self, faults: &mut Faults) -> Vec<(HeaderName, HeaderValue)> {
        let written = self.pick(|raw| raw.headers.clone()).unwrap_or_default();
        let mut headers = Vec::new();
        let filed = self.filed_headers(faults);
        for (at, (name, value)) in written
            .into_iter()
            .map(|pair| ("headers", pair))
            .chain(filed.into_iter().map(|pair| ("headers_file", pair)))
        {
            let checked = (
                HeaderName::try_from(name.as_str()),
                HeaderValue::try_from(value.as_str()),
            );
            let (Ok(name), Ok(mut value)) = checked else {
                // What was taken for the name may be a part of a secret.
                let what = "one is not a header's name with a value that can be sent";
                fault(faults, self.at(at), what);
                continue;
            };
            value.set_sensitive(true);
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value));
        }
        headers
    }

    /// What the file of headers holds: a line `name=value` each.
    fn filed_headers(&self, faults: &mut Faults) -> Vec<(String, String)> {
        let Some(path) = self.pick(|raw| raw.headers_file.as_deref()) else {
            return Vec::new();
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                fault(faults, self.at("headers_file"), what);
                return Vec::new();
            }
        };
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let pair = |(number, line): (usize, &str)| {
            let Some((name, value)) = line.split_once('=') else {
                // The line itself may be a secret: it is not shown.
                let what = format!("{}, line {}: is not name=value", path.display(), number + 1);
                fault(faults, self.at("headers_file"), what);
                return None;
            };
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        lines.filter_map(pair).collect()
    }

    fn client(&self, faults: &mut Faults) -> Option<ClientIdentity> {
        let certificate = |raw: &'a RawOtlp| raw.client_certificate.as_deref();
        let key = |raw: &'a RawOtlp| raw.client_key.as_deref();
        match (self.pick(certificate).is_some(), self.pick(key).is_some()) {
            (true, false) => fault(faults, self.at("client_key"), "client_certificate needs it"),
            (false, true) => fault(faults, self.at("client_certificate"), "client_key needs it"),
            _ => {}
        }
        let certificate = self.pem("client_certificate", certificate, faults);
        let key = self.pem("client_key", key, faults);
        let identity = ClientIdentity {
            certificate: certificate?,
            key: key?,
        };
        if Identity::from_pem(&identity.pem()).is_err() {
            let what = "client_certificate and client_key are not a certificate and a key in PEM";
            fault(faults, self.at("client_certificate"), what);
        }
        Some(identity)
    }

    fn pem(
        &self,
        name: &str,
        of: impl Fn(&'a RawOtlp) -> Option<&'a Path>,
        faults: &mut Faults,
    ) -> Option<Pem> {
        let path = self.pick(of)?;
        match std::fs::read(path) {
            Ok(bytes) => Some(Pem {
                path: path.to_owned(),
                bytes,
            }),
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                fault(faults, self.at(name), what);
                None
            }
        }
    }
}
