//! What is at hand while one call is looked at, whatever its connection carries; and what becomes of that.

use std::sync::Arc;

use super::books::Books;
use super::exchange::{Link, Side, Step};
use super::stream::Cut;
use crate::capture::event::{Direction, Io};

/// See the file.
pub struct Scene<'a> {
    pub io: &'a Io<'a>,
    pub link: &'a Arc<Link>,
    pub books: &'a mut Books,
    pub out: &'a mut Vec<Step>,
}

/// What the connection is after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Understood,
    /// What should have been a request is none.
    NotUnderstood,
    /// It went on as something else (101, or 2xx to CONNECT), or carries an agent's deliveries: it is not followed.
    Upgraded,
}

impl Scene<'_> {
    /// Counts what a call's bytes show of losses.
    pub fn count_cut(&mut self, cut: &Cut<'_>) {
        let counts = &mut self.books.counts;
        counts.gaps += u64::from(cut.lost > 0);
        counts.lost_bytes += cut.lost;
        counts.repeated_bytes += cut.repeated;
    }
}

/// The side on which requests go this way.
pub fn side_of_requests(direction: Direction) -> Side {
    match direction {
        Direction::Ingress => Side::Server,
        Direction::Egress => Side::Client,
    }
}
