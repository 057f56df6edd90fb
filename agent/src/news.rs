//! What went wrong beside the rooms and lasts: a configuration that was refused, probes that were opened anew. In: outcomes.
//! Out: what `spanlet probes`, the metrics and the cluster's administrators are told.

use std::time::Duration;

use crate::clock::Monotonic;
use crate::pods::notice::{self, Notice, Notices};

/// Events of this reason tell of a configuration that was refused.
const REFUSED: &str = "ConfigurationInvalid";

/// See the file.
pub struct News {
    /// What is wrong with the newest configuration, while another is in effect.
    pub fault: Option<String>,
    /// Configurations that were refused, and those that were applied.
    pub refused: u64,
    pub applied: u64,
    /// How often probes were opened anew, and how long nothing was seen meanwhile, all in all.
    pub reopened: u64,
    pub blind: Duration,
    notices: Notices,
    /// Until somebody takes it.
    receiver: Option<tokio::sync::mpsc::Receiver<Notice>>,
}

impl Default for News {
    fn default() -> Self {
        let (notices, receiver) = notice::channel();
        Self {
            fault: None,
            refused: 0,
            applied: 0,
            reopened: 0,
            blind: Duration::ZERO,
            notices,
            receiver: Some(receiver),
        }
    }
}

impl News {
    /// Where notices come out, for who tells the API server. Once.
    pub fn take_notices(&mut self) -> Option<tokio::sync::mpsc::Receiver<Notice>> {
        self.receiver.take()
    }

    /// A configuration cannot be used: the one before stays.
    pub fn refuse(&mut self, fault: String) {
        tracing::warn!("the new configuration is not used, the one before stays: {fault}");
        self.refused += 1;
        self.note(REFUSED, fault.clone());
        self.fault = Some(fault);
    }

    /// A configuration is in effect.
    pub fn apply(&mut self) {
        tracing::info!("the new configuration is in effect");
        self.applied += 1;
        self.fault = None;
        self.notices.over(REFUSED);
    }

    /// Probes were opened anew: nothing was seen for so long.
    pub fn reopen(&mut self, blind: Duration) {
        tracing::info!("probes were opened anew: blind for {blind:.1?}");
        self.reopened += 1;
        self.blind += blind;
    }

    /// Something lasts, or is over.
    pub fn lasts(&mut self, reason: &'static str, message: Option<String>) {
        match message {
            Some(message) => self.note(reason, message),
            None => self.notices.over(reason),
        }
    }

    /// Tells the cluster's administrators.
    fn note(&mut self, reason: &'static str, message: String) {
        self.notices
            .note(Notice { reason, message }, Monotonic::now());
    }
}
