//! Touches files: the language and runtime version of an executable, from what it and its libraries say of
//! themselves. Nothing is executed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use object::ReadCache;
use spanlet_abi::state;

use super::golang;
use super::golang::releases::{Known, Teller};
use super::golang::sources::{Sources, Unknown};
use super::image::Image;
use super::process::Language;
use super::python::{Symbols, Tasks};
use super::tokio;

/// What an executable is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    pub language: Language,
    pub name: Option<String>,
    pub version: Option<String>,
    /// Go: what is known of its release, or why goroutines cannot be told apart.
    pub release: Option<Result<Known, Unknown>>,
    /// CPython: where the task that runs is found, or why it is not.
    pub tasks: Option<Result<Tasks, String>>,
    /// tokio: where its threads keep the task that they run, or why that is not known (see [`tokio::of`]).
    pub tokio: Option<Result<state::Tokio, tokio::Fault>>,
}

impl Runtime {
    /// Go: who tells where it keeps what is read.
    pub fn told_by(&self) -> Option<Teller> {
        let known = self.release.as_ref()?.as_ref().ok()?;
        Some(known.by)
    }

    /// Go: more will be known once the program's debug information was read.
    pub fn is_being_read(&self) -> bool {
        matches!(self.release, Some(Err(Unknown::BeingRead(_))))
    }

    /// Nothing more will be known later. Just after exec the libraries that name a release are not mapped yet.
    pub fn is_complete(&self) -> bool {
        let release = self.version.as_deref().unwrap_or_default();
        release.matches('.').count() >= 2
    }
}

/// Bytes of a section, or of a JDK's `release`, that are read at most: both are some hundred bytes long.
const TEXT_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a Node.js executable that are searched at once for its version.
const SEARCH_BYTES: usize = 1 << 20;

/// Inspects the executable at `path` (as this agent sees it) of a process that maps `libraries`.
/// An executable that cannot be read or is no ELF file is of unknown language.
pub fn inspect(
    path: &Path,
    executable_name: &str,
    libraries: &[PathBuf],
    sources: &Sources,
) -> Runtime {
    let Some(file) = open(path) else {
        return Runtime::default();
    };
    let cache = ReadCache::new(&file);
    let Ok(image) = Image::read(&file, &cache) else {
        return Runtime::default();
    };
    if image.extent(golang::BUILD_INFORMATION).is_some() {
        return go(&image, sources);
    }
    let library = |prefix: &str| {
        libraries
            .iter()
            .find(|path| file_name(path).starts_with(prefix))
    };
    let is = |name: &str| executable_name.starts_with(name);
    if is("node") {
        return runtime(Language::Node, "nodejs", node_version(path));
    }
    if let Some(library) = library("libpython3") {
        return python(&rebased(path, library), Some(library));
    }
    if is("python") {
        return python(path, None);
    }
    if is("java") || library("libjvm.so").is_some() {
        return java(path);
    }
    if is("ruby") || library("libruby").is_some() {
        return runtime(Language::Ruby, "ruby", None);
    }
    if is("php") {
        return runtime(Language::Php, "php", None);
    }
    if is("dotnet") || library("libcoreclr.so").is_some() {
        return runtime(Language::DotNet, ".NET", None);
    }
    if is_rust(&image) {
        return Runtime {
            language: Language::Rust,
            ..Runtime::default()
        };
    }
    Runtime {
        language: Language::Native,
        ..Runtime::default()
    }
}

/// Opens a file that a stranger may have made: a pipe or a device would hold the agent up for ever.
pub fn open(path: &Path) -> Option<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

fn runtime(language: Language, name: &str, version: Option<String>) -> Runtime {
    Runtime {
        language,
        name: Some(name.to_owned()),
        version,
        ..Runtime::default()
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// A library's path in the same view of the file system as the executable's (`/proc/PID/root`).
fn rebased(executable: &Path, library: &Path) -> PathBuf {
    match executable.parent() {
        Some(process) => process
            .join("root")
            .join(library.strip_prefix("/").unwrap_or(library)),
        None => library.to_owned(),
    }
}

fn go(image: &Image<'_>, sources: &Sources) -> Runtime {
    let start = image.start(golang::BUILD_INFORMATION, golang::BUILD_INFORMATION_BYTES);
    let version = golang::version(&start);
    let release = match version.as_deref() {
        None => Err(Unknown::NoVersion),
        // The goroutine is at `fsbase - 8` when it is the program's only thread-local variable.
        Some(_) if image.thread_local_bytes() > 8 => Err(Unknown::ThreadLocals),
        Some(version) => sources.of(version, image),
    };
    Runtime {
        release: Some(release),
        ..runtime(Language::Go, "go", version)
    }
}

/// By the symbols at `path`, those of the executable or of a library.
fn python(path: &Path, library: Option<&PathBuf>) -> Runtime {
    let symbols = python_symbols(path).unwrap_or_default();
    let part = |release: u64, shift: u32| release >> shift & 0xff;
    let release = symbols.release.map(|release| {
        let [major, minor, patch] = [24, 16, 8].map(|shift| part(release, shift));
        format!("{major}.{minor}.{patch}")
    });
    let version = release.or_else(|| python_of_path(path));
    let tasks = Tasks::find(library.map(PathBuf::as_path), version.as_deref(), &symbols);
    Runtime {
        tasks: Some(tasks),
        ..runtime(Language::Python, "cpython", version)
    }
}

fn python_symbols(path: &Path) -> Option<Symbols> {
    let file = open(path)?;
    let cache = ReadCache::new(&file);
    let image = Image::read(&file, &cache).ok()?;
    Some(Symbols::read(&file, &image))
}

/// Before 3.11 only the path says the release, and not all of it.
fn python_of_path(path: &Path) -> Option<String> {
    let name = std::fs::canonicalize(path).ok()?;
    let (_, version) = file_name(&name).split_once("python")?;
    let version = version.trim_end_matches(".so.1.0");
    version.starts_with('3').then(|| version.to_owned())
}

/// A JDK says what it is in the file `release` beside its `bin`.
fn java(executable: &Path) -> Runtime {
    let release = std::fs::read_link(executable)
        .ok()
        .and_then(|path| Some(rebased(executable, path.parent()?.parent()?).join("release")))
        .and_then(|path| text_of(&path))
        .unwrap_or_default();
    let value = |key: &str| {
        release.lines().find_map(|line| {
            let value = line.strip_prefix(key)?.strip_prefix('=')?;
            Some(value.trim_matches('"').to_owned())
        })
    };
    runtime(
        Language::Java,
        "OpenJDK Runtime Environment",
        value("JAVA_RUNTIME_VERSION").or_else(|| value("JAVA_VERSION")),
    )
}

fn text_of(path: &Path) -> Option<String> {
    let mut text = String::new();
    open(path)?
        .take(TEXT_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// Node.js carries its release as text: `node.js/v20.20.2`.
fn node_version(path: &Path) -> Option<String> {
    const MARK: &[u8] = b"node.js/v";
    let mut file = open(path)?;
    let mut window = Vec::new();
    loop {
        let read = file
            .by_ref()
            .take(SEARCH_BYTES as u64)
            .read_to_end(&mut window)
            .ok()?;
        if let Some(version) = after_mark(&window, MARK) {
            return Some(version);
        }
        if read == 0 {
            return None;
        }
        // What is kept could be the start of a mark that the next window ends.
        window.drain(..window.len().saturating_sub(2 * MARK.len() + 16));
    }
}

fn after_mark(bytes: &[u8], mark: &[u8]) -> Option<String> {
    let finder = memchr::memmem::Finder::new(mark);
    finder.find_iter(bytes).find_map(|at| {
        let rest = bytes.get(at + mark.len()..)?;
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let version = std::str::from_utf8(rest.get(..end)?).ok()?;
        (version.matches('.').count() == 2).then(|| version.to_owned())
    })
}

fn is_rust(image: &Image<'_>) -> bool {
    let comment = image.start(".comment", TEXT_BYTES_MAX as usize);
    let is_named = memchr::memmem::find(&comment, b"rustc version").is_some();
    is_named || image.extent(".rustc").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_version_behind_its_mark() {
        let bytes = b"..node.js/vX node.js/v20.20.2\0..";
        assert_eq!(after_mark(bytes, b"node.js/v").as_deref(), Some("20.20.2"));
        assert_eq!(after_mark(b"node.js/v20.2", b"node.js/v"), None);
    }

    #[test]
    fn this_test_is_a_rust_program() {
        let path = Path::new("/proc/self/exe");
        let found = inspect(path, "decode", &[], &Sources::default()).language;
        assert_eq!(found, Language::Rust);
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_does_not_hold_it_up() {
        let path = std::env::temp_dir().join(format!("spanlet-pipe-{}", std::process::id()));
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a string that ends with a zero byte.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let found = (
            inspect(&path, "node", &[], &Sources::default()),
            text_of(&path),
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found, (Runtime::default(), None));
    }

    #[test]
    fn what_is_no_elf_file_is_unknown() {
        for path in ["/proc/self/cmdline", "/nonexistent"] {
            let found = inspect(Path::new(path), "node", &[], &Sources::default());
            assert_eq!(found, Runtime::default());
        }
    }
}
