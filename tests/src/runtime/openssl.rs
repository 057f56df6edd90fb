//! OpenSSL in a release of its own, as a Python package carries it. In: nothing. Out: the folder for `LD_LIBRARY_PATH`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::build::{once, wheels};

/// What is needed to bring it.
pub const NEEDS: &[&str] = &["python3"];

/// It carries OpenSSL 3.5.4.
const WHEEL: &str = "psycopg2-binary==2.9.11";
const LIBRARIES: &str = "psycopg2_binary.libs";

/// Libraries of OpenSSL 3.5, brought first where they are not there. A program that was built with 3.0 runs with them.
pub fn release_3_5() -> Result<PathBuf> {
    let folder = once("openssl-3.5", &[], WHEEL, bring)?;
    Ok(folder.join(LIBRARIES))
}

fn bring(folder: &Path) -> Result<()> {
    wheels(folder, &[WHEEL])?;
    // Wheels have a hash in the names of libraries.
    let libraries = folder.join(LIBRARIES);
    for entry in fs::read_dir(&libraries)? {
        let library = entry?.path();
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        for wanted in ["libssl", "libcrypto"] {
            if name.starts_with(&format!("{wanted}-")) && name.ends_with(".so.3") {
                symlink(&library, libraries.join(format!("{wanted}.so.3")))?;
            }
        }
    }
    Ok(())
}
