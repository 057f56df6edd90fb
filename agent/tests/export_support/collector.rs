//! Collectors for tests: real servers on a local port that answer as they are told and keep what they got.
#![allow(dead_code)]

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// What a collector does with one request; the last told is done for ever.
#[derive(Clone)]
pub enum Answer {
    Take,
    TakeBut(i64, &'static str),
    /// gRPC.
    Refuse(Status),
    /// HTTP: status and header lines.
    Status(u16, &'static str),
    /// Never answers.
    Hang,
}

/// What a collector got.
#[derive(Default)]
pub struct Seen {
    /// Requests taken.
    pub requests: Vec<ExportTraceServiceRequest>,
    pub bodies: Vec<Vec<u8>>,
    /// Of every request, taken or not; names in lower case.
    pub headers: Vec<HashMap<String, String>>,
    pub paths: Vec<String>,
}

impl Seen {
    pub fn spans(&self) -> usize {
        let scopes = self
            .requests
            .iter()
            .flat_map(|request| &request.resource_spans);
        let spans = scopes.flat_map(|resource| &resource.scope_spans);
        spans.map(|scope| scope.spans.len()).sum()
    }
}

#[derive(Clone)]
pub struct Collector {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

/// A certificate authority with a server certificate for `localhost` and one for a client.
pub struct Authority {
    pub certificate: String,
    pub server: (String, String),
    pub client: (String, String),
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, key);
        let leaf = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = parameters.signed_by(&key, &issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        Self {
            certificate: root.pem(),
            server: leaf("localhost"),
            client: leaf("spanlet"),
        }
    }
}

impl Collector {
    async fn new(answers: Vec<Answer>) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            answers: Arc::new(Mutex::new(answers.into())),
        };
        (collector, listener)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn look<T>(&self, of: impl FnOnce(&Seen) -> T) -> T {
        of(&self.seen.lock().unwrap())
    }

    /// What to do from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answers.lock().unwrap() = [answer].into();
    }

    /// Waits until something was seen.
    pub async fn wait(&self, until: impl Fn(&Seen) -> bool) {
        let wait = async {
            while !self.look(&until) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .expect("the collector did not see it");
    }

    fn next(&self) -> Answer {
        let mut answers = self.answers.lock().unwrap();
        match answers.len() {
            0 => Answer::Take,
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        }
    }

    pub async fn grpc(answers: Vec<Answer>) -> Self {
        let (collector, listener) = Self::new(answers).await;
        collector.clone().serve_grpc(Server::builder(), listener);
        collector
    }

    pub async fn grpc_tls(authority: &Authority) -> Self {
        let (collector, listener) = Self::new(vec![]).await;
        let (certificate, key) = &authority.server;
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(&authority.certificate));
        let server = Server::builder().tls_config(tls).unwrap();
        collector.clone().serve_grpc(server, listener);
        collector
    }

    fn serve_grpc(self, mut server: Server, listener: TcpListener) {
        let service = TraceServiceServer::new(self)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
    }

    pub async fn http(answers: Vec<Answer>) -> Self {
        let (collector, listener) = Self::new(answers).await;
        let server = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().converse(stream));
            }
        });
        collector
    }

    pub async fn https(authority: &Authority) -> Self {
        let (collector, listener) = Self::new(vec![]).await;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls(authority)));
        let server = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(server.clone().converse(stream));
                }
            }
        });
        collector
    }

    /// Requests of one connection, with Content-Length bodies.
    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut stream = BufReader::new(stream);
        while let Some((path, headers, body)) = read_request(&mut stream).await {
            let coding = headers.get("content-encoding").cloned();
            self.note(path, headers);
            let (head, answer) = match self.next() {
                Answer::Take => ("200 OK".into(), ExportTraceServiceResponse::default()),
                Answer::TakeBut(rejected, why) => ("200 OK".into(), partly(rejected, why)),
                Answer::Status(status, headers) => {
                    (format!("{status} No{headers}"), Default::default())
                }
                Answer::Hang => std::future::pending().await,
                Answer::Refuse(_) => panic!("only gRPC refuses so"),
            };
            if head == "200 OK" {
                self.take(body, coding.as_deref());
            }
            let answer = answer.encode_to_vec();
            let head = format!(
                "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            let whole = [head.as_bytes(), &answer].concat();
            if stream.write_all(&whole).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }

    fn note(&self, path: String, headers: HashMap<String, String>) {
        let mut seen = self.seen.lock().unwrap();
        seen.paths.push(path);
        seen.headers.push(headers);
    }

    fn take(&self, body: Vec<u8>, coding: Option<&str>) {
        let mut plain = Vec::new();
        let mut reader: Box<dyn Read> = match coding {
            Some("gzip") => Box::new(flate2::read::GzDecoder::new(&body[..])),
            Some("zstd") => Box::new(zstd::stream::Decoder::new(&body[..]).unwrap()),
            _ => Box::new(&body[..]),
        };
        reader.read_to_end(&mut plain).unwrap();
        let request = ExportTraceServiceRequest::decode(&plain[..]).unwrap_or_default();
        let mut seen = self.seen.lock().unwrap();
        seen.requests.push(request);
        seen.bodies.push(plain);
    }
}

async fn read_request(
    stream: &mut BufReader<impl AsyncRead + Unpin>,
) -> Option<(String, HashMap<String, String>, Vec<u8>)> {
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .await
        .ok()
        .filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, headers, body))
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        self.seen.lock().unwrap().headers.push(headers.collect());
        let answer = match self.next() {
            Answer::Take => ExportTraceServiceResponse::default(),
            Answer::TakeBut(rejected, why) => partly(rejected, why),
            Answer::Refuse(status) => return Err(status),
            Answer::Hang => std::future::pending().await,
            Answer::Status(..) => panic!("only HTTP answers so"),
        };
        self.seen
            .lock()
            .unwrap()
            .requests
            .push(request.into_inner());
        Ok(Response::new(answer))
    }
}

fn partly(rejected_spans: i64, why: &str) -> ExportTraceServiceResponse {
    ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: why.into(),
        }),
    }
}

fn tls(authority: &Authority) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::CertificateDer;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = &authority.server;
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build();
    rustls::ServerConfig::builder()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap()
}
