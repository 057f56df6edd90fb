//! CPython: the release, where it keeps the `contextvars` Context that runs, which names the asyncio task, and by which functions it
//! makes one for a new task; uvloop: by which it is asked to write.
//!
//! In: the symbols of an executable or of a library. Out: addresses as the file has them, and offsets by release: those of
//! CPython's internal headers, which `cargo xtask python-offsets` prints. The kernel side checks what it reads by them.

use std::fs::File;
use std::path::{Path, PathBuf};

use spanlet_abi::state;

use super::image::Image;
use super::symbol_table;

/// A task is given a copy of the Context of whoever starts it.
pub const COPY_CONTEXT: &str = "PyContext_CopyCurrent";
/// `UVStream._initiate_write`, as Cython names it.
pub const INITIATE_WRITE: &str = "__pyx_f_6uvloop_4loop_8UVStream__initiate_write";

/// What is looked for among the symbols that it is linked by.
const SYMBOLS: [&str; 3] = ["_PyRuntime", "PyContext_Type", "Py_Version"];

/// Byte offsets, amd64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOffsets {
    /// The key of each thread's state, within `_PyRuntime`.
    pub key: u32,
    /// `PyThreadState.thread_id` and `.context`.
    pub thread: u32,
    pub context: u32,
}

/// The offsets of a release, from its version (`3.11.7`). `None` for releases that were not looked at.
pub fn task_offsets(version: &str) -> Option<TaskOffsets> {
    let minor = version.strip_prefix("3.")?.split('.').next()?;
    let (key, thread, context) = match minor {
        "9" | "10" => (588, 176, 240),
        "11" => (596, 152, 224),
        "12" => (1548, 136, 208),
        "13" => (2164, 152, 208),
        "14" => (2340, 152, 208),
        _ => return None,
    };
    Some(TaskOffsets {
        key,
        thread,
        context,
    })
}

/// Whether each thread of that release runs in a Context of its own (`threading.Thread`, since 3.14).
pub fn threads_in_contexts(version: &str) -> bool {
    let minor = version
        .strip_prefix("3.")
        .and_then(|rest| rest.split('.').next());
    minor
        .and_then(|minor| minor.parse().ok())
        .is_some_and(|minor: u32| minor >= 14)
}

/// What the symbols of an executable, or of a library, tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// `Py_Version`: the release as one number, 0x030b07f0 for 3.11.7 (since 3.11).
    pub release: Option<u64>,
    /// Addresses of `_PyRuntime` and `PyContext_Type`.
    runtime: Option<u64>,
    context_type: Option<u64>,
    /// Of the first byte of the file, once it is loaded; `None` where it is loaded at the addresses it has.
    first: Option<u64>,
}

impl Symbols {
    /// Finds them; nothing where there are none.
    pub fn read(file: &File, image: &Image<'_>) -> Self {
        let found = image
            .dynamic_symbols()
            .and_then(|table| symbol_table::find(file, &table, SYMBOLS).ok());
        let [runtime, context_type, release] = found
            .unwrap_or_default()
            .map(|symbol| Some(symbol?.address));
        Self {
            release: release.and_then(|address| image.word(address)),
            runtime,
            context_type,
            first: image.moves_from(),
        }
    }
}

/// Where a CPython keeps its Contexts, as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// The library, as the process sees it; `None`: the executable.
    pub library: Option<PathBuf>,
    key: u64,
    context_type: u64,
    first: Option<u64>,
    offsets: TaskOffsets,
}

impl Tasks {
    /// Errors: why tasks cannot be told apart.
    pub fn find(
        library: Option<&Path>,
        version: Option<&str>,
        symbols: &Symbols,
    ) -> Result<Self, String> {
        let version = version.ok_or("it does not say its version")?;
        let offsets = task_offsets(version)
            .ok_or_else(|| format!("CPython {version} is not among the releases that are known"))?;
        let (Some(runtime), Some(context_type)) = (symbols.runtime, symbols.context_type) else {
            return Err("it has no symbols _PyRuntime and PyContext_Type".to_owned());
        };
        Ok(Self {
            library: library.map(Path::to_owned),
            key: runtime.wrapping_add(offsets.key.into()),
            context_type,
            first: symbols.first,
            offsets,
        })
    }

    /// What the kernel side is told of a process that maps the first byte of the file at `mapped`.
    pub fn of_process(&self, mapped: Option<u64>) -> state::Python {
        let bias = match (self.first, mapped) {
            (None, _) => 0,
            (Some(first), Some(mapped)) => mapped.wrapping_sub(first),
            (Some(_), None) => return state::Python::default(),
        };
        state::Python {
            key: self.key.wrapping_add(bias),
            context_type: self.context_type.wrapping_add(bias),
            thread: self.offsets.thread,
            context: self.offsets.context,
        }
    }
}

/// Whether a library is CPython's own.
pub fn is_library(name: &str) -> bool {
    name.starts_with("libpython3.") && name.contains(".so")
}

/// Whether a library is uvloop's.
pub fn is_uvloop(name: &str) -> bool {
    name.starts_with("loop.cpython-3") && name.ends_with(".so")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(first: Option<u64>) -> Symbols {
        Symbols {
            release: None,
            runtime: Some(0x5000),
            context_type: Some(0x4000),
            first,
        }
    }

    #[test]
    fn knows_releases_that_were_looked_at_and_no_others() {
        let of = |version| task_offsets(version).map(|offsets| offsets.key);
        assert_eq!(of("3.9.18"), Some(588));
        assert_eq!(of("3.11"), Some(596));
        assert_eq!(of("3.14.0"), Some(2340));
        for other in ["3.8.18", "3.15.0", "2.7.18", "3", "4.11", "3.1", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn addresses_are_those_of_the_process() {
        let fixed = Tasks::find(None, Some("3.11.2"), &symbols(None)).unwrap();
        assert_eq!(fixed.of_process(None).key, 0x5000 + 596);
        let moved = Tasks::find(None, Some("3.11.2"), &symbols(Some(0x1000))).unwrap();
        let state = moved.of_process(Some(0x7f00_0000_1000));
        assert_eq!(state.key, 0x7f00_0000_5000 + 596);
        assert_eq!(state.context_type, 0x7f00_0000_4000);
        assert_eq!((state.thread, state.context), (152, 224));
        assert_eq!(moved.of_process(None), state::Python::default());
    }

    #[test]
    fn what_is_lacking_is_said() {
        let why = |version, symbols: &Symbols| Tasks::find(None, version, symbols).unwrap_err();
        assert!(why(Some("3.15.0"), &symbols(None)).contains("3.15.0"));
        assert!(why(None, &symbols(None)).contains("version"));
        assert!(why(Some("3.12.1"), &Symbols::default()).contains("_PyRuntime"));
    }
}
