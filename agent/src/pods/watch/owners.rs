//! What owns the controllers of this node's pods: asked once for each, when its first pod is seen, and remembered. A watch of
//! them all would cost each node as much as the whole cluster has.
//!
//! In: pods. Out: their ancestors, at once where they are known, else later as updates. Touches the network.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::core::ObjectMeta;
use kube::{Api, Client};
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout, MissedTickBehavior};

use super::failure::Problem;
use super::follow::Pause;
use super::meter::Trouble;
use super::objects::{controller, JobObject, ReplicaSetObject};
use super::{Sink, ANSWER};
use crate::pods::model::{Ancestor, Kind, Owner, Pod, Update};

/// Controllers whose owners are remembered; with more, all are forgotten and asked again.
const OWNERS_MAX: usize = 4096;
/// When it is asked again what was forbidden: a role may have been granted.
const FORBIDDEN_AGAIN: Duration = Duration::from_secs(180);

/// Who is known.
pub struct Owners {
    client: Client,
    /// By the controller's UID; `Unknown`: it is being asked.
    known: Mutex<HashMap<SmolStr, Ancestor>>,
    questions: mpsc::Sender<Question>,
}

/// Whose owner is wanted.
#[derive(Clone)]
pub struct Question {
    namespace: SmolStr,
    controller: Owner,
}

/// The agent may not ask.
struct Forbidden;

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
        let mut forbidden = Vec::new();
        let mut again = interval(FORBIDDEN_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                question = questions.recv() => match question {
                    Some(question) => {
                        let uid = &question.controller.uid;
                        forbidden.retain(|other: &Question| other.controller.uid != *uid);
                        forbidden.extend(self.settle(sink, question).await);
                    }
                    None => return,
                },
                _ = again.tick() => self.ask_again(sink, &mut forbidden).await,
            }
            forbidden.truncate(OWNERS_MAX);
        }
    }

    /// Asks what was forbidden, of each kind until it is forbidden anew.
    async fn ask_again(&self, sink: &Sink, forbidden: &mut Vec<Question>) {
        for question in std::mem::take(forbidden) {
            let kind = &question.controller.kind;
            match forbidden.iter().any(|other| other.controller.kind == *kind) {
                true => forbidden.push(question),
                false => forbidden.extend(self.settle(sink, question).await),
            }
        }
    }

    /// Tells whose owner was asked for; gives the question back where the answer is forbidden.
    async fn settle(&self, sink: &Sink, question: Question) -> Option<Question> {
        let (ancestor, forbidden) = match self.ask(sink, &question).await {
            Ok(ancestor) => (ancestor, None),
            Err(Forbidden) => (Ancestor::Untold, Some(question.clone())),
        };
        let uid = question.controller.uid;
        let ancestor = self.remember(uid.clone(), ancestor);
        let is_told = ancestor != Ancestor::Untold;
        let update = vec![Update::Ancestor(uid, ancestor)];
        match is_told {
            true => sink.tell(Kind::Owners, update).await,
            false => sink.send(update).await,
        }
        forbidden
    }

    async fn ask(&self, sink: &Sink, question: &Question) -> Result<Ancestor, Forbidden> {
        let mut pause = Pause::default();
        loop {
            match self.get(question).await {
                // Another of the same name says nothing of this one.
                Ok(metadata) if metadata.uid.as_deref() != Some(&*question.controller.uid) => {
                    return Ok(Ancestor::Untold);
                }
                Ok(metadata) => {
                    return Ok(controller(&metadata).map_or(Ancestor::None, Ancestor::Known));
                }
                Err(problem) if problem.is_absent => return Ok(Ancestor::Untold),
                Err(problem) => {
                    sink.fail(Kind::Owners, &problem).await;
                    match problem.trouble {
                        Trouble::Forbidden => return Err(Forbidden),
                        _ if problem.may_pass => {}
                        _ => return Ok(Ancestor::Untold),
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
