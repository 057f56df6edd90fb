//! Configuration. In: `NAME=value` lines of the environment, a line `---`, then a file. Held: nothing panics, every
//! fault is said, and what is sound prints as sound.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use spanlet::config::{Config, RawConfig};

use crate::executable::in_memory;

/// Between the environment and the file.
pub const FILE_BEGINS: &str = "---\n";

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (variables, toml) = text.split_once(FILE_BEGINS).unwrap_or(("", text));
    // Certificates are files that the machine has, or waits for: their names are not the fuzzer's to choose.
    if text.contains("cert")
        || text.contains("CERT")
        || text.contains("key")
        || text.contains("KEY")
    {
        return;
    }
    let file = in_memory(toml.as_bytes());
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let env = |name: &str| {
        let lines = variables.lines().filter_map(|line| line.split_once('='));
        lines
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    match Config::load(Some(&path), env, RawConfig::default()) {
        Ok(config) => assert!(!config.to_string().is_empty()),
        Err(errors) => {
            assert!(!errors.0.is_empty(), "refused without a reason");
            assert!(
                errors.0.iter().all(|fault| !fault.message.is_empty()),
                "{errors}"
            );
        }
    }
}
