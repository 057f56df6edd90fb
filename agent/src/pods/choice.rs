//! Whether a pod's processes are traced, and why. Pure.

use std::fmt;

/// What is decided of a process by its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Traced(Why),
    /// Nothing of Kubernetes chooses it: other selections may.
    Unchosen(Why),
    /// Not to be traced, unless its own number was named: an excluded namespace, `disabled`.
    Refused(Why),
    /// The API server has not told of this pod yet: what the process does meanwhile is kept.
    Unknown,
}

/// Why, for people: `namespace shop is labelled`, `annotation says disabled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why(pub std::borrow::Cow<'static, str>);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
