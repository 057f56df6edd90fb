//! The name of a service: what its owner says, else what they would call it.
//!
//! In: the facts of a process. Out: `OTEL_SERVICE_NAME`, else `service.name` of `OTEL_RESOURCE_ATTRIBUTES`, else as its
//! pod's service is called, else for an interpreter the script, module or archive it runs, else the executable's name.

use crate::attach::{Language, ProcessFacts};
use crate::pods::model::Value;

/// The name of the service; `own` are the owner's resource attributes, decoded.
pub fn name(facts: &ProcessFacts, own: &[(String, String)]) -> String {
    let own_name = || {
        own.iter()
            .find(|(key, _)| key == "service.name")
            .map(|(_, value)| value.clone())
    };
    facts
        .service_name
        .clone()
        .filter(|name| !name.is_empty())
        .or_else(|| own_name().filter(|name| !name.is_empty()))
        .or_else(|| workload(facts))
        .or_else(|| program(facts))
        .unwrap_or_else(|| executable(facts))
}

/// What Kubernetes calls the service.
fn workload(facts: &ProcessFacts) -> Option<String> {
    let attributes = &facts.workload.as_ref()?.attributes;
    let named = |(key, value): &(_, Value)| match value {
        Value::Text(name) if key == "service.name" => Some(name.to_string()),
        _ => None,
    };
    attributes.iter().find_map(named)
}

fn executable(facts: &ProcessFacts) -> String {
    match facts.executable_name() {
        "" => "unknown_service".to_owned(),
        name => name.to_owned(),
    }
}

/// What an interpreter runs, where the arguments tell.
fn program(facts: &ProcessFacts) -> Option<String> {
    let interpreter = interpreter(facts)?;
    let mut arguments = facts.command_args.iter().skip(1).map(String::as_str);
    while let Some(argument) = arguments.next() {
        if interpreter.code.contains(&argument) {
            return None;
        }
        if interpreter.names.contains(&argument) {
            return arguments.next().and_then(|name| stem(name, interpreter));
        }
        if interpreter.values.contains(&argument) {
            arguments.next();
        } else if !argument.starts_with('-') {
            return stem(argument, interpreter);
        }
    }
    None
}

/// How an interpreter's command line is read.
struct Interpreter {
    language: Language,
    /// The name of its executable, before a version.
    executable: &'static str,
    /// Options whose value is the program.
    names: &'static [&'static str],
    /// Options that take a value in the next argument.
    values: &'static [&'static str],
    /// Options whose value is the program's text: it has no name.
    code: &'static [&'static str],
    /// Ends of file names that are left out.
    suffixes: &'static [&'static str],
}

const INTERPRETERS: [Interpreter; 6] = [
    Interpreter {
        language: Language::Python,
        executable: "python",
        names: &["-m"],
        values: &["-W", "-X", "--check-hash-based-pycs"],
        code: &["-c", "-"],
        suffixes: &[".py", ".pyc", ".pyz"],
    },
    Interpreter {
        language: Language::Node,
        executable: "node",
        names: &[],
        values: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "--env-file",
            "-C",
            "--conditions",
        ],
        code: &["-e", "--eval", "-p", "--print", "-"],
        suffixes: &[".js", ".mjs", ".cjs", ".ts"],
    },
    Interpreter {
        language: Language::Java,
        executable: "java",
        names: &["-jar", "-m", "--module"],
        values: &[
            "-cp",
            "-classpath",
            "--class-path",
            "-p",
            "--module-path",
            "--add-modules",
            "--add-opens",
            "--add-exports",
            "--add-reads",
            "--upgrade-module-path",
        ],
        code: &[],
        suffixes: &[".jar", ".war", ".java"],
    },
    Interpreter {
        language: Language::Ruby,
        executable: "ruby",
        names: &[],
        values: &["-I", "-r", "-C", "-E"],
        code: &["-e", "-"],
        suffixes: &[".rb", ".ru"],
    },
    Interpreter {
        language: Language::Php,
        executable: "php",
        names: &["-f"],
        values: &["-d", "-c", "-S", "-t", "-z"],
        code: &["-r", "-B", "-R", "-"],
        suffixes: &[".php", ".phar"],
    },
    Interpreter {
        language: Language::DotNet,
        executable: "dotnet",
        names: &["exec"],
        values: &[
            "--additionalprobingpath",
            "--depsfile",
            "--runtimeconfig",
            "--fx-version",
        ],
        code: &[],
        suffixes: &[".dll"],
    },
];

/// The interpreter a process is, by its executable: a compiled program in such a language has its own name.
fn interpreter(facts: &ProcessFacts) -> Option<&'static Interpreter> {
    let name = facts.executable_name();
    INTERPRETERS.iter().find(|interpreter| {
        is_version_of(name, interpreter.executable)
            && (facts.language == interpreter.language || facts.language == Language::Unknown)
    })
}

/// `python` is `python`, `python3` and `python3.11`; Debian calls `node` `nodejs` as well.
fn is_version_of(name: &str, executable: &str) -> bool {
    let version = name.strip_prefix(executable);
    version.is_some_and(|version| {
        version == "js"
            || version
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

/// The last part of a path, without what says only what kind of file it is.
fn stem(path: &str, interpreter: &Interpreter) -> Option<String> {
    let file = path.trim_end_matches('/').rsplit('/').next()?;
    let stem = interpreter
        .suffixes
        .iter()
        .find_map(|suffix| file.strip_suffix(suffix))
        .unwrap_or(file);
    (!stem.is_empty()).then(|| stem.to_owned())
}
