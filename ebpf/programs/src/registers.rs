//! The registers of a system call: its number and its arguments, as they were when the process called.
//!
//! amd64: the kernel leaves them in `pt_regs` until the call is over, so no hook at its entry is needed.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

/// Byte range of amd64 `pt_regs` from `r10` to `cs` (arch/x86/include/asm/ptrace.h).
const FIRST: u64 = 56;
const CODE_SEGMENT_64: u16 = 0x33;

#[repr(C)]
#[derive(Clone, Copy)]
struct Amd64 {
    r10: u64,
    r9: u64,
    r8: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    orig_rax: u64,
    rip: u64,
    cs: u64,
}

/// A system call and its first four arguments.
#[derive(Clone, Copy)]
pub struct SystemCall {
    pub number: u32,
    pub arguments: [u64; 4],
}

/// Numbers of amd64 (arch/x86/entry/syscalls/syscall_64.tbl).
pub mod number {
    /// Stands for any call of a 32-bit program, whose numbers are others.
    pub const OF_32_BITS: u32 = u32::MAX;
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const PREAD64: u32 = 17;
    pub const PWRITE64: u32 = 18;
    pub const READV: u32 = 19;
    pub const WRITEV: u32 = 20;
    pub const SENDFILE: u32 = 40;
    pub const CONNECT: u32 = 42;
    pub const ACCEPT: u32 = 43;
    pub const SENDTO: u32 = 44;
    pub const RECVFROM: u32 = 45;
    pub const SENDMSG: u32 = 46;
    pub const RECVMSG: u32 = 47;
    pub const SPLICE: u32 = 275;
    pub const ACCEPT4: u32 = 288;
    pub const PREADV: u32 = 295;
    pub const PWRITEV: u32 = 296;
    pub const RECVMMSG: u32 = 299;
    pub const SENDMMSG: u32 = 307;
    pub const PREADV2: u32 = 327;
    pub const PWRITEV2: u32 = 328;
    pub const IO_URING_ENTER: u32 = 426;
}

/// Whether a call writes to its first descriptor (for a splice: to a pipe); `None` for calls that move nothing over
/// a socket.
#[inline(always)]
pub fn direction(call: u32) -> Option<bool> {
    match call {
        number::READ
        | number::READV
        | number::PREAD64
        | number::PREADV
        | number::PREADV2
        | number::RECVFROM
        | number::RECVMSG
        | number::RECVMMSG
        | number::SPLICE => Some(false),
        number::WRITE
        | number::WRITEV
        | number::PWRITE64
        | number::PWRITEV
        | number::PWRITEV2
        | number::SENDTO
        | number::SENDMSG
        | number::SENDMMSG
        | number::SENDFILE => Some(true),
        _ => None,
    }
}

/// Byte offset of `sp` in amd64 `pt_regs`.
const STACK: usize = 152;

/// Where the stack of the running thread is in its process.
#[inline(always)]
pub fn stack() -> u64 {
    // SAFETY: as in `SystemCall::current`.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        *registers.add(STACK).cast()
    }
}

impl SystemCall {
    /// The call that the running thread is in.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: both helpers take and give pointers that the verifier checks, and it lets their type be read.
        unsafe {
            let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
            Self::from(&*registers.add(FIRST as usize).cast())
        }
    }

    /// The call whose `pt_regs` are at this kernel address. `None` where they cannot be read.
    #[inline(always)]
    pub fn of(registers: u64) -> Option<Self> {
        let amd64: Amd64 = crate::kernel::field(registers + FIRST, 0)?;
        Some(Self::from(&amd64))
    }

    #[inline(always)]
    fn from(amd64: &Amd64) -> Self {
        let number = if amd64.cs as u16 != CODE_SEGMENT_64 {
            // The upper bits hold other things where the processor has FRED.
            number::OF_32_BITS
        } else if amd64.rip == 0 {
            // A worker of io_uring has a copy of its maker's registers, without a place to return to.
            number::IO_URING_ENTER
        } else {
            amd64.orig_rax as u32
        };
        Self {
            number,
            arguments: [amd64.rdi, amd64.rsi, amd64.rdx, amd64.r10],
        }
    }
}
