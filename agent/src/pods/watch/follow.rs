//! Follows one kind of object, for ever: lists it, watches it, and lists it again where the watch cannot go on. In: the API.
//! Out: updates. Touches the network by kube's watcher, which resumes watches and asks for bookmarks.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use kube::runtime::watcher::{self, watcher, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout, Instant};

use super::failure::{resource, Problem};
use super::meter::Trouble;
use super::{Sink, ANSWER};
use crate::pods::model::{Kind, Update};

/// Updates that go on together.
const UPDATES_AT_ONCE: usize = 256;
/// The pause after the first failure; each further one is twice as long.
const PAUSE_LEAST: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MOST: Duration = Duration::from_secs(20);
/// What is too old a second time within this is not asked for at once: lists, one after the other, would be a load.
const EXPIRED_AGAIN: Duration = Duration::from_secs(60);

/// What is told of a kind.
pub enum Told<K> {
    /// All that there are come now.
    Begin,
    There(K),
    Gone(K),
}

/// How long to wait before asking again.
#[derive(Debug, Default)]
pub struct Pause {
    failures: u32,
}

impl Pause {
    /// Half of it is left to chance, so that a thousand agents do not ask at once.
    pub fn next(&mut self) -> Duration {
        let longest = PAUSE_LEAST * 2_u32.pow(self.failures.min(10));
        self.failures += 1;
        let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        longest.min(PAUSE_MOST).mul_f64(0.5 + chance / 2.0)
    }
}

/// Follows a kind.
pub async fn follow<K>(
    sink: &Sink,
    kind: Kind,
    api: Api<K>,
    config: watcher::Config,
    mut take: impl FnMut(Told<K>) -> Option<Update>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut pause = Pause::default();
    let mut expired: Option<Instant> = None;
    loop {
        let mut events = pin!(watcher(api.clone(), config.clone()));
        let mut is_listing = true;
        loop {
            let first = match is_listing {
                true => timeout(ANSWER, events.next()).await,
                // A watch that is silent is ended where it is read.
                false => Ok(events.next().await),
            };
            let (happened, problem) = match first {
                Ok(first) => gather(first, &mut events, kind),
                Err(_) => (Vec::new(), Some(Problem::silence("list", resource(kind)))),
            };
            // To begin is no sign of life.
            let is_alive = happened.iter().any(|event| !matches!(event, Event::Init));
            let mut updates = Vec::with_capacity(happened.len());
            for event in happened {
                match &event {
                    Event::Init => is_listing = true,
                    Event::InitDone => {
                        is_listing = false;
                        sink.meter.told_all(kind);
                    }
                    Event::Apply(_) | Event::InitApply(_) | Event::Delete(_) => {}
                }
                updates.extend(update(event, kind, &mut take));
            }
            match is_alive {
                true => {
                    if expired.is_none_or(|at| at.elapsed() > EXPIRED_AGAIN) {
                        pause = Pause::default();
                    }
                    sink.tell(kind, updates).await;
                }
                false if !updates.is_empty() => sink.send(updates).await,
                false => {}
            }
            if let Some(problem) = problem {
                sink.fail(kind, &problem).await;
                // The API server is there again, after whatever kept it: all that is missing is a new list.
                if problem.trouble == Trouble::Expired {
                    let before = expired.replace(Instant::now());
                    if before.is_none_or(|at| at.elapsed() > EXPIRED_AGAIN) {
                        pause = Pause::default();
                    }
                }
                sleep(pause.next()).await;
                if problem.is_gap || is_listing {
                    break;
                }
            }
        }
    }
}

/// What has happened by now, and what went wrong after it.
fn gather<K>(
    mut next: Option<Result<Event<K>, watcher::Error>>,
    events: &mut (impl Stream<Item = Result<Event<K>, watcher::Error>> + Unpin),
    kind: Kind,
) -> (Vec<Event<K>>, Option<Problem>) {
    let mut happened = Vec::new();
    while let Some(result) = next {
        match result {
            Ok(event) => happened.push(event),
            Err(error) => return (happened, Some(Problem::of_watch(&error, kind))),
        }
        next = match happened.len() {
            UPDATES_AT_ONCE.. => None,
            _ => events.next().now_or_never().flatten(),
        };
    }
    (happened, None)
}

fn update<K>(
    event: Event<K>,
    kind: Kind,
    take: &mut impl FnMut(Told<K>) -> Option<Update>,
) -> Option<Update> {
    match event {
        Event::Init => {
            take(Told::Begin);
            Some(Update::Begin(kind))
        }
        Event::InitDone => Some(Update::Complete(kind)),
        Event::Apply(object) | Event::InitApply(object) => take(Told::There(object)),
        Event::Delete(object) => take(Told::Gone(object)),
    }
}
