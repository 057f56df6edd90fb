//! Which file it is, whatever it is called: many processes run one, and containers see it by other paths. Pure.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// A file, by its device, inode and time of change, in seconds and nanoseconds.
pub type Identity = (u64, u64, i64, i64);

/// That of a file, as the file system tells of it.
pub fn identity(file: &Metadata) -> Identity {
    (
        device(file.dev()),
        file.ino(),
        file.ctime(),
        file.ctime_nsec(),
    )
}

/// The device that tells files apart. Each container's overlay is one of its own (with major number 0, as all that are not
/// devices), over files that containers of one image share: to the kernel's uprobes these are one.
fn device(device: u64) -> u64 {
    match libc::major(device) {
        0 => 0,
        _ => device,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_over_the_same_files_are_one() {
        let [one, another] = [39, 41].map(|minor| device(libc::makedev(0, minor)));
        assert_eq!(one, another);
        let [one, another] = [0, 1].map(|minor| device(libc::makedev(254, minor)));
        assert_ne!(one, another);
    }
}
