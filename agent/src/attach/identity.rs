//! Which file it is, whatever it is called: many processes run one, and containers see it by other paths. In: an open file. Out: what
//! tells it apart.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// A file for as long as it is there, by its device and inode. What is mapped is there.
pub type Inode = (u64, u64);

/// A file as it was when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    pub inode: Inode,
    /// In seconds and nanoseconds. Its names count, too: of a file that is replaced, and runs on, this is another one.
    pub changed: (i64, i64),
}

impl Identity {
    /// Errors: the file system does not tell.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: (device(metadata.dev(), is_on_overlay(file)?), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The device that tells files apart. Each container's overlay is one of its own, over files that containers of one image share: to
/// the kernel's uprobes these are one. No other file system without a device is like that: the inodes of btrfs' subvolumes, of
/// FUSE and of NFS are their own.
fn device(device: u64, is_on_overlay: bool) -> u64 {
    match is_on_overlay {
        true => 0,
        false => device,
    }
}

fn is_on_overlay(file: &File) -> io::Result<bool> {
    // SAFETY: numbers only, for which zeroes are valid.
    let mut system: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and a place of the right type.
    match unsafe { libc::fstatfs(file.as_raw_fd(), &mut system) } {
        // C libraries differ in their types.
        0 => Ok(i128::from(system.f_type) == i128::from(libc::OVERLAYFS_SUPER_MAGIC)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_over_the_same_files_are_one_and_others_are_not() {
        let [one, another] = [39, 41].map(|minor| libc::makedev(0, minor));
        assert_eq!(device(one, true), device(another, true));
        assert_ne!(device(one, false), device(another, false));
    }

    #[test]
    fn a_file_that_gets_another_name_is_the_same_one_changed() {
        let folder = std::env::temp_dir().join(format!("spanlet-identity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, link) = (folder.join("file"), folder.join("link"));
        std::fs::write(&path, "").unwrap();
        let file = File::open(&path).unwrap();
        let before = Identity::of(&file).unwrap();
        // Clocks of file systems tick every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::hard_link(&path, link).unwrap();
        let after = Identity::of(&file).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(after.inode, before.inode);
        assert_ne!(after.changed, before.changed);
    }
}
