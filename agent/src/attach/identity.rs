//! Which file it is, whatever it is called: many processes run one, and containers see it by other paths. Pure.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// A file, by its device, inode and time of change, in seconds and nanoseconds.
pub type Identity = (u64, u64, i64, i64);

/// That of a file, as the file system tells of it.
pub fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())
}
