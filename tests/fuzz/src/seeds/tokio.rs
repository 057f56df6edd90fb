//! tokio in a file that is as small as can be.

use super::symbols::{self, Function};

/// mov %rdi,%fs:-0x28; ret
pub const KEEPS: &[u8] = &[0x64, 0x48, 0x89, 0x3c, 0x25, 0xd8, 0xff, 0xff, 0xff, 0xc3];
/// push %rbp; ret
const PUSH: &[u8] = &[0x55, 0xc3];

const FUNCTIONS: [Function; 5] = [
    ("_ZN5tokio7runtime7context19set_current_task_id17hee45946242654cccE", KEEPS),
    ("_ZN5tokio7runtime4task5waker11wake_by_val17hdf1c6a1e5d94a1e6E.llvm.1", PUSH),
    ("_RNvNtNtNtCs9ltgdHTiPiY_5tokio7runtime4task5waker11wake_by_ref", PUSH),
    (
        "_ZN5tokio7runtime9scheduler12multi_thread6worker34schedule_option_task_without_yield17hdfedad5b828dcfb6E",
        PUSH,
    ),
    ("_ZN5tokio7runtime9scheduler14current_thread8schedule17h9a65d82f3b059f81E", PUSH),
];

/// The whole file.
pub fn file() -> Vec<u8> {
    symbols::file(&FUNCTIONS, [(".symtab", 2), (".strtab", 3)])
}
