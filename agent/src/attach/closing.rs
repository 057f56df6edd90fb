//! Uprobes on their way out. In: what is detached. Out: nothing, but that it can be waited for. The kernel waits for all its CPUs
//! as each is closed, 0.1 s here and longer where it is busy: meanwhile the agent would read no records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use aya::programs::uprobe::UProbeLink;

use super::uprobes::Spot;

/// Threads that close, one uprobe at a time each (some 25 KB of memory, while there is something to close). Busy: the others wait.
const CLOSERS_MAX: usize = 16;

/// Those that are not closed yet.
#[derive(Debug)]
pub struct Closing<Link = UProbeLink>(Arc<Shared<Link>>);

#[derive(Debug)]
struct Shared<Link> {
    state: Mutex<State<Link>>,
    closed: Condvar,
}

#[derive(Debug)]
struct State<Link> {
    waiting: BTreeMap<Spot, Link>,
    /// Being closed, each by a thread.
    closing: BTreeSet<Spot>,
    closers: usize,
}

impl<Link> Default for Closing<Link> {
    fn default() -> Self {
        let state = State {
            waiting: BTreeMap::new(),
            closing: BTreeSet::new(),
            closers: 0,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            closed: Condvar::new(),
        }))
    }
}

impl<Link: Send + 'static> Closing<Link> {
    /// None there is being closed: what is attached has been waited for.
    pub fn begin(&self, spot: Spot, link: Link) {
        let mut state = self.0.lock();
        state.waiting.insert(spot, link);
        if state.closers >= CLOSERS_MAX {
            return;
        }
        state.closers += 1;
        drop(state);
        let shared = self.0.clone();
        let started = Builder::new()
            .name("closing".into())
            .spawn(move || shared.close_all());
        if started.is_err() {
            self.0.close_all();
        }
    }

    /// Until the one there is closed: attached beside it, the same program would run twice.
    pub fn wait(&self, spot: Spot) {
        let mut state = self.0.lock();
        if let Some(link) = state.waiting.remove(&spot) {
            drop(state);
            drop(link);
            return;
        }
        while state.closing.contains(&spot) {
            let closed = self.0.closed.wait(state);
            state = closed.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<Link> Shared<Link> {
    fn lock(&self) -> MutexGuard<'_, State<Link>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One after the other, until there are none.
    fn close_all(&self) {
        let mut state = self.lock();
        while let Some((spot, link)) = state.waiting.pop_first() {
            state.closing.insert(spot);
            drop(state);
            drop(link);
            state = self.lock();
            state.closing.remove(&spot);
            self.closed.notify_all();
        }
        state.closers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Takes a while to close, and counts how many do at once, and did.
    struct Slow(Arc<Counts>);

    #[derive(Default)]
    struct Counts {
        now: AtomicUsize,
        most: AtomicUsize,
        closed: AtomicUsize,
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            self.0.now.fetch_sub(1, Ordering::SeqCst);
            self.0.closed.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn all_are_closed_once_by_few_and_can_be_waited_for() {
        let (closing, counts) = (Closing::default(), Arc::new(Counts::default()));
        let spots: Vec<Spot> = (0..200).map(|inode| ("tls_read", (1, inode))).collect();
        for spot in &spots {
            closing.begin(*spot, Slow(counts.clone()));
        }
        spots.iter().rev().for_each(|spot| closing.wait(*spot));
        assert_eq!(counts.closed.load(Ordering::SeqCst), spots.len());
        // Those that wait close what nobody does yet.
        let most = counts.most.load(Ordering::SeqCst);
        assert!((2..=CLOSERS_MAX + 1).contains(&most), "{most} at once");
        closing.wait(("never", (1, 1)));
    }
}
