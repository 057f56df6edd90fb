//! Go: who tells where a program keeps what is read. In: a program, its version. Out: what is known of its release, by the first of these
//! that knows it: the user's table; the agent's own, of a version as Go itself gives them; the program's debug information; the
//! agent's own, of the release that a fork is of. Debug information is read beside the agent (`readings.rs`).

use std::sync::Arc;

use super::dwarf;
use super::readings::{Reading, Readings};
use super::releases::{Known, Releases, Teller};
use crate::attach::identity::Identity;
use crate::attach::image::Image;

/// Why nothing is known of a program's goroutines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("its build information names no version")]
    NoVersion,
    #[error("it has thread-local variables besides the goroutine")]
    ThreadLocals,
    #[error("Go {0} is not among the releases that are known; the program's debug information is being read")]
    BeingRead(String),
    #[error("Go {0} is not among the releases that are known, and {1}")]
    Release(String, dwarf::Fault),
}

impl Unknown {
    /// What to do about it, or what is left.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoVersion | Self::ThreadLocals => {
                "parents come from headers, connections and lone requests only"
            }
            Self::BeingRead(_) => {
                "until then, parents come from headers, connections and lone requests only"
            }
            Self::Release(..) => {
                "parents come from headers, connections and lone requests only: build it with its debug information \
                 (without -s and -w), or give the agent its offsets (go_offsets)"
            }
        }
    }
}

/// See the file.
#[derive(Debug, Default)]
pub struct Sources {
    releases: Arc<Releases>,
    /// `None`: debug information is not read.
    readings: Option<Readings>,
}

impl Sources {
    /// All of them.
    pub fn new(releases: Arc<Releases>) -> Self {
        Self {
            releases,
            readings: Some(Readings::default()),
        }
    }

    /// With other tables.
    pub fn with(&self, releases: Arc<Releases>) -> Self {
        Self {
            releases,
            readings: self.readings.clone(),
        }
    }

    /// The tables.
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    /// What is known of a program.
    pub fn of(&self, version: &str, image: &Image<'_>) -> Result<Known, Unknown> {
        if let Some(known) = self.releases.surely_of(version) {
            return Ok(*known);
        }
        let fault = match self.told(image) {
            Reading::Later => return Err(Unknown::BeingRead(version.to_owned())),
            Reading::Done(Err(fault)) => fault,
            Reading::Done(Ok(release)) => {
                let by = Teller::Program;
                return Ok(Known { release, by });
            }
        };
        let known = self.releases.of(version).copied();
        known.ok_or_else(|| Unknown::Release(version.to_owned(), fault))
    }

    /// What the program says itself.
    fn told(&self, image: &Image<'_>) -> Reading {
        match &self.readings {
            Some(readings) if dwarf::is_in(image) => readings.of(image.file()),
            _ => Reading::Done(Err(dwarf::Fault::Absent)),
        }
    }

    /// Programs whose debug information was read since that was asked last.
    pub fn read(&self) -> Vec<Identity> {
        let readings = self.readings.as_ref();
        readings.map(Readings::finished).unwrap_or_default()
    }
}
