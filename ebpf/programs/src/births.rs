//! Go: which goroutines are not born yet, as a request is read.
//!
//! Each `runtime.p` takes 16 numbers of goroutines at once (runtime/proc.go: `newproc1`) and gives them out one by one; what it
//! has left was nobody's so far, and so is every number above the last that any of them took. The goroutine that serves a
//! connection is in its system call meanwhile: a child of it that has one of those numbers was born after this request came.
//! A number that another `runtime.p` may hold says nothing.
//!
//! Cost: 5 reads of the process's memory and one for each `runtime.p`, one look-up and a record of 100 bytes, 16 more for each
//! `runtime.p`; for each request to a process that was asked for, see `attach/golang/births.rs` of the agent. Versions checked: Go
//! 1.21 to 1.26.

use core::mem::{offset_of, replace};

use spanlet_abi::limit::PROCESSORS_MAX;
use spanlet_abi::record::{kind, Numbers, Unborn};
use spanlet_abi::state::{process_flag, Connection};

use crate::constants::constant;
use crate::kernel::{user, Task};
use crate::maps::{self, Scratch, BIRTHS, SCRATCH};
use crate::observe::Moved;
use crate::select::Traced;
use crate::{emit, observe};

/// Tells of it where this read is the first of a request by the goroutine that will serve it. `net/http` has a child of that
/// read a single byte ahead: then it is the next one. The call is not counted yet.
#[inline(always)]
pub fn at_read(
    traced: &Traced,
    state: &mut Connection,
    moved: &Moved,
    is_asked: bool,
    turn_start: bool,
) {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let flags = unsafe { (*traced.state).flags };
    if flags & process_flag::BIRTHS == 0 || moved.size == 0 {
        return;
    }
    let is_begun = is_asked && moved.size == 1;
    let was_begun = replace(&mut state.is_begun, u8::from(is_begun)) != 0;
    let continues = was_begun && !turn_start;
    if !is_begun && (continues || is_asked) {
        tell(traced, state, moved);
    }
}

#[inline(never)]
fn tell(traced: &Traced, state: &Connection, moved: &Moved) {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's scratch, which only one program at a time uses.
    let scratch = unsafe { &mut *scratch };
    scratch.unborn.words = Unborn {
        header: emit::header::<Unborn>(kind::UNBORN, 0, traced.process, traced.thread),
        socket: moved.socket,
        generation: state.generation,
        goroutine: 0,
        given: 0,
        position: observe::sequence(state, moved).unwrap_or(state.read_bytes),
        count: 0,
    };
    match read(traced, &mut scratch.unborn) {
        Ok(()) => send(traced, scratch),
        Err(Fault::Unreadable) => {}
        Err(Fault::Unfit) => {
            // SAFETY: as above.
            let state = unsafe { &mut *traced.state };
            state.flags &= !process_flag::BIRTHS;
            state.flags |= process_flag::BIRTHS_UNFIT;
        }
    }
}

enum Fault {
    /// Not now.
    Unreadable,
    /// The process's memory does not look as it should.
    Unfit,
}

#[inline(always)]
fn read(traced: &Traced, unborn: &mut maps::Unborn) -> Result<(), Fault> {
    let births = BIRTHS.get_ptr_mut(&traced.process);
    // SAFETY: live entries of maps.
    let (state, births) = unsafe { (&*traced.state, &mut *births.ok_or(Fault::Unreadable)?) };
    let base: Option<u64> = Task::current().field(constant!(OFFSETS.task_fsbase));
    let g: u64 = word(base.ok_or(Fault::Unreadable)?.wrapping_sub(8), 0)?;
    let id: u64 = word(g, state.goroutine_id)?;
    let thread: u64 = word(g, births.thread)?;
    let processor = match word(thread, births.processor)? {
        0 => word(thread, births.processor_before)?,
        processor => processor,
    };
    if processor != 0 {
        let number: u32 = word(processor, births.number)?;
        let place = number as usize % PROCESSORS_MAX;
        births.processors[place] = processor;
        births.count = births.count.max(place as u32 + 1);
    }
    let count = births.count;
    for index in 0..PROCESSORS_MAX {
        if index as u32 >= count {
            break;
        }
        // Of one that was not met, address 0 is not readable.
        let numbers = word(births.processors[index], births.numbers);
        unborn.numbers[index] = numbers.unwrap_or_default();
    }
    // After those, so that what they took since then is among what was given.
    let given = match births.given {
        0 => 0,
        address => word(address, 0)?,
    };
    if births.given != 0 && given < id {
        return Err(Fault::Unfit);
    }
    unborn.words.goroutine = id;
    unborn.words.given = given;
    unborn.words.count = count;
    Ok(())
}

/// What stands there in the process's memory.
#[inline(always)]
fn word<T>(address: u64, offset: u32) -> Result<T, Fault> {
    user(address.wrapping_add(offset as u64)).ok_or(Fault::Unreadable)
}

#[inline(always)]
fn send(traced: &Traced, scratch: &mut Scratch) {
    // The mask only shows the verifier that it is bounded.
    let count = scratch.unborn.words.count as usize & (2 * PROCESSORS_MAX - 1);
    let length = size_of::<Unborn>() + count * size_of::<Numbers>();
    scratch.unborn.words.header.length = length as u32;
    // SAFETY: in the scratch, the words, the numbers and more are in one piece.
    let bytes = unsafe {
        let start = (&raw const *scratch).cast::<u8>();
        core::slice::from_raw_parts(start.add(offset_of!(Scratch, unborn)), length)
    };
    emit::record(traced.state, bytes);
}
