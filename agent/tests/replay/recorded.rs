//! The recordings of the repository. In: their folder. Out: each one's records and what was known of its processes.

use std::fs;
use std::path::PathBuf;

use spanlet::attach::{Language, ProcessFacts};
use spanlet::capture::event::HostPid;
use spanlet::capture::recording::Recording;

/// One recording.
pub struct Recorded {
    /// Its file name, without the ending.
    pub name: String,
    pub records: Vec<Vec<u8>>,
    pub processes: Vec<ProcessFacts>,
}

const LANGUAGES: [Language; 10] = [
    Language::Go,
    Language::Python,
    Language::Node,
    Language::Java,
    Language::Rust,
    Language::Ruby,
    Language::Php,
    Language::DotNet,
    Language::Native,
    Language::Unknown,
];

/// Every recording there is, by name.
pub fn all() -> Vec<Recorded> {
    let entries = fs::read_dir(folder()).expect("the folder of recordings");
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".recording").map(str::to_owned))
        .collect();
    names.sort_unstable();
    assert!(!names.is_empty(), "no recordings in {:?}", folder());
    names.into_iter().map(read).collect()
}

/// The file of a recording with this ending.
pub fn file(name: &str, ending: &str) -> PathBuf {
    folder().join(format!("{name}.{ending}"))
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/recordings"))
}

fn read(name: String) -> Recorded {
    let recording = Recording::read(&file(&name, "recording"))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let listing = fs::read_to_string(file(&name, "processes")).expect("a list of its processes");
    Recorded {
        records: recording.records().map(<[u8]>::to_vec).collect(),
        processes: listing.lines().map(process).collect(),
        name,
    }
}

/// A line of the list: pid, service, language, version of the runtime or `-`, name of the executable.
fn process(line: &str) -> ProcessFacts {
    let words: Vec<&str> = line.split(' ').collect();
    let [pid, service, language, version, executable] = words[..] else {
        panic!("not a process: {line}");
    };
    let language = LANGUAGES.into_iter().find(|known| known.name() == language);
    ProcessFacts {
        pid: HostPid(pid.parse().expect("a pid")),
        // Any number but 0, which stands for facts taken from a parent.
        start_ticks: 1,
        executable_path: executable.to_owned(),
        service_name: Some(service.to_owned()),
        language: language.unwrap_or_else(|| panic!("no language: {line}")),
        runtime_version: (version != "-").then(|| version.to_owned()),
        ..ProcessFacts::default()
    }
}
