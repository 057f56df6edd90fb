//! OTLP over HTTP with protobuf: an encoded message in, the encoded answer or a failure out. Touches the network.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{redirect, Certificate, Identity, Response};
use tonic::codegen::Bytes;

use super::status::{retry_after, status_message};
use super::{header_map, with_causes, Compression, Target, USER_AGENT};
use crate::export::retry::{Failure, Retry};

/// An answer is a few bytes; more than this is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A client for one URL.
pub(super) struct Http {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    compression: Compression,
}

impl Http {
    pub fn new(target: &Target) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .use_rustls_tls()
            .tls_built_in_webpki_certs(target.endpoint.starts_with("https:"))
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none());
        let describe = |error: reqwest::Error| with_causes(&error);
        if let Some(pem) = &target.certificate {
            for root in Certificate::from_pem_bundle(&pem.bytes).map_err(describe)? {
                builder = builder.add_root_certificate(root);
            }
        }
        if let Some(client) = &target.client {
            builder = builder.identity(Identity::from_pem(&client.pem()).map_err(describe)?);
        }
        Ok(Self {
            client: builder.build().map_err(describe)?,
            url: target.endpoint.clone(),
            headers: header_map(target),
            compression: target.compression,
        })
    }

    pub async fn send(&self, body: Bytes) -> Result<Bytes, Failure> {
        let mut request = self
            .client
            .post(&self.url)
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        if self.compression != Compression::None {
            request = request.header(CONTENT_ENCODING, self.compression.name());
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return read(answer).await.map_err(unreachable);
        }
        let retry = retry(status.as_u16(), answer.headers());
        // The reason is a courtesy: without it the status says enough.
        let reason = status_message(&read(answer).await.unwrap_or_default());
        Err(Failure {
            retry,
            message: format!("{status}{reason}"),
        })
    }
}

fn unreachable(error: reqwest::Error) -> Failure {
    Failure {
        retry: if error.is_builder() {
            Retry::Never
        } else {
            Retry::BackOff
        },
        message: with_causes(&error.without_url()),
    }
}

/// OTLP specification, "OTLP/HTTP Response": which codes may be tried again.
fn retry(status: u16, headers: &HeaderMap) -> Retry {
    if !matches!(status, 429 | 502 | 503 | 504) {
        return Retry::Never;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let asked = headers
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, now));
    asked.map_or(Retry::BackOff, Retry::After)
}

async fn read(mut answer: Response) -> Result<Bytes, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(body.into())
}
