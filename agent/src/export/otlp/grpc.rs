//! OTLP over gRPC: an encoded message in, the encoded answer or a failure out. Touches the network.

use prost::bytes::{Buf, BufMut};
use reqwest::header::HeaderMap;
use tonic::client::Grpc as GrpcClient;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::Bytes;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::status::retry_delay;
use super::{header_map, with_causes, Compression, Signal, Target, USER_AGENT};
use crate::export::retry::{Failure, Retry};

/// A channel to a collector.
pub(super) struct Grpc {
    client: GrpcClient<Channel>,
    path: PathAndQuery,
    headers: HeaderMap,
    timeout: std::time::Duration,
}

impl Grpc {
    pub fn new(target: &Target, signal: Signal) -> Result<Self, String> {
        let channel = endpoint(target).map_err(|error| with_causes(&error))?;
        let mut client = GrpcClient::new(channel.connect_lazy());
        client = match target.compression {
            Compression::None => client,
            Compression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => client.send_compressed(CompressionEncoding::Zstd),
        };
        Ok(Self {
            client: client.accept_compressed(CompressionEncoding::Gzip),
            path: PathAndQuery::from_static(signal.grpc_path()),
            headers: header_map(target),
            timeout: target.timeout,
        })
    }

    pub async fn send(&self, body: Bytes) -> Result<Bytes, Failure> {
        let mut client = self.client.clone();
        client.ready().await.map_err(|error| Failure {
            retry: Retry::BackOff,
            message: with_causes(&error),
        })?;
        let mut request = Request::new(body);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        request.set_timeout(self.timeout);
        let answer = client.unary(request, self.path.clone(), Raw).await;
        Ok(answer.map_err(failure)?.into_inner())
    }
}

fn endpoint(target: &Target) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(target.endpoint.clone())?
        .user_agent(USER_AGENT)?
        .connect_timeout(target.timeout);
    if !target.endpoint.starts_with("https:") {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new().with_webpki_roots();
    if let Some(pem) = &target.certificate {
        tls = tls.ca_certificate(Certificate::from_pem(&pem.bytes));
    }
    if let Some(client) = &target.client {
        tls = tls.identity(Identity::from_pem(
            &client.certificate.bytes,
            &client.key.bytes,
        ));
    }
    endpoint.tls_config(tls)
}

fn failure(status: Status) -> Failure {
    // A status with a cause was made here, not by the collector: the connection broke, under whatever code.
    match std::error::Error::source(&status) {
        Some(cause) => Failure {
            retry: Retry::BackOff,
            message: with_causes(cause),
        },
        None => Failure {
            retry: retry(&status),
            message: format!("{:?}: {}", status.code(), status.message()),
        },
    }
}

/// OTLP specification, "Failures": which codes may be tried again.
fn retry(status: &Status) -> Retry {
    let delay = retry_delay(status.details());
    match (status.code(), delay) {
        (Code::Unavailable | Code::ResourceExhausted, Some(delay)) => Retry::After(delay),
        (
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss,
            _,
        ) => Retry::BackOff,
        _ => Retry::Never,
    }
}

/// Bytes in, bytes out: messages are encoded once, not at each try.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
