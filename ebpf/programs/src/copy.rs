//! The bytes of a call: bounded, from the function's own buffers, which it has just read into or written from.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use spanlet_abi::limit::{ANSWER_BYTES_MAX, BUFFERS_MAX, TAIL_BYTES, TURN_BYTES_MAX};
use spanlet_abi::loss;
use spanlet_abi::state::Connection;

use crate::constants::constant;
use crate::emit;
use crate::kernel::user;
use crate::maps::Scratch;
use crate::registers::{number, SystemCall};

/// Where the bytes of a call are in the memory of the process.
#[derive(Clone, Copy)]
pub enum Source {
    /// Nowhere: a file (sendfile, splice).
    File,
    /// Somewhere that is not looked at (io_uring, 32-bit programs).
    Unknown,
    /// One buffer.
    Buffer(u64),
    /// This many `struct iovec` at this address.
    Vector(u64, u32),
}

/// `struct iovec`
#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    address: u64,
    length: u64,
}

/// `struct user_msghdr` up to what is needed.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    name: u64,
    name_length: u64,
    vector: u64,
    vector_length: u64,
}

/// A mask that any length up to TURN_BYTES_MAX passes unchanged.
pub const LENGTH_MASK: u32 = 2 * TURN_BYTES_MAX - 1;

/// `sizeof(struct mmsghdr)`
pub const MESSAGE_BYTES: u64 = 64;

/// Where a call's bytes are; of a `sendmmsg` or `recvmmsg`, those of the first message.
#[inline(always)]
pub fn source(call: &SystemCall) -> Source {
    let [_, second, third, _] = call.arguments;
    match call.number {
        number::READ
        | number::WRITE
        | number::RECVFROM
        | number::SENDTO
        | number::PREAD64
        | number::PWRITE64 => Source::Buffer(second),
        number::READV
        | number::WRITEV
        | number::PREADV
        | number::PWRITEV
        | number::PREADV2
        | number::PWRITEV2 => Source::Vector(second, third as u32),
        // A `struct mmsghdr` begins with its `struct msghdr`.
        number::SENDMSG | number::RECVMSG | number::SENDMMSG | number::RECVMMSG => {
            vector_of(second)
        }
        number::SENDFILE | number::SPLICE => Source::File,
        _ => Source::Unknown,
    }
}

#[inline(always)]
fn vector_of(message: u64) -> Source {
    match user::<Message>(message) {
        Some(message) => Source::Vector(message.vector, message.vector_length as u32),
        None => Source::Unknown,
    }
}

/// Copies what the turn's budget allows of a call's `size` bytes; gives how many, and whether the tail was taken.
#[inline(always)]
pub fn copy(
    source: Source,
    size: u32,
    connection: &mut Connection,
    scratch: &mut Scratch,
) -> (u32, bool) {
    let result = match source {
        Source::File => (0, false),
        Source::Unknown => {
            emit::lose(loss::NO_BUFFER);
            (0, false)
        }
        Source::Buffer(address) => one(address, size, connection.turn_bytes_left, scratch),
        Source::Vector(address, count) => {
            many(address, count, size, connection.turn_bytes_left, scratch)
        }
    };
    spend(connection, result.0, scratch);
    result
}

/// Takes what was copied off the turn's budget; an answer has a smaller one.
#[inline(always)]
fn spend(connection: &mut Connection, copied: u32, scratch: &Scratch) {
    let full = constant!(SETTINGS.turn_bytes);
    let answer = constant!(SETTINGS.answer_bytes);
    let left = &mut connection.turn_bytes_left;
    if *left == full && copied >= 4 && is_answer(scratch) {
        *left = answer;
    }
    *left = left.saturating_sub(copied);
}

#[inline(always)]
fn is_answer(scratch: &Scratch) -> bool {
    scratch.bytes[0] == b'H'
        && scratch.bytes[1] == b'T'
        && scratch.bytes[2] == b'T'
        && scratch.bytes[3] == b'P'
}

/// Reads `length` bytes of the process to `offset` of the scratch. Both are below TURN_BYTES_MAX, or at it; the masks
/// only show the verifier so, which does not follow a compare through the compiler's copies.
#[inline(always)]
fn read(scratch: &mut Scratch, offset: u32, length: u32, address: u64) -> bool {
    let offset = (offset & (TURN_BYTES_MAX - 1)) as usize;
    let length = length & LENGTH_MASK;
    // SAFETY: offset + length is less than the scratch has.
    let target = unsafe { scratch.bytes.as_mut_ptr().add(offset) };
    unsafe { bpf_probe_read_user(target.cast(), length, address as *const _) == 0 }
}

#[inline(always)]
fn tail(scratch: &mut Scratch, end: u64, size: u64) -> bool {
    if size < TAIL_BYTES as u64 {
        return false;
    }
    match user::<[u8; TAIL_BYTES]>(end - TAIL_BYTES as u64) {
        Some(bytes) => {
            scratch.io.tail = bytes;
            true
        }
        None => false,
    }
}

#[inline(always)]
fn one(address: u64, size: u32, budget: u32, scratch: &mut Scratch) -> (u32, bool) {
    let wanted = size.min(budget);
    let mut copied = 0;
    if wanted > 0 {
        // An answer is copied only in part: its start is looked at first.
        copied = wanted.min(ANSWER_BYTES_MAX);
        if !read(scratch, 0, copied, address) {
            emit::lose(loss::COPY_FAILED);
            return (0, false);
        }
        if wanted > ANSWER_BYTES_MAX && !is_answer(scratch) && read(scratch, 0, wanted, address) {
            copied = wanted;
        }
    }
    let tailed = copied < size && tail(scratch, address + size as u64, size as u64);
    (copied, tailed)
}

#[inline(always)]
fn many(vector: u64, count: u32, size: u32, budget: u32, scratch: &mut Scratch) -> (u32, bool) {
    let mut copied: u32 = 0;
    let mut unseen = size as u64;
    let (mut end, mut last) = (0, 0);
    for index in 0..BUFFERS_MAX {
        if index >= count || unseen == 0 {
            break;
        }
        let Some(buffer) = user::<Buffer>(vector + index as u64 * size_of::<Buffer>() as u64)
        else {
            emit::lose(loss::COPY_FAILED);
            break;
        };
        let length = buffer.length.min(unseen);
        let wanted = length.min(budget.saturating_sub(copied) as u64) as u32;
        if !read(scratch, copied, wanted, buffer.address) {
            emit::lose(loss::COPY_FAILED);
            break;
        }
        copied += wanted;
        unseen -= length;
        (end, last) = (buffer.address + length, length);
    }
    let tailed = unseen == 0 && copied < size && tail(scratch, end, last);
    (copied, tailed)
}
