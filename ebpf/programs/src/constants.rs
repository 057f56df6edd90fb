//! The constants that the agent sets at load time. The verifier folds them, so an absent feature costs nothing.

use spanlet_abi::settings::{Offsets, Settings};

// SAFETY of both: zeroes are valid values; the loader replaces them before the verifier sees the program.
#[no_mangle]
pub static OFFSETS: Offsets = unsafe { core::mem::zeroed() };
#[no_mangle]
pub static SETTINGS: Settings = unsafe { core::mem::zeroed() };

/// Reads one constant; volatile, so that the compiler does not take the zero it sees for the value.
macro_rules! constant {
    ($place:ident . $field:ident) => {
        // SAFETY: a reference to a live static.
        unsafe { core::ptr::read_volatile(&raw const $crate::constants::$place.$field) }
    };
}
pub(crate) use constant;
