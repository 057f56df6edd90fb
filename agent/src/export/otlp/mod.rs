//! OTLP: messages in, the collector's acknowledgement or a failure out, over gRPC or HTTP. Touches the network.

pub mod compress;
pub mod encode;
mod grpc;
mod http;
pub mod status;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tonic::codegen::Bytes;

use super::retry::{Failure, Retry};
use super::Error;
use compress::Packer;

/// Sent as `user-agent`.
const USER_AGENT: &str = concat!("spanlet/", env!("CARGO_PKG_VERSION"));

/// `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    #[serde(rename = "grpc")]
    Grpc,
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// `OTEL_EXPORTER_OTLP_COMPRESSION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    /// As the configuration and HTTP spell it (RFC 9110 §8.4.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What is sent; each has its own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
}

/// A checked destination of one signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// `http` or `https`, host, port and, for HTTP, the whole path.
    pub endpoint: String,
    pub protocol: Protocol,
    /// Values are marked sensitive: `Debug` does not show them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Of one try.
    pub timeout: Duration,
    pub compression: Compression,
    /// Trusted besides the well-known roots.
    pub certificate: Option<Pem>,
    pub client: Option<ClientIdentity>,
}

/// A PEM file as it was read at start.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// What the agent shows to a collector that asks who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    pub certificate: Pem,
    pub key: Pem,
}

/// The collector took the request, perhaps not all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Spans or data points refused.
    pub rejected: i64,
    /// The reason, or a warning.
    pub message: String,
}

/// Sends one signal to one target.
pub struct Client {
    transport: Transport,
    packer: Packer,
    timeout: Duration,
}

enum Transport {
    Grpc(grpc::Grpc),
    Http(http::Http),
}

impl Signal {
    /// Appended to the base URL (OTLP specification, "OTLP/HTTP Request").
    pub fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }

    fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

impl Client {
    /// Sets the transport up; connects at the first request. Must be called inside a tokio runtime.
    pub fn new(target: &Target, signal: Signal) -> Result<Self, Error> {
        // An error means that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let transport = match target.protocol {
            Protocol::Grpc => grpc::Grpc::new(target, signal).map(Transport::Grpc),
            Protocol::HttpProtobuf => http::Http::new(target).map(Transport::Http),
        };
        let refused = |reason: String| Error::Client {
            endpoint: target.endpoint.clone(),
            reason,
        };
        let transport = transport.map_err(refused)?;
        let compression = match transport {
            // It compresses by itself.
            Transport::Grpc(_) => Compression::None,
            Transport::Http(_) => target.compression,
        };
        Ok(Self {
            packer: Packer::new(compression).map_err(|error| refused(error.to_string()))?,
            transport,
            timeout: target.timeout,
        })
    }

    /// An encoded message as it is sent, so that each try costs no more than the sending.
    pub fn pack(&mut self, plain: &mut Vec<u8>) -> Bytes {
        self.packer.pack(plain).into()
    }

    /// One try.
    pub async fn send(&self, body: Bytes) -> Result<Accepted, Failure> {
        let answer = tokio::time::timeout(self.timeout, async {
            match &self.transport {
                Transport::Grpc(grpc) => grpc.send(body).await,
                Transport::Http(http) => http.send(body).await,
            }
        });
        match answer.await {
            Ok(answer) => answer.map(|body| accepted(&body)),
            Err(_) => Err(Failure {
                retry: Retry::BackOff,
                message: format!("no answer within {} ms", self.timeout.as_millis()),
            }),
        }
    }
}

/// Partial success has the same shape on the wire for every signal. A body that cannot be read is a full success:
/// the status said so.
fn accepted(body: &[u8]) -> Accepted {
    let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    Accepted {
        rejected: partial.rejected_spans,
        message: partial.error_message,
    }
}

fn header_map(target: &Target) -> HeaderMap {
    target.headers.iter().cloned().collect()
}

/// An error with its causes, which is where the network's own words are.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

impl ClientIdentity {
    /// Key and certificate in one text.
    pub fn pem(&self) -> Vec<u8> {
        [&self.key.bytes[..], b"\n", &self.certificate.bytes].concat()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.path.display())
    }
}
