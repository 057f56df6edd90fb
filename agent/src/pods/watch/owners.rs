//! What owns the controllers of this node's pods: asked once for each, when its first pod is seen, and remembered. A watch of
//! them all would cost each node as much as the whole cluster has.
//!
//! In: pods. Out: their ancestors, at once where they are known, else later as updates. Touches the network.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::core::ObjectMeta;
use kube::{Api, Client};
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::failure::Problem;
use super::follow::Pause;
use super::meter::Trouble;
use super::objects::{controller, JobObject, ReplicaSetObject};
use super::{Sink, ANSWER};
use crate::pods::model::{Ancestor, Kind, Owner, Pod, Update};

/// Controllers whose owners are remembered; with more, all are forgotten and asked again.
const OWNERS_MAX: usize = 4096;

/// Who is known.
pub struct Owners {
    client: Client,
    /// By the controller's UID; `Unknown`: it is being asked.
    known: Mutex<HashMap<SmolStr, Ancestor>>,
    questions: mpsc::Sender<Question>,
}

/// Whose owner is wanted.
pub struct Question {
    namespace: SmolStr,
    controller: Owner,
}

impl Owners {
    /// Nobody yet.
    pub fn new(client: &Client) -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(OWNERS_MAX);
        let owners = Self {
            client: client.clone(),
            known: Mutex::default(),
            questions,
        };
        (owners, asked)
    }

    /// All pods are told again: who could not be asked is asked again.
    pub fn begin(&self) {
        self.with(|known| known.retain(|_, ancestor| *ancestor != Ancestor::Untold));
    }

    /// Completes a pod, or asks for what is missing.
    pub fn complete(&self, pod: &mut Pod) {
        let Some(controller) = pod.controller.clone() else {
            return;
        };
        if pod.ancestor != Ancestor::Unknown {
            return;
        }
        let known = self.with(|known| known.get(&controller.uid).cloned());
        pod.ancestor = known.unwrap_or_else(|| {
            let uid = controller.uid.clone();
            let namespace = pod.namespace.clone();
            let question = Question {
                namespace,
                controller,
            };
            match self.questions.try_send(question) {
                Ok(()) => self.remember(uid, Ancestor::Unknown),
                Err(_) => Ancestor::Untold,
            }
        });
    }

    /// Asks, for ever.
    pub async fn answer(&self, sink: &Sink, mut questions: mpsc::Receiver<Question>) {
        while let Some(question) = questions.recv().await {
            let ancestor = self.ask(sink, &question).await;
            let uid = question.controller.uid;
            let ancestor = self.remember(uid.clone(), ancestor);
            let is_told = ancestor != Ancestor::Untold;
            let update = vec![Update::Ancestor(uid, ancestor)];
            match is_told {
                true => sink.tell(Kind::Owners, update).await,
                false => sink.send(update).await,
            }
        }
    }

    async fn ask(&self, sink: &Sink, question: &Question) -> Ancestor {
        let mut pause = Pause::default();
        loop {
            match self.get(question).await {
                // Another of the same name says nothing of this one.
                Ok(metadata) if metadata.uid.as_deref() != Some(&*question.controller.uid) => {
                    return Ancestor::Untold;
                }
                Ok(metadata) => {
                    return controller(&metadata).map_or(Ancestor::None, Ancestor::Known);
                }
                Err(problem) if problem.is_absent => return Ancestor::Untold,
                Err(problem) => {
                    sink.fail(Kind::Owners, &problem).await;
                    if !matches!(
                        problem.trouble,
                        Trouble::Unreachable | Trouble::Unauthorized
                    ) {
                        return Ancestor::Untold;
                    }
                }
            }
            sleep(pause.next()).await;
        }
    }

    async fn get(&self, question: &Question) -> Result<ObjectMeta, Problem> {
        let (client, namespace) = (self.client.clone(), &question.namespace);
        let name = &question.controller.name;
        if question.controller.kind == "Job" {
            let api: Api<JobObject> = Api::namespaced(client, namespace);
            let answer = timeout(ANSWER, api.get(name)).await;
            Problem::of_answer(answer, "get", "jobs.batch").map(|job| job.metadata)
        } else {
            let api: Api<ReplicaSetObject> = Api::namespaced(client, namespace);
            let answer = timeout(ANSWER, api.get(name)).await;
            Problem::of_answer(answer, "get", "replicasets.apps").map(|set| set.metadata)
        }
    }

    fn remember(&self, uid: SmolStr, ancestor: Ancestor) -> Ancestor {
        self.with(|known| {
            if known.len() >= OWNERS_MAX {
                known.clear();
            }
            known.insert(uid, ancestor.clone());
        });
        ancestor
    }

    fn with<T>(&self, of: impl FnOnce(&mut HashMap<SmolStr, Ancestor>) -> T) -> T {
        of(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
