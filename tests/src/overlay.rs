//! A folder as containers of one image have it: each sees the same files through an overlay of its own, which is another device to
//! whoever asks. In: a folder. Out: where it is seen, until the value ends. This file touches the world.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::runtime::build::run;
use crate::scratch::Scratch;

/// A mount that cannot be written to.
#[derive(Debug)]
pub struct Overlay {
    place: PathBuf,
    /// Removed once nothing is mounted in it.
    _scratch: Scratch,
}

impl Overlay {
    pub fn of(folder: &Path) -> Result<Self> {
        let scratch = Scratch::new()?;
        // Without a layer to write to, the kernel wants two to read.
        let (place, empty) = (scratch.join("merged"), scratch.join("empty"));
        fs::create_dir(&place)?;
        fs::create_dir(&empty)?;
        let layers = format!("lowerdir={}:{}", folder.display(), empty.display());
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &layers]);
        run(mount.arg(&place))?;
        Ok(Self {
            place,
            _scratch: scratch,
        })
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still run from it.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.place)
            .status();
    }
}
