//! Go: debug information is read beside the agent, which would read no records meanwhile: it takes 20 ms, and most of a second where
//! what is looked for is not in a program of 200 MB. In: executable files. Out: what was read, remembered by file. Touches those files.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::dwarf::{self, Fault};
use super::releases::Release;
use crate::attach::identity::Identity;

/// Programs whose debug information is remembered, 0.2 KB each. Full: all are forgotten, and read again when they are run.
const PROGRAMS_MAX: usize = 256;
/// Programs that wait to be read, each an open file. Full: a further one is asked for again when one was read.
const WAITING_MAX: usize = 64;

/// What is known of a program's debug information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Done(Result<Release, Fault>),
    /// It is read, or will be.
    Later,
}

/// See the file.
#[derive(Clone, Debug, Default)]
pub struct Readings(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    read: BTreeMap<Identity, Result<Release, Fault>>,
    waiting: VecDeque<(Identity, File)>,
    /// What a thread reads: one at a time.
    now: Option<Identity>,
    finished: Vec<Identity>,
}

impl Readings {
    /// Has it read, unless that is done.
    pub fn of(&self, file: &File) -> Reading {
        let Ok(file_is) = Identity::of(file) else {
            return Reading::Done(Err(Fault::Broken));
        };
        let mut state = self.lock();
        if let Some(read) = state.read.get(&file_is) {
            return Reading::Done(read.clone());
        }
        if state.knows(file_is) || state.waiting.len() >= WAITING_MAX {
            return Reading::Later;
        }
        let Ok(file) = file.try_clone() else {
            return Reading::Done(Err(Fault::Broken));
        };
        state.waiting.push_back((file_is, file));
        self.start(state)
    }

    /// Those that were read since this was asked last.
    pub fn finished(&self) -> Vec<Identity> {
        std::mem::take(&mut self.lock().finished)
    }

    fn start(&self, mut state: MutexGuard<'_, State>) -> Reading {
        if state.now.is_some() {
            return Reading::Later;
        }
        let first = state.next();
        drop(state);
        let readings = self.clone();
        let started = Builder::new()
            .name("debug".into())
            .spawn(move || readings.read_all(first));
        match started {
            Ok(_) => Reading::Later,
            Err(_) => {
                self.lock().now = None;
                Reading::Done(Err(Fault::NoThread))
            }
        }
    }

    /// One after the other, until there are none.
    fn read_all(&self, mut next: Option<(Identity, File)>) {
        while let Some((file_is, file)) = next {
            let read = dwarf::release(&file);
            drop(file);
            let mut state = self.lock();
            if state.read.len() >= PROGRAMS_MAX {
                state.read.clear();
            }
            state.read.insert(file_is, read);
            state.finished.push(file_is);
            next = state.next();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether it waits, or is being read.
    fn knows(&self, file: Identity) -> bool {
        self.now == Some(file) || self.waiting.iter().any(|(waiting, _)| *waiting == file)
    }

    fn next(&mut self) -> Option<(Identity, File)> {
        let next = self.waiting.pop_front();
        self.now = next.as_ref().map(|(file, _)| *file);
        next
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_is_read_once_beside_the_one_who_asks() {
        let readings = Readings::default();
        let file = File::open("/proc/self/exe").unwrap();
        let first = readings.of(&file);
        assert_eq!(first, Reading::Later);
        let is_read = || {
            std::thread::sleep(Duration::from_millis(10));
            readings.of(&file) != Reading::Later
        };
        assert!((0..6000).any(|_| is_read()));
        // This is none of Go's.
        assert!(matches!(readings.of(&file), Reading::Done(Err(_))));
        let finished = readings.finished();
        assert_eq!(finished, [Identity::of(&file).unwrap()]);
        assert_eq!(readings.finished(), []);
        let state = readings.lock();
        assert!(state.now.is_none() && state.waiting.is_empty());
    }
}
