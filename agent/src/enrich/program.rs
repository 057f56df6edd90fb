//! What the spans of one program in one process say of it, and whether that may be told already. In: facts, and what
//! Kubernetes tells later. Out: a resource, or that nothing is to be told.
//!
//! Exchanges keep the program that they were of: by the time their spans are told, its process may have ended, run
//! another program, or have given its number to another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::span::Resource;
use super::{resource, Config};
use crate::attach::{ProcessFacts, Resolution, Standing};
use crate::clock::Monotonic;

/// Whether the spans of a program may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Known,
    /// More of its workload may come: its spans wait a little.
    Incomplete,
    /// It is not known whether it is to be traced: its spans wait, and are nobody's parents until then.
    Pending,
    /// It is not to be traced.
    Refused,
    /// Nobody said in time whether it is to be traced.
    Unknown,
}

/// See the file.
#[derive(Clone, Debug, Default)]
pub struct Program(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Cell<State>,
    /// It was known to be traced: what it did may have been told of, and who has a parent in it.
    is_meant: Cell<bool>,
    /// More of its workload may have come later.
    is_given_up: Cell<bool>,
    resource: RefCell<Arc<Resource>>,
}

/// A program of which not all is known.
pub struct Unresolved {
    pub facts: ProcessFacts,
    pub program: Program,
    /// `None`: since now, whenever time is told next.
    pub since: Option<Monotonic>,
}

impl Program {
    pub fn new(facts: &ProcessFacts, config: &Config) -> Self {
        let program = Self::default();
        program.learn(facts, config);
        program
    }

    /// Takes in what is known now; spans that wait say so too.
    pub fn learn(&self, facts: &ProcessFacts, config: &Config) {
        self.0
            .resource
            .replace(Arc::new(resource::of(facts, config)));
        self.0.is_given_up.set(false);
        let state = match facts.standing {
            Standing::Pending if self.0.is_meant.get() => return,
            Standing::Pending => State::Pending,
            Standing::Incomplete => State::Incomplete,
            Standing::Known => State::Known,
        };
        // Before its facts come a process is nobody's.
        let is_known = !facts.executable_path.is_empty();
        self.0.is_meant.set(is_known && state != State::Pending);
        self.0.state.set(state);
    }

    pub fn state(&self) -> State {
        self.0.state.get()
    }

    pub fn set(&self, state: State) {
        self.0.state.set(state);
    }

    /// What is not known of it is not waited for any more.
    pub fn give_up(&self) {
        match self.state() {
            State::Pending => self.set(State::Unknown),
            State::Incomplete => {
                self.set(State::Known);
                self.0.is_given_up.set(true);
            }
            State::Known | State::Refused | State::Unknown => {}
        }
    }

    /// Whether its spans are told although more of its workload might have come.
    pub fn is_given_up(&self) -> bool {
        self.0.is_given_up.get()
    }

    pub fn resource(&self) -> Arc<Resource> {
        self.0.resource.borrow().clone()
    }

    /// Whether nothing more is waited for.
    pub fn is_settled(&self) -> bool {
        !matches!(self.state(), State::Incomplete | State::Pending)
    }

    /// Whether it is the same, and not only alike.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Whether nobody else has it.
    fn is_forgotten(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

impl Unresolved {
    /// Whether it is still to be resolved.
    pub fn is_open(&self) -> bool {
        !self.program.is_settled() && !self.program.is_forgotten()
    }

    pub fn resolve(&mut self, resolution: Resolution, config: &Config) {
        let Resolution::Traced(standing, workload) = resolution else {
            self.program.set(State::Refused);
            return;
        };
        if (standing, &workload) != (self.facts.standing, &self.facts.workload) {
            self.facts.standing = standing;
            self.facts.workload = workload;
            self.program.learn(&self.facts, config);
        }
    }

    /// It has waited long enough.
    pub fn give_up(&self) {
        self.program.give_up();
    }
}
