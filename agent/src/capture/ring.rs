//! Touches the kernel: the reading end of a BPF ring buffer. In: its descriptor. Out: the bytes of each record.
//!
//! The kernel offers the data mapped twice in a row, so that no record is ever in two pieces; but each page counts as
//! memory of this process for each time it is mapped. Here it is mapped once, and the one record in a lap that goes over
//! the end is put together. Layout: kernel/bpf/ringbuf.c.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Before each record: its length and marks in four bytes, and four for the kernel's own use.
const HEADER_BYTES: usize = 8;
/// The record is being written.
const BUSY: u32 = 1 << 31;
/// It was given up.
const DISCARDED: u32 = 1 << 30;

/// See the file.
pub struct Ring {
    descriptor: OwnedFd,
    /// The page of the position up to which was read: the only one that is written here.
    consumer: Mapping,
    /// The page of the position up to which was written, then the data.
    producer: Mapping,
    page: usize,
    size: usize,
    position: u64,
    /// The position that the kernel knows of.
    told: u64,
    joined: Vec<u8>,
}

impl Ring {
    /// The ring with `size` bytes of data, a power of two, behind `descriptor`.
    ///
    /// Errors: it cannot be mapped: it is none, or it is smaller.
    pub fn new(descriptor: OwnedFd, size: usize) -> io::Result<Self> {
        // SAFETY: sysconf takes a number and has no other effect.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
        let page = page.map_err(io::Error::other)?;
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let consumer = Mapping::new(descriptor.as_fd(), 0, page, writable)?;
        let producer = Mapping::new(descriptor.as_fd(), page, page + size, libc::PROT_READ)?;
        let mut ring = Self {
            descriptor,
            consumer,
            producer,
            page,
            size,
            position: 0,
            told: 0,
            joined: Vec::new(),
        };
        ring.position = ring.consumer.position().load(Ordering::Acquire);
        ring.told = ring.position;
        Ok(ring)
    }

    /// Hands each record that is there, but at most `limit`, to `take`. Gives how many there were.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        let mut written = self.position;
        while taken < limit {
            if self.position == written {
                written = self.producer.position().load(Ordering::Acquire);
            }
            if self.position == written {
                break;
            }
            let header = self.header();
            if header & BUSY != 0 {
                break;
            }
            let length = (header & !DISCARDED) as usize;
            if header & DISCARDED == 0 {
                take(self.record(length));
                taken += 1;
            }
            self.position += (HEADER_BYTES + length).next_multiple_of(8) as u64;
            // Told seldom, because each time takes the page away from the processors that write; but long before
            // they run out of room.
            if self.position - self.told >= self.size as u64 / 64 {
                self.tell();
            }
        }
        self.tell();
        taken
    }

    fn tell(&mut self) {
        self.told = self.position;
        let position = self.consumer.position();
        position.store(self.position, Ordering::Release);
    }

    /// Where the byte so far after the position is in the data.
    fn offset(&self, after: usize) -> usize {
        (self.position as usize + after) & (self.size - 1)
    }

    fn header(&self) -> u32 {
        let place = self.page + self.offset(0);
        // SAFETY: records begin at multiples of 8 in the data, which is mapped for as long as `producer` lives; the
        // kernel writes this word with atomic stores.
        let word = unsafe { &*self.producer.start.as_ptr().add(place).cast::<AtomicU32>() };
        word.load(Ordering::Acquire)
    }

    /// The bytes of the record at the position.
    fn record(&mut self, length: usize) -> &[u8] {
        let length = length.min(self.size - HEADER_BYTES);
        let start = self.offset(HEADER_BYTES);
        let first = length.min(self.size - start);
        // SAFETY: both pieces are within the mapped data. The kernel does not write between the position it was told
        // and the end of a record that is not busy; it is told of this one only after it was taken.
        let (first, rest) = unsafe {
            let data = self.producer.start.as_ptr().add(self.page);
            (
                std::slice::from_raw_parts(data.add(start), first),
                std::slice::from_raw_parts(data, length - first),
            )
        };
        if rest.is_empty() {
            return first;
        }
        self.joined.clear();
        self.joined.extend_from_slice(first);
        self.joined.extend_from_slice(rest);
        &self.joined
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Pages of the ring, unmapped with the value.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the pages belong to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(
        descriptor: BorrowedFd<'_>,
        offset: usize,
        length: usize,
        protection: i32,
    ) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at a place that the kernel chooses touches nothing that is there.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                descriptor.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(address) if start != libc::MAP_FAILED => Ok(Self {
                start: address,
                length,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The word at the start of its first page.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: a page is aligned for it and mapped for as long as this value; both sides use atomic access.
        unsafe { &*self.start.as_ptr().cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nothing that borrows from it outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::FileExt;

    const SIZE: usize = 4096;
    const PAGE: usize = 4096;

    /// A file in the place of the ring, and the kernel's part.
    struct Kernel {
        file: File,
        written: u64,
    }

    impl Kernel {
        fn new() -> (Self, Ring) {
            // SAFETY: the name is a C string; the descriptor is new, and owned from here on.
            let file = unsafe { File::from_raw_fd(libc::memfd_create(c"ring".as_ptr(), 0)) };
            file.set_len((2 * PAGE + SIZE) as u64).unwrap();
            let ring = Ring::new(file.try_clone().unwrap().into(), SIZE).unwrap();
            (Self { file, written: 0 }, ring)
        }

        fn put(&mut self, offset: usize, byte: u8) {
            let place = 2 * PAGE + (self.written as usize + offset) % SIZE;
            self.file.write_all_at(&[byte], place as u64).unwrap();
        }

        fn write(&mut self, record: &[u8], marks: u32) {
            let header = (record.len() as u32 | marks).to_ne_bytes();
            let bytes = header.iter().chain(&[0; 4]).chain(record);
            for (offset, byte) in bytes.enumerate() {
                self.put(offset, *byte);
            }
            self.written += (HEADER_BYTES + record.len()).next_multiple_of(8) as u64;
            let position = self.written.to_ne_bytes();
            self.file.write_all_at(&position, PAGE as u64).unwrap();
        }

        fn read_up_to(&self) -> u64 {
            let mut position = [0; 8];
            self.file.read_exact_at(&mut position, 0).unwrap();
            u64::from_ne_bytes(position)
        }
    }

    fn drain(ring: &mut Ring, limit: usize) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        ring.drain(limit, |record| records.push(record.to_vec()));
        records
    }

    #[test]
    fn records_come_whole_over_many_laps() {
        let (mut kernel, mut ring) = Kernel::new();
        for length in 0..400usize {
            let record: Vec<u8> = (0..length).map(|byte| (byte * 7 + length) as u8).collect();
            kernel.write(&record, 0);
            assert_eq!(drain(&mut ring, 10), [record]);
            assert_eq!(kernel.read_up_to(), kernel.written);
        }
        assert!(kernel.written > 10 * SIZE as u64);
    }

    #[test]
    fn what_is_not_finished_waits_and_what_was_given_up_is_passed_over() {
        let (mut kernel, mut ring) = Kernel::new();
        kernel.write(b"one", 0);
        kernel.write(b"given up", DISCARDED);
        kernel.write(b"two", 0);
        kernel.write(b"three", BUSY);
        assert_eq!(drain(&mut ring, 1), [b"one"]);
        assert_eq!(kernel.read_up_to(), 16);
        assert_eq!(drain(&mut ring, 10), [b"two"]);
        assert_eq!(kernel.read_up_to(), 48);
        assert_eq!(drain(&mut ring, 10), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_no_ring_is_refused() {
        let file = File::open("/dev/null").unwrap();
        assert!(Ring::new(file.into(), SIZE).is_err());
    }
}
