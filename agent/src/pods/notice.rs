//! What an administrator has to know, on its way to the API server as Events. In: notices from the agent. Out: each once,
//! and again only after a while.
//!
//! Bounded: what does not fit is left out, because a reason that lasts is noted again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Monotonic;

/// Notices on their way at most; further ones are left out.
const NOTICES_MAX: usize = 16;
/// The same reason with the same message is noted again after so long.
const AGAIN: Duration = Duration::from_secs(600);

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// In camel case, as Events have it: `ConfigurationInvalid`.
    pub reason: &'static str,
    pub message: String,
}

/// The noting end.
pub struct Notices {
    sender: mpsc::Sender<Notice>,
    /// By reason, of which there are a few.
    noted: BTreeMap<&'static str, (String, Monotonic)>,
}

/// Both ends.
pub fn channel() -> (Notices, mpsc::Receiver<Notice>) {
    let (sender, receiver) = mpsc::channel(NOTICES_MAX);
    let notices = Notices {
        sender,
        noted: BTreeMap::new(),
    };
    (notices, receiver)
}

impl Notices {
    /// Never waits. Whether it goes on its way: not where the same was noted lately, nor where nobody takes it.
    pub fn note(&mut self, notice: Notice, now: Monotonic) -> bool {
        let known = self.noted.get(notice.reason);
        if known.is_some_and(|(message, at)| *message == notice.message && now.since(*at) < AGAIN) {
            return false;
        }
        let (reason, message) = (notice.reason, notice.message.clone());
        let is_sent = self.sender.try_send(notice).is_ok();
        if is_sent {
            self.noted.insert(reason, (message, now));
        }
        is_sent
    }

    /// A reason is no more: should it come back, that is new.
    pub fn over(&mut self, reason: &'static str) {
        self.noted.remove(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(message: &str) -> Notice {
        Notice {
            reason: "ConfigurationInvalid",
            message: message.to_owned(),
        }
    }

    #[test]
    fn the_same_is_noted_once_in_a_while() {
        let (mut notices, mut taken) = channel();
        let at = |seconds: u64| Monotonic(seconds * 1_000_000_000);
        assert!(notices.note(notice("a"), at(0)));
        assert!(!notices.note(notice("a"), at(599)));
        assert!(notices.note(notice("b"), at(599)), "another message");
        assert!(notices.note(notice("b"), at(1199)), "it lasts");
        notices.over("ConfigurationInvalid");
        assert!(notices.note(notice("b"), at(1200)), "it came back");
        let mut messages = Vec::new();
        while let Ok(notice) = taken.try_recv() {
            messages.push(notice.message);
        }
        assert_eq!(messages, ["a", "b", "b", "b"]);
    }

    #[test]
    fn what_nobody_takes_is_left_out_and_noted_later() {
        let (mut notices, mut taken) = channel();
        let texts: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let sent = texts
            .iter()
            .filter(|text| notices.note(notice(text), Monotonic(0)));
        assert_eq!(sent.count(), NOTICES_MAX);
        assert!(taken.try_recv().is_ok());
        assert!(notices.note(notice("19"), Monotonic(0)));
    }
}
