//! One connection's bytes, whole and cut: HTTP/1, and FastCGI. In: a byte of [`flag`]s, a byte that says how many sizes of calls follow, the
//! sizes, then the turns, [`END_OF_TURN`] between them: requests, answers, requests, … Held: however sound turns are cut
//! into calls, the exchanges are the same; and whatever is lost of them, nothing panics and what starts ends.

use spanlet::decode::exchange::{Outcome, Side};

use crate::bytes::Bytes;
use crate::kernel::{run as decode, Talk, Told};

/// Not a byte of any HTTP/1 head (RFC 9110 §5.5 allows it in values; no recorded one has it).
pub const END_OF_TURN: u8 = 0xff;

/// Bits of the first byte.
pub mod flag {
    pub const CLIENT: u8 = 1;
    pub const CLOSED: u8 = 2;
    pub const RESET: u8 = 4;
    /// The end of the other side's stream is read before that.
    pub const END_OF_STREAM: u8 = 8;
    /// A call is lost, the one that the next bits count to.
    pub const LOSS: u8 = 16;
    pub const LOSS_SHIFT: u32 = 5;
}

/// Of a turn with more bytes not all are copied, and how many depends on the cuts.
const TURN_BYTES_MAX: usize = 2000;
/// A call takes a millisecond, and after 50 the decoder may find that an answer was silent for long.
const CALLS_MAX: usize = 40;

pub fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let flags = bytes.byte();
    let sizes = bytes.byte();
    let sizes = bytes.piece(usize::from(sizes & 15));
    let turns: Vec<&[u8]> = bytes.0.split(|byte| *byte == END_OF_TURN).collect();
    let cut = talk(flags, &turns, sizes);
    if flags & flag::LOSS != 0 {
        return lossy(cut, flags);
    }
    let whole = talk(flags, &turns, &[]);
    let (whole, cut) = (decode(&whole.records), decode(&cut.records));
    let is_short = turns.iter().all(|turn| turn.len() <= TURN_BYTES_MAX);
    // Where the other side speaks first, an unusual method is known only by the end of its line: it must not be cut.
    let in_order = turns.first().is_some_and(|turn| !turn.is_empty());
    if is_short && in_order && is_sound(&whole) {
        assert_eq!(whole.lines(), cut.lines(), "whole, cut");
    }
}

/// Of what is not HTTP, or does not come to its end, less can be said: where it is cut may show in how it ends.
fn is_sound(told: &Told) -> bool {
    let counts = &told.counts;
    let strange = counts.malformed + counts.incomplete_heads + counts.answers_without_request;
    let mut exchanges = told.finished();
    strange + counts.opaque + counts.pipeline_full == 0
        && exchanges.all(|exchange| exchange.outcome == Outcome::Complete)
}

/// The turns in calls of these sizes, used again from the first; of none, each turn in one call.
fn talk(flags: u8, turns: &[&[u8]], sizes: &[u8]) -> Talk {
    let side = match flags & flag::CLIENT {
        0 => Side::Server,
        _ => Side::Client,
    };
    let mut talk = Talk::new(side);
    let mut sizes = sizes.iter().cycle();
    for (turn, request) in turns.iter().zip([true, false].into_iter().cycle()) {
        let mut rest = *turn;
        for calls_left in (0..CALLS_MAX).rev() {
            let size = sizes
                .next()
                .map_or(rest.len(), |size| usize::from(*size) + 1);
            let size = if calls_left == 0 {
                rest.len()
            } else {
                size.min(rest.len())
            };
            let (now, after) = rest.split_at(size);
            rest = after;
            if now.is_empty() {
                break;
            }
            match request {
                true => talk.request(now),
                false => talk.answer(now),
            };
        }
    }
    end(&mut talk, flags);
    talk
}

fn end(talk: &mut Talk, flags: u8) {
    if flags & flag::END_OF_STREAM != 0 {
        talk.end_of_stream();
    }
    if flags & flag::RESET != 0 {
        talk.reset();
    } else if flags & flag::CLOSED != 0 {
        talk.close();
    }
}

/// Without one of its calls, and again without its opening.
fn lossy(mut talk: Talk, flags: u8) {
    let lost = usize::from(flags >> flag::LOSS_SHIFT) + 1;
    if lost < talk.records.len() {
        talk.records.remove(lost);
    }
    decode(&talk.records);
    talk.records.remove(0);
    decode(&talk.records);
}
