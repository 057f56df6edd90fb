//! The functions of the demo: the test functions of Go and Python, in a chain. In: nothing. Out: running processes
//! with names, ended with the value.

use std::fmt;

use anyhow::{Context, Result};
use spanlet_e2e::client::Address;
use spanlet_e2e::function::{Function, Options};
use spanlet_e2e::language::Language;

/// Each calls the one after it.
const CHAIN: [(&str, Language); 3] = [
    ("gateway", Language::Go),
    ("orders", Language::Python),
    ("stock", Language::Go),
];

/// The running functions, in the order of [`CHAIN`].
pub struct Cast(Vec<Function>);

/// Builds what has to be built, so that starting them needs no compiler.
pub fn build() -> Result<()> {
    CHAIN
        .iter()
        .try_for_each(|(_, language)| language.command().map(|_| ()))
}

/// `gateway (go), …`.
pub fn names() -> String {
    let names = CHAIN.map(|(name, language)| format!("{name} ({})", language.name()));
    names.join(", ")
}

impl Cast {
    /// Starts them, the last of the chain first.
    pub fn start() -> Result<Self> {
        let mut functions = Vec::new();
        let mut next = None;
        for (name, language) in CHAIN.iter().rev() {
            let function = start(name, *language, next.take())?;
            next = Some(function.address.clone());
            functions.insert(0, function);
        }
        Ok(Self(functions))
    }

    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().map(Function::pid)
    }

    /// Where requests from outside go.
    pub fn entrance(&self) -> Address {
        self.0[0].address.clone()
    }
}

fn start(name: &str, language: Language, next: Option<Address>) -> Result<Function> {
    let options = Options {
        next,
        environment: vec![("OTEL_SERVICE_NAME".to_owned(), name.to_owned())],
        ..Options::default()
    };
    Function::start(language, &options).with_context(|| format!("cannot start {name}"))
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Three functions run, each a plain HTTP server that knows nothing of tracing:\n"
        )?;
        for ((name, language), function) in CHAIN.iter().zip(&self.0) {
            let (pid, address) = (function.pid(), function.address.authority());
            writeln!(
                f,
                "  {name:<8} {:<7} pid {pid:<8} http://{address}",
                language.name()
            )?;
        }
        writeln!(
            f,
            "\nA few requests a second go to gateway; it calls orders, and orders calls stock."
        )
    }
}
