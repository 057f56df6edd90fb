//! Uprobes on their way out. In: what is detached. Out: nothing, but that it can be waited for. The kernel waits for all its CPUs
//! as each is closed, 0.1 s here and longer where it is busy: meanwhile the agent would read no records.

use std::collections::BTreeMap;
use std::thread::{Builder, JoinHandle};

use aya::programs::uprobe::UProbeLink;

use super::uprobes::Spot;

/// Those that are not closed yet, a thread each.
#[derive(Debug, Default)]
pub struct Closing(BTreeMap<Spot, JoinHandle<()>>);

impl Closing {
    pub fn begin(&mut self, spot: Spot, link: UProbeLink) {
        self.0.retain(|_, thread| !thread.is_finished());
        self.wait(spot);
        let thread = Builder::new()
            .name("closing".into())
            .spawn(move || drop(link));
        // Without a thread it is closed by now.
        if let Ok(thread) = thread {
            self.0.insert(spot, thread);
        }
    }

    /// Until the one there is closed: attached beside it, the same program would run twice.
    pub fn wait(&mut self, spot: Spot) {
        if let Some(thread) = self.0.remove(&spot) {
            // Dropping a link does not panic.
            let _ = thread.join();
        }
    }
}
