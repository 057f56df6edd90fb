//! The bytes of a call: bounded, from the function's own buffers, which it has just read into or written from.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use spanlet_abi::limit::{BUFFERS_MAX, TAIL_BYTES, TURN_BYTES_MAX};
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
    // Of an answer only the head is needed.
    if connection.turn_bytes_left == constant!(SETTINGS.turn_bytes) && is_answer(source) {
        connection.turn_bytes_left = constant!(SETTINGS.answer_bytes);
    }
    let left = connection.turn_bytes_left;
    let result = match source {
        Source::File => (0, false),
        Source::Unknown => {
            emit::lose(loss::NO_BUFFER);
            (0, false)
        }
        Source::Buffer(address) => one(address, size, left, scratch),
        Source::Vector(address, count) => many(address, count, size, left, scratch),
    };
    connection.turn_bytes_left = left.saturating_sub(result.0);
    result
}

/// Why nothing was copied of a call that moved bytes.
#[inline(always)]
pub fn missing(source: &Source) -> u32 {
    match source {
        Source::File | Source::Unknown => loss::NO_BUFFER,
        Source::Buffer(_) | Source::Vector(..) => loss::COPY_FAILED,
    }
}

/// Whether the bytes begin as a status line does.
#[inline(always)]
fn is_answer(source: Source) -> bool {
    let address = match source {
        Source::Buffer(address) => Some(address),
        Source::Vector(vector, _) => user::<Buffer>(vector).map(|buffer| buffer.address),
        Source::File | Source::Unknown => None,
    };
    address.and_then(user::<[u8; 4]>) == Some(*b"HTTP")
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
    let copied = size.min(budget);
    if !read(scratch, 0, copied, address) {
        emit::lose(loss::COPY_FAILED);
        return (0, false);
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
