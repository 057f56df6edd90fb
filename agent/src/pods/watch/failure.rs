//! What went wrong when the API server was asked. In: errors of the client. Out: a [`Problem`], for people and for counting.

use std::error::Error;

use kube::core::Status;
use kube::runtime::watcher;
use tokio::time::error::Elapsed;

use super::meter::Trouble;
use super::ANSWER;
use crate::pods::model::{Failure, Kind};

/// Bytes of a message that are kept.
const MESSAGE_BYTES_MAX: usize = 300;

/// See the file's head.
#[derive(Debug)]
pub struct Problem {
    pub trouble: Trouble,
    /// `cannot list services: forbidden; grant the agent the verb list on services`
    pub message: String,
    /// The server's answer was that there is no such object.
    pub is_absent: bool,
    /// The same question may have another answer soon.
    pub may_pass: bool,
    /// What was being told may have been lost: all has to be told again.
    pub is_gap: bool,
}

impl Problem {
    /// Nothing was asked yet.
    pub fn unreachable(message: &str) -> Self {
        Self {
            trouble: Trouble::Unreachable,
            message: cut(message),
            is_absent: false,
            may_pass: true,
            is_gap: false,
        }
    }

    /// There was no answer in time.
    pub fn silence(verb: &str, resource: &str) -> Self {
        let seconds = ANSWER.as_secs();
        Self::unreachable(&format!(
            "cannot {verb} {resource}: no answer for {seconds} s"
        ))
    }

    /// What one question came to.
    pub fn of_answer<T>(
        answer: Result<kube::Result<T>, Elapsed>,
        verb: &str,
        resource: &str,
    ) -> Result<T, Self> {
        match answer {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(error)) => Err(Self::of(&error, verb, resource)),
            Err(_) => Err(Self::silence(verb, resource)),
        }
    }

    /// Why following a kind came to a halt.
    pub fn of_watch(error: &watcher::Error, kind: Kind) -> Self {
        let resource = resource(kind);
        match error {
            watcher::Error::InitialListFailed(error) => Self::of(error, "list", resource),
            watcher::Error::WatchStartFailed(error) => {
                let problem = Self::of(error, "watch", resource);
                Self {
                    // The watcher would ask for what follows the same version again.
                    is_gap: problem.trouble == Trouble::Expired,
                    ..problem
                }
            }
            watcher::Error::WatchFailed(error) => Self {
                // What is no event is taken for a refusal.
                is_gap: matches!(error, kube::Error::SerdeError(_) | kube::Error::Api(_)),
                ..Self::of(error, "watch", resource)
            },
            watcher::Error::WatchError(status) => Self::of_status(status, "watch", resource),
            watcher::Error::NoResourceVersion => Self {
                trouble: Trouble::Malformed,
                ..Self::unreachable(&format!("cannot watch {resource}: it has no version"))
            },
        }
    }

    fn of(error: &kube::Error, verb: &str, resource: &str) -> Self {
        let trouble = match error {
            kube::Error::Api(status) => return Self::of_status(status, verb, resource),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Trouble::Malformed,
            _ => Trouble::Unreachable,
        };
        Self {
            trouble,
            may_pass: trouble == Trouble::Unreachable,
            ..Self::unreachable(&format!("cannot {verb} {resource}: {}", causes(error)))
        }
    }

    fn of_status(status: &Status, verb: &str, resource: &str) -> Self {
        let (trouble, reason) = match status.code {
            401 => (
                Trouble::Unauthorized,
                "the API server does not accept the agent's token".to_owned(),
            ),
            403 => (
                Trouble::Forbidden,
                format!("forbidden; grant the agent the verb {verb} on {resource}"),
            ),
            410 => (Trouble::Expired, "what was known is too old".to_owned()),
            code => (Trouble::Refused, format!("{} ({code})", status.message)),
        };
        Self {
            trouble,
            is_absent: status.code == 404,
            may_pass: matches!(status.code, 401 | 410 | 429 | 500..),
            ..Self::unreachable(&format!("cannot {verb} {resource}: {reason}"))
        }
    }

    /// As the index has to know it.
    pub fn failure(&self) -> Failure {
        match self.trouble {
            Trouble::Forbidden => Failure::Forbidden,
            _ => Failure::Other,
        }
    }
}

/// As roles call what is listed and watched.
pub fn resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Pods | Kind::ClusterPods => "pods",
        Kind::Namespaces => "namespaces",
        Kind::Services => "services",
        Kind::Node => "nodes",
        Kind::Owners => "replicasets.apps and jobs.batch",
    }
}

/// An error and what caused it, each said once.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
