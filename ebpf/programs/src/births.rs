//! Go: which goroutines are not born yet, as a request is read.
//!
//! Each `runtime.p` takes 16 numbers of goroutines at once (runtime/proc.go: `newproc1`) and gives them out one by one; what it
//! has left was nobody's so far, and so is every number above the last that any of them took. The goroutine that serves a
//! connection is in its system call meanwhile, or is handed what TLS decrypted: a child of it that has one of those numbers was
//! born after this request came. A number that another `runtime.p` may hold says nothing.
//!
//! Cost: 5 reads of the process's memory and one for each `runtime.p`, one look-up and a record of 96 bytes (192 of 8 of those, 576
//! of 32); for each request to a process that was asked for, see `attach/golang/births.rs` of the agent. Versions
//! checked: Go 1.21 to 1.26.

use core::mem::replace;

use spanlet_abi::golang::Births;
use spanlet_abi::limit::PROCESSORS_MAX;
use spanlet_abi::record::{kind, Numbers, Unborn};
use spanlet_abi::state::{process_flag, Connection};

use crate::kernel::user;
use crate::maps::BIRTHS;
use crate::observe::Moved;
use crate::select::Traced;
use crate::{emit, goroutine, observe};

/// The record is put together where it is sent: what reads TLS can be interrupted by another program on its CPU. The verifier wants
/// to know how large it is, so there are a few sizes.
#[repr(C)]
struct Room<const MOST: usize> {
    words: Unborn,
    numbers: [Numbers; MOST],
}

/// Tells of it where this read is the first of a request by the goroutine that will serve it. `net/http` has a child of that
/// read a single byte ahead: then it is the next one. The call is not counted yet. `g`: who reads; `None`: whoever runs, as
/// thread-local storage has it.
#[inline(always)]
pub fn at_read(
    traced: &Traced,
    state: &mut Connection,
    moved: &Moved,
    g: Option<u64>,
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
        if let Some(g) = g.or_else(goroutine::running) {
            tell(traced, state, moved, g);
        }
    }
}

#[inline(never)]
fn tell(traced: &Traced, state: &Connection, moved: &Moved, g: u64) {
    if let Err(Fault::Unfit) = read(traced, state, moved, g) {
        // SAFETY: as above.
        let state = unsafe { &mut *traced.state };
        state.flags &= !process_flag::BIRTHS;
        state.flags |= process_flag::BIRTHS_UNFIT;
    }
}

#[derive(Clone, Copy)]
enum Fault {
    /// Not now.
    Unreadable,
    /// The process's memory does not look as it should.
    Unfit,
}

#[inline(always)]
fn read(traced: &Traced, state: &Connection, moved: &Moved, g: u64) -> Result<(), Fault> {
    let births = BIRTHS.get_ptr_mut(&traced.process);
    // SAFETY: live entries of maps.
    let (process, births) = unsafe { (&*traced.state, &mut *births.ok_or(Fault::Unreadable)?) };
    let id: u64 = word(g, process.goroutine_id)?;
    meet(word(g, births.thread)?, births)?;
    let words = Unborn {
        header: emit::header::<Unborn>(kind::UNBORN, 0, traced.process, traced.thread),
        socket: moved.socket,
        generation: state.generation,
        goroutine: id,
        given: 0,
        position: observe::sequence(state, moved).unwrap_or(state.read_bytes),
        count: births.count,
    };
    match words.count {
        0..=2 => send::<2>(traced, births, &words),
        3..=4 => send::<4>(traced, births, &words),
        5..=8 => send::<8>(traced, births, &words),
        _ => send::<PROCESSORS_MAX>(traced, births, &words),
    }
}

/// Remembers the `runtime.p` of a thread (a `runtime.m`).
#[inline(always)]
fn meet(thread: u64, births: &mut Births) -> Result<(), Fault> {
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
    Ok(())
}

/// No room is a loss, and no fault.
#[inline(always)]
fn send<const MOST: usize>(traced: &Traced, births: &Births, words: &Unborn) -> Result<(), Fault> {
    let Some(mut room) = emit::room::<Room<MOST>>(traced.state) else {
        return Ok(());
    };
    let result = fill(room.as_mut_ptr().cast(), MOST as u32, births, words);
    match result {
        Ok(()) => emit::send(room),
        Err(_) => room.discard(0),
    }
    result
}

/// Adds the numbers, of which there are `words.count`, to the words. `room`: a [`Room`] for `most` of them.
#[inline(never)]
fn fill(
    room: *mut Room<PROCESSORS_MAX>,
    most: u32,
    births: &Births,
    words: &Unborn,
) -> Result<(), Fault> {
    for index in 0..PROCESSORS_MAX {
        if index as u32 >= words.count || index as u32 >= most {
            break;
        }
        // Of one that was not met, address 0 is not readable.
        let numbers: Result<Numbers, Fault> = word(births.processors[index], births.numbers);
        // SAFETY: within the room.
        unsafe { (&raw mut (*room).numbers[index]).write(numbers.unwrap_or_default()) };
    }
    // After those, so that what they took since then is among what was given.
    let given = given(births, words.goroutine)?;
    let mut words = *words;
    words.given = given;
    words.header.length += words.count * size_of::<Numbers>() as u32;
    // SAFETY: as above.
    unsafe { (&raw mut (*room).words).write(words) };
    Ok(())
}

/// The last number that was given out, which is not below that of a goroutine; 0 where not known.
#[inline(always)]
fn given(births: &Births, goroutine: u64) -> Result<u64, Fault> {
    match births.given {
        0 => Ok(0),
        address => match word(address, 0)? {
            given if given < goroutine => Err(Fault::Unfit),
            given => Ok(given),
        },
    }
}

/// What stands there in the process's memory.
#[inline(always)]
fn word<T>(address: u64, offset: u32) -> Result<T, Fault> {
    user(address.wrapping_add(offset as u64)).ok_or(Fault::Unreadable)
}
