//! What asking the API server costs, and how it goes: counted where answers come in. In: answers. Out: [`Source`]s.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::{Body, DynBody};
use tower::Service;

use crate::pods::model::Kind;

/// Shared by those who ask and those who report.
#[derive(Debug, Default)]
pub struct Meter {
    sources: Mutex<[Source; Kind::ALL.len()]>,
}

/// How following a kind goes.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub requests: u64,
    /// Of the bodies of answers.
    pub bytes: u64,
    /// Things that were told.
    pub updates: u64,
    /// How often all that there are were told.
    pub tellings: u64,
    /// By [`Trouble`].
    pub errors: [u64; Trouble::ALL.len()],
    /// When the API server said something last.
    pub heard: Option<Instant>,
    /// Since when it cannot be followed, and why.
    pub failing: Option<(SystemTime, String)>,
}

/// Why something could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The agent may not ask: a role is missing.
    Forbidden,
    /// The agent's token or certificate is not accepted.
    Unauthorized,
    /// What was known is too old to go on from: all is told again.
    Expired,
    /// No connection, no answer, or an answer that broke off.
    Unreachable,
    /// The answer is not what was asked for.
    Malformed,
    /// Another refusal.
    Refused,
}

impl Trouble {
    pub const ALL: [Self; 6] = [
        Self::Forbidden,
        Self::Unauthorized,
        Self::Expired,
        Self::Unreachable,
        Self::Malformed,
        Self::Refused,
    ];

    /// As metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Expired => "expired",
            Self::Unreachable => "unreachable",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
        }
    }
}

impl Meter {
    /// How it goes now.
    pub fn source(&self, kind: Kind) -> Source {
        self.with(kind, |source| source.clone())
    }

    pub(super) fn told(&self, kind: Kind, updates: usize) {
        self.with(kind, |source| {
            source.updates += updates as u64;
            source.failing = None;
        });
    }

    pub(super) fn told_all(&self, kind: Kind) {
        self.with(kind, |source| source.tellings += 1);
    }

    /// Gives whether it was going well until now.
    pub(super) fn failed(&self, kind: Kind, trouble: Trouble, message: &str) -> bool {
        self.with(kind, |source| {
            source.errors[trouble as usize] += 1;
            // What is too old is told anew at once.
            if trouble == Trouble::Expired {
                return false;
            }
            let since = source.failing.take();
            let is_new = since.is_none();
            let since = since.map_or_else(SystemTime::now, |(since, _)| since);
            source.failing = Some((since, message.to_owned()));
            is_new
        })
    }

    fn answered(&self, kind: Kind, is_watch: bool, is_good: bool) {
        self.with(kind, |source| {
            source.heard = Some(Instant::now());
            // A watch that goes on says nothing until something happens.
            if is_watch && is_good {
                source.failing = None;
            }
        });
    }

    fn heard(&self, kind: Kind, bytes: usize) {
        self.with(kind, |source| {
            source.bytes += bytes as u64;
            source.heard = Some(Instant::now());
        });
    }

    fn with<T>(&self, kind: Kind, of: impl FnOnce(&mut Source) -> T) -> T {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        of(&mut sources[kind as usize])
    }
}

/// Counts what goes through a client.
pub struct Layer(pub Arc<Meter>);

/// See [`Layer`].
pub struct Metered<S> {
    inner: S,
    meter: Arc<Meter>,
}

impl<S> tower::Layer<S> for Layer {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        let meter = self.0.clone();
        Metered { inner, meter }
    }
}

impl<S> Service<Request<Body>> for Metered<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>>,
    S::Future: Send + 'static,
{
    type Response = Response<Box<DynBody>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.contains("watch=");
        let kind = kind_of(request.uri().path(), query);
        let meter = self.meter.clone();
        meter.with(kind, |source| source.requests += 1);
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await?;
            meter.answered(kind, is_watch, answer.status().is_success());
            Ok(answer.map(|body| counted(body, kind, meter)))
        }
        .boxed()
    }
}

fn counted(body: Box<DynBody>, kind: Kind, meter: Arc<Meter>) -> Box<DynBody> {
    Box::new(body.map_frame(move |frame| {
        meter.heard(kind, frame.data_ref().map_or(0, |data| data.len()));
        frame
    }))
}

/// What is asked for, by where it is asked.
fn kind_of(path: &str, query: &str) -> Kind {
    let mut parts = path.rsplit('/');
    match (parts.next(), parts.next()) {
        (Some("pods"), _) if query.contains("fieldSelector=") => Kind::Pods,
        (Some("pods"), _) => Kind::ClusterPods,
        (Some("namespaces"), _) => Kind::Namespaces,
        (Some("services"), _) => Kind::Services,
        (_, Some("nodes")) => Kind::Node,
        _ => Kind::Owners,
    }
}
