//! The only way out: records onto the ring buffer, without a wake-up for each, and losses into their counters.

use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_ringbuf_query};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use spanlet_abi::limit::RING_WAKE_BYTES;
use spanlet_abi::record::Header;
use spanlet_abi::{loss, state};

use crate::constants::constant;
use crate::maps::{EVENTS, LOSSES, LOST_REQUESTS};

const BPF_RB_AVAIL_DATA: u64 = 0;

/// CLOCK_MONOTONIC now, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// A header for a record of type `T` without copied bytes.
#[inline(always)]
pub fn header<T>(kind: u16, flags: u16, process: u32, thread: u32) -> Header {
    Header {
        kind,
        flags,
        length: size_of::<T>() as u32,
        time_ns: now(),
        process,
        thread,
    }
}

/// Adds one to a loss. Here and elsewhere, what is rare is a function in the kernel too: what is frequent is then short
/// and in one piece, which the processor's caches thank it for.
#[inline(never)]
pub fn lose(reason: u32) {
    add_one(LOSSES.get_ptr_mut(reason));
}

/// Adds one to the requests that were lost for this reason.
#[inline(always)]
pub fn lose_request(reason: u32) {
    add_one(LOST_REQUESTS.get_ptr_mut(reason));
}

/// Adds one to a count.
#[inline(always)]
pub fn add_one(count: Option<*mut u64>) {
    if let Some(count) = count {
        // SAFETY: a value of this CPU's array.
        unsafe { *count += 1 };
    }
}

/// Writes a record about a traced process; its loss is counted, by reason and by process. True when it was written.
#[inline(always)]
pub fn record<T: ?Sized>(process: *mut state::Process, record: &T) -> bool {
    counted(process, write(record))
}

/// As [`record`], of a call; `begins_request`: its loss is that of a request as well.
#[inline(always)]
pub fn call(process: *mut state::Process, record: &[u8], begins_request: bool) {
    let result = output(record, wake_up(record.len() as u64));
    if let (Err(reason), true) = (result, begins_request) {
        lose_request(reason);
    }
    counted(process, result.is_ok());
}

/// As [`record`], and the agent is woken: for what is rare and may be gone when the timer comes.
#[inline(always)]
pub fn record_at_once<T: ?Sized>(process: *mut state::Process, record: &T) -> bool {
    counted(process, output(record, BPF_RB_FORCE_WAKEUP as u64).is_ok())
}

/// Only a loss is written down: the entry is shared by all CPUs, and what is written moves between them.
#[inline(always)]
pub fn counted(process: *mut state::Process, written: bool) -> bool {
    if !written {
        // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
        unsafe { (*process).losses += 1 };
    }
    written
}

/// Writes a record; a loss is counted by reason. True when it was written.
#[inline(always)]
pub fn write<T: ?Sized>(record: &T) -> bool {
    output(record, wake_up(size_of_val(record) as u64)).is_ok()
}

/// Errors: it is lost, which is counted; the reason.
#[inline(always)]
fn output<T: ?Sized>(record: &T, flags: u64) -> Result<(), u32> {
    let reason = if forced_loss() {
        loss::FORCED
    } else if EVENTS.output::<T>(record, flags).is_err() {
        loss::RING_FULL
    } else {
        return Ok(());
    };
    lose(reason);
    Err(reason)
}

/// Room for a record about a traced process, for what is put together where it is sent: [`send`] sends it. `None`: it is lost,
/// which is counted as by [`record`].
#[inline(always)]
pub fn room<T: 'static>(process: *mut state::Process) -> Option<RingBufEntry<T>> {
    let (room, reason) = match forced_loss() {
        true => (None, loss::FORCED),
        false => (EVENTS.reserve::<T>(0), loss::RING_FULL),
    };
    if room.is_none() {
        lose(reason);
    }
    counted(process, room.is_some());
    room
}

/// Sends what was put together in its room.
#[inline(always)]
pub fn send<T>(room: RingBufEntry<T>) {
    room.submit(wake_up(size_of::<T>() as u64));
}

/// The agent drains by a timer; a wake-up costs more than the rest of a record, so it is only for a filling ring.
#[inline(always)]
pub fn wake_up(length: u64) -> u64 {
    // SAFETY: the map is a ring buffer.
    let unread =
        unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), BPF_RB_AVAIL_DATA) };
    if unread < RING_WAKE_BYTES && unread + length >= RING_WAKE_BYTES {
        BPF_RB_FORCE_WAKEUP as u64
    } else {
        BPF_RB_NO_WAKEUP as u64
    }
}

#[inline(always)]
pub fn forced_loss() -> bool {
    let per_mille = constant!(SETTINGS.forced_loss_per_mille);
    // SAFETY: the helper has no precondition.
    per_mille != 0 && unsafe { bpf_get_prandom_u32() } % 1000 < per_mille
}
