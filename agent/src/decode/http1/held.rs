//! Answers that come ahead of the record of their request: reads in, the same reads after the request out.
//!
//! The thread that reads a client's answer can be told of before the one that wrote its request.

use super::answers::Answers;
use super::requests::Requests;
use super::{Conversation, Scene};
use crate::capture::event::Io;
use crate::decode::books::Books;
use crate::decode::detect::{self, Verdict};
use crate::decode::exchange::Side;
use crate::decode::limits::{HELD_BYTES_MAX, HELD_EVENTS_MAX};

/// A call kept for later.
#[derive(Debug)]
pub struct Held {
    io: Io<'static>,
    data: Vec<u8>,
}

impl Conversation {
    /// No request waits for this answer. A client's may be told late, when another thread wrote it.
    pub(super) fn answer_without_request(&mut self, scene: &mut Scene<'_>) {
        let io = scene.io;
        let begins = io.size > 0 && detect::status_line(io.data) == Verdict::Yes;
        let between = matches!(self.requests, Requests::Head { .. }) || !self.confirmed;
        let holding = matches!(self.answers, Answers::Held { .. });
        if (begins || holding) && between && self.side == Side::Client && !io.end_of_stream {
            if !holding {
                self.answers = Answers::Held {
                    calls: Vec::new(),
                    certain: self.confirmed && !self.answers_owed,
                };
            }
            if self.hold(io) {
                return;
            }
        }
        self.drop_held(scene.books);
        scene.books.counts.answers_without_request += u64::from(begins && !holding);
        scene.count_cut(&self.answer_stream.cut(io));
        self.answers = Answers::Seek;
        self.fresh &= io.size == 0;
    }

    fn hold(&mut self, io: &Io<'_>) -> bool {
        let Answers::Held { calls, .. } = &mut self.answers else {
            return false;
        };
        let bytes = calls.iter().map(|held| held.data.len()).sum::<usize>() + io.data.len();
        let room = calls.len() < HELD_EVENTS_MAX && bytes <= HELD_BYTES_MAX;
        if room {
            calls.push(Held::new(io));
        }
        room
    }

    /// After a call of the requests: the held answer may be its answer.
    pub(super) fn release_held(&mut self, scene: &mut Scene<'_>) {
        let (Answers::Held { calls, certain }, Some(front)) =
            (&mut self.answers, self.open.front())
        else {
            return;
        };
        let read = calls.first().map(|held| held.io.origin.time);
        if !*certain && read < Some(front.exchange.started) {
            return self.drop_held(scene.books);
        }
        let calls = std::mem::take(calls);
        self.answers = Answers::Seek;
        for Held { io, data } in calls {
            self.answer_call(&mut Scene {
                io: &Io { data: &data, ..io },
                link: scene.link,
                books: scene.books,
                out: scene.out,
            });
        }
    }

    /// The request of the held answer was not seen.
    pub(super) fn drop_held(&mut self, books: &mut Books) {
        let Answers::Held { calls, .. } = &mut self.answers else {
            return;
        };
        books.counts.answers_without_request += 1;
        for Held { io, data } in std::mem::take(calls) {
            self.answer_stream.cut(&Io { data: &data, ..io });
        }
        self.answers = Answers::Seek;
        self.fresh = false;
    }
}

impl Held {
    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.data.len() + size_of::<Self>()
    }

    fn new(io: &Io<'_>) -> Self {
        let Io {
            origin,
            connection,
            direction,
            position,
            size,
            data,
            tail,
            turn_start,
            end_of_stream,
            already_open,
            tls,
            goroutine,
            task,
            turn,
            asked,
            route,
            thread_clock,
            ready,
            process_losses,
            system_call,
        } = *io;
        Self {
            data: data.to_vec(),
            io: Io {
                origin,
                connection,
                direction,
                position,
                size,
                data: &[],
                tail,
                turn_start,
                end_of_stream,
                already_open,
                tls,
                goroutine,
                task,
                turn,
                asked,
                route,
                thread_clock,
                ready,
                process_losses,
                system_call,
            },
        }
    }
}
