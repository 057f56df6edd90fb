//! nginx in front of a function, by what it does with requests besides passing them on. In: a name. Out: both, running.

use anyhow::Result;

use super::plan::Shape;
use crate::function::{Function, Options};
use crate::language::Language;
use crate::runtime;

/// A configuration of nginx (`tests/functions/start.py`).
#[derive(Debug)]
pub struct Front {
    pub name: &'static str,
    /// What it is called there.
    kind: &'static str,
    /// What it makes of a request.
    pub shape: Shape,
    /// Whether each request is called for as it was read.
    pub is_prompt: bool,
}

impl Front {
    pub const ALL: [Self; 8] = [
        Self::new("nginx", "kept", Shape::Passed, true),
        Self::new("nginx-fresh", "fresh", Shape::Passed, true),
        Self::new("nginx-workers", "workers", Shape::Passed, true),
        Self::new("nginx-asked", "asked", Shape::Asked, true),
        Self::new("nginx-limited", "limited", Shape::Passed, false),
        Self::new("nginx-mirrored", "mirrored", Shape::Mirrored, false),
        Self::new("nginx-retried", "retried", Shape::Passed, false),
        Self::new("nginx-mixed", "mixed", Shape::Mixed, false),
    ];

    const fn new(name: &'static str, kind: &'static str, shape: Shape, is_prompt: bool) -> Self {
        Self {
            name,
            kind,
            shape,
            is_prompt,
        }
    }

    pub fn named(name: &str) -> Option<&'static Self> {
        const ALL: &[Front] = &Front::ALL;
        ALL.iter().find(|front| front.name == name)
    }

    /// nginx, and the function that it calls, in C.
    pub fn start(&self) -> Result<Vec<Function>> {
        let next = Function::start(Language::C, &Options::default())?;
        let options = Options {
            next: Some(next.address.clone()),
            environment: vec![("FRONT".to_owned(), self.kind.to_owned())],
            ..Options::default()
        };
        let front = Function::start_as(self.name, runtime::front()?, &options)?;
        Ok(vec![front, next])
    }
}
