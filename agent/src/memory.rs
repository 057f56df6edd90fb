//! Touches the allocator: what start-up and bursts took goes back to the kernel. Only glibc's keeps so much that it is
//! worth asking; elsewhere these do nothing.

/// Larger pieces come from the kernel and go back to it at once. glibc raises this by itself when one is freed, up to
/// 32 MiB, and then keeps what start-up took for reading the kernel's types.
#[cfg(target_env = "gnu")]
const PIECE_BYTES_MAX: libc::c_int = 1 << 20;

/// To be called before anything large is allocated.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes numbers of the allocator, which it guards itself.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, PIECE_BYTES_MAX);
        // Threads seldom allocate at the same time: one place for all leaves fewer holes.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what is free.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it returns free pages only, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
