//! What this room did and what it refused, by name.
//!
//! In: decisions. Out: totals, for metrics and `spanlet probes`.

use super::{Evidence, Refusal};

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Exchanges that finished: each becomes a span, waits, or is in one of those that begin with `dropped_`.
    pub exchanges: u64,
    pub spans: u64,
    /// Finished without room among those waiting: no span.
    pub dropped_waiting_full: u64,
    /// Of processes that turned out not to be meant: no span.
    pub dropped_refused: u64,
    /// Of processes of whose pod nobody told in time: no span.
    pub dropped_unknown: u64,
    /// Of processes of whose pod nobody had told, without room among those that wait for that: no span.
    pub dropped_held_full: u64,
    /// Told without all that Kubernetes has to say of their process, which did not come in time.
    pub unnamed_late: u64,
    /// The same, without room among those that wait for it.
    pub unnamed_held_full: u64,
    /// Finished without having been told to start, or started without room: a span without a parent on this node.
    pub unannounced: u64,
    /// Started without room in the table of open exchanges.
    pub exchanges_full: u64,
    /// Processes without room in their table: their spans have no facts and no parent by thread or process.
    pub processes_full: u64,
    /// Nodes of processes that are gone which were never finished.
    pub abandoned: u64,
    pub context_malformed: u64,
    pub by_context: u64,
    pub by_connection: u64,
    pub by_thread: u64,
    pub by_goroutine: u64,
    pub by_task: u64,
    pub by_turn: u64,
    pub by_process: u64,
    /// Links undone because the parent turned out to have ended before its child started, not to have been the
    /// only one open, or not to have waited for it; or because a task or a turn told better.
    pub undone: u64,
    pub refused_ambiguous: u64,
    pub refused_opaque: u64,
    pub refused_loss: u64,
    pub refused_background: u64,
    pub refused_lineage: u64,
    pub refused_birth: u64,
    pub refused_context: u64,
    pub refused_closed: u64,
    pub refused_sealed: u64,
    pub refused_age: u64,
    pub refused_depth: u64,
    pub refused_children: u64,
}

impl Counts {
    /// Adds one decision about a parent.
    pub fn judged(&mut self, linked: Result<Evidence, Refusal>) {
        let count = match linked {
            Ok(Evidence::Connection) => &mut self.by_connection,
            Ok(Evidence::Thread) => &mut self.by_thread,
            Ok(Evidence::Goroutine) => &mut self.by_goroutine,
            Ok(Evidence::Task) => &mut self.by_task,
            Ok(Evidence::Turn) => &mut self.by_turn,
            Ok(Evidence::Process) => &mut self.by_process,
            Ok(_) => &mut self.by_context,
            Err(Refusal::Ambiguous) => &mut self.refused_ambiguous,
            Err(Refusal::Opaque) => &mut self.refused_opaque,
            Err(Refusal::Loss) => &mut self.refused_loss,
            Err(Refusal::Background) => &mut self.refused_background,
            Err(Refusal::Lineage) => &mut self.refused_lineage,
            Err(Refusal::Birth) => &mut self.refused_birth,
            Err(Refusal::Context) => &mut self.refused_context,
            Err(Refusal::Closed) => &mut self.refused_closed,
            Err(Refusal::Sealed) => &mut self.refused_sealed,
            Err(Refusal::Age) => &mut self.refused_age,
            Err(Refusal::Depth) => &mut self.refused_depth,
            Err(Refusal::Children) => &mut self.refused_children,
        };
        *count += 1;
    }

    /// Parents refused, with the reason as metrics name it.
    pub fn refused(&self) -> [(&'static str, u64); 12] {
        [
            ("ambiguous", self.refused_ambiguous),
            ("opaque_connection", self.refused_opaque),
            ("loss", self.refused_loss),
            ("background", self.refused_background),
            ("other_goroutine", self.refused_lineage),
            ("birth_unknown", self.refused_birth),
            ("context_differs", self.refused_context),
            ("parent_closed", self.refused_closed),
            ("trace_told", self.refused_sealed),
            ("age", self.refused_age),
            ("depth", self.refused_depth),
            ("children", self.refused_children),
        ]
    }

    /// Parents given, with the evidence as spans name it.
    pub fn linked(&self) -> [(&'static str, u64); 7] {
        [
            ("context", self.by_context),
            (Evidence::Connection.name(), self.by_connection),
            (Evidence::Thread.name(), self.by_thread),
            (Evidence::Goroutine.name(), self.by_goroutine),
            (Evidence::Task.name(), self.by_task),
            (Evidence::Turn.name(), self.by_turn),
            (Evidence::Process.name(), self.by_process),
        ]
    }
}
