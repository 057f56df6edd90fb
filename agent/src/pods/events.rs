//! Touches the API server: tells administrators what they have to know, as Events of the agent's own pod. In: notices. Out:
//! Events, which `kubectl describe pod` and `kubectl events` show.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::Client;
use tokio::sync::mpsc;

use super::notice::Notice;
use super::{watch, Config};

/// Who reports, as Events have it.
const CONTROLLER: &str = "spanlet.dev/agent";
/// What was being done.
const ACTION: &str = "Tracing";
/// Bytes of a note that the API server takes.
const NOTE_BYTES_MAX: usize = 1024;

/// The agent's own pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl OwnPod {
    /// As the chart tells it to the agent; `None` outside a pod, and where Events are not wished.
    pub fn of(env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            namespace: env("SPANLET_POD_NAMESPACE")?,
            name: env("SPANLET_POD_NAME")?,
            uid: env("SPANLET_POD_UID")?,
        })
    }

    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// Tells all that comes, for as long as the agent runs. An Event that cannot be told is in the agent's log. Must be called
/// inside a tokio runtime.
pub fn start(config: &Arc<Config>, pod: OwnPod, notices: mpsc::Receiver<Notice>) {
    tokio::spawn(tell(config.clone(), pod, notices));
}

async fn tell(config: Arc<Config>, pod: OwnPod, mut notices: mpsc::Receiver<Notice>) {
    let mut recorder = None;
    let regarding = pod.reference();
    while let Some(notice) = notices.recv().await {
        if recorder.is_none() {
            recorder = reporting(&config, &pod).await;
        }
        let Some(recorder) = &recorder else {
            continue;
        };
        if let Err(error) = recorder.publish(&event(&notice), &regarding).await {
            tracing::warn!("the Event {} cannot be told: {error}", notice.reason);
        }
    }
}

async fn reporting(config: &Config, pod: &OwnPod) -> Option<Recorder> {
    let client = watch::access(config).await;
    match client.and_then(|config| Ok(Client::try_from(config)?)) {
        Ok(client) => {
            let reporter = Reporter {
                controller: CONTROLLER.to_owned(),
                instance: Some(pod.name.clone()),
            };
            Some(Recorder::new(client, reporter))
        }
        Err(error) => {
            tracing::warn!("Events cannot be told: {error:#}");
            None
        }
    }
}

fn event(notice: &Notice) -> Event {
    Event {
        type_: EventType::Warning,
        reason: notice.reason.to_owned(),
        note: Some(cut(&notice.message)),
        action: ACTION.to_owned(),
        secondary: None,
    }
}

/// As much as is taken, in whole characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(NOTE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(600);
        assert_eq!(cut(&long).len(), 1024);
        assert_eq!(cut(&format!("a{long}")).len(), 1023);
    }

    #[test]
    fn the_own_pod_is_known_only_whole() {
        let all = |name: &str| Some(name.to_lowercase());
        assert_eq!(
            OwnPod::of(all).map(|pod| pod.uid),
            Some("spanlet_pod_uid".into())
        );
        assert_eq!(
            OwnPod::of(|name| all(name).filter(|_| name != "SPANLET_POD_UID")),
            None
        );
    }
}
