//! The bytes of a call: bounded, from the function's own buffers, which it has just read into or written from.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use spanlet_abi::limit::{BUFFERS_MAX, TAIL_BYTES, TURN_BYTES_MAX};
use spanlet_abi::loss;
use spanlet_abi::record::flag;
use spanlet_abi::state::Connection;

use crate::constants::constant;
use crate::emit;
use crate::kernel::user;
use crate::maps::Scratch;
use crate::registers::{number, SystemCall};

/// Where the bytes of a call are in the memory of the process. Every word is written, whatever the place: the verifier
/// wants that of what it sees passed on.
#[derive(Clone, Copy)]
pub struct Source {
    place: Place,
    /// Of [`Place::Vector`].
    count: u32,
    address: u64,
}

#[repr(u32)]
#[derive(Clone, Copy)]
enum Place {
    /// Nowhere: a file (sendfile, splice).
    File,
    /// Somewhere that is not looked at (io_uring, 32-bit programs).
    Unknown,
    /// One buffer.
    Buffer,
    /// This many `struct iovec`.
    Vector,
}

impl Source {
    pub const FILE: Self = Self::new(Place::File, 0, 0);
    pub const UNKNOWN: Self = Self::new(Place::Unknown, 0, 0);

    const fn new(place: Place, address: u64, count: u32) -> Self {
        Self {
            place,
            count,
            address,
        }
    }

    pub const fn buffer(address: u64) -> Self {
        Self::new(Place::Buffer, address, 1)
    }

    /// The address of the first byte, of one buffer; 0 for others.
    #[inline(always)]
    pub fn first(&self) -> u64 {
        match self.place {
            Place::Buffer => self.address,
            _ => 0,
        }
    }

    const fn vector(address: u64, count: u32) -> Self {
        Self::new(Place::Vector, address, count)
    }
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
        | number::PWRITE64 => Source::buffer(second),
        number::READV
        | number::WRITEV
        | number::PREADV
        | number::PWRITEV
        | number::PREADV2
        | number::PWRITEV2 => Source::vector(second, third as u32),
        // A `struct mmsghdr` begins with its `struct msghdr`.
        number::SENDMSG | number::RECVMSG | number::SENDMMSG | number::RECVMMSG => {
            vector_of(second)
        }
        number::SENDFILE | number::SPLICE => Source::FILE,
        _ => Source::UNKNOWN,
    }
}

#[inline(always)]
fn vector_of(message: u64) -> Source {
    match user::<Message>(message) {
        Some(message) => Source::vector(message.vector, message.vector_length as u32),
        None => Source::UNKNOWN,
    }
}

/// Copies what the turn's budget allows of a call's `size` bytes into the scratch and completes its `Io`; gives how many.
#[inline(always)]
pub fn copy(source: &Source, size: u32, connection: &mut Connection, scratch: &mut Scratch) -> u32 {
    let (turn, answer) = (
        constant!(SETTINGS.turn_bytes),
        constant!(SETTINGS.answer_bytes),
    );
    let mut left = connection.turn_bytes_left;
    let copied = if left == turn {
        // Of an answer only the head is needed: so much is copied at first, then it is seen what it is.
        let begun = bytes(source, size, answer, scratch);
        if begun >= 4 && scratch.bytes[..4] == *b"HTTP" {
            left = answer;
            begun
        } else if begun == answer && begun < size {
            scratch.io.header.flags &= !flag::TAIL;
            bytes(source, size, turn, scratch)
        } else {
            begun
        }
    } else {
        bytes(source, size, left, scratch)
    };
    connection.turn_bytes_left = left.saturating_sub(copied);
    copied
}

/// Why nothing was copied of a call that moved bytes.
#[inline(always)]
pub fn missing(source: &Source) -> u32 {
    match source.place {
        Place::File | Place::Unknown => loss::NO_BUFFER,
        Place::Buffer | Place::Vector => loss::COPY_FAILED,
    }
}

/// Copies at most `budget` bytes.
#[inline(always)]
fn bytes(source: &Source, size: u32, budget: u32, scratch: &mut Scratch) -> u32 {
    match source.place {
        Place::Buffer => one(source.address, size, budget, scratch),
        Place::Vector => many(source.address, source.count, size, budget, scratch),
        Place::File => 0,
        Place::Unknown => {
            emit::lose(loss::NO_BUFFER);
            0
        }
    }
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

/// Notes the last bytes of a call that was not copied whole.
#[inline(always)]
fn tail(scratch: &mut Scratch, end: u64, length: u64) {
    if length < TAIL_BYTES as u64 {
        return;
    }
    if let Some(bytes) = user::<[u8; TAIL_BYTES]>(end - TAIL_BYTES as u64) {
        scratch.io.tail = bytes;
        scratch.io.header.flags |= flag::TAIL;
    }
}

#[inline(always)]
fn one(address: u64, size: u32, budget: u32, scratch: &mut Scratch) -> u32 {
    let copied = size.min(budget);
    if !read(scratch, 0, copied, address) {
        emit::lose(loss::COPY_FAILED);
        return 0;
    }
    if copied < size {
        tail(scratch, address + size as u64, size as u64);
    }
    copied
}

#[inline(never)]
fn many(vector: u64, count: u32, size: u32, budget: u32, scratch: &mut Scratch) -> u32 {
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
    if unseen == 0 && copied < size {
        tail(scratch, end, last);
    }
    copied
}
