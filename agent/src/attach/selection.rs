//! Which processes are traced: by number, by executable, by port, or all. Pure.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::capture::event::HostPid;

/// What the user chose. A process is traced when any of the choices names it and no exclusion does.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub pids: Vec<HostPid>,
    pub ports: Vec<u16>,
    pub all: bool,
    executables: GlobSet,
    excluded: GlobSet,
}

/// A glob that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{glob:?} is not a glob: {reason}")]
pub struct BadGlob {
    pub glob: String,
    pub reason: String,
}

impl Selection {
    /// A glob with a `/` is held against the whole path of the executable, one without against its last part.
    /// `*` does not cross a `/`, `**` does.
    pub fn new(
        pids: Vec<HostPid>,
        ports: Vec<u16>,
        all: bool,
        executables: &[String],
        excluded: &[String],
    ) -> Result<Self, BadGlob> {
        Ok(Self {
            pids,
            ports,
            all,
            executables: globs(executables)?,
            excluded: globs(excluded)?,
        })
    }

    /// New programs have to be looked at, because an executable may match.
    pub fn by_executable(&self) -> bool {
        self.all || !self.executables.is_empty()
    }

    /// Whether a process is chosen by what it is (not by a port).
    pub fn chooses(&self, pid: HostPid, executable_path: &str) -> bool {
        // Kernel threads have no executable.
        if executable_path.is_empty() || matches(&self.excluded, executable_path) {
            return false;
        }
        self.all || self.pids.contains(&pid) || matches(&self.executables, executable_path)
    }

    /// Whether an executable is excluded, whatever else names its process.
    pub fn excludes(&self, executable_path: &str) -> bool {
        matches(&self.excluded, executable_path)
    }
}

fn matches(globs: &GlobSet, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    globs.is_match(path) || globs.is_match(name)
}

fn globs(texts: &[String]) -> Result<GlobSet, BadGlob> {
    let bad = |glob: &str, error: globset::Error| BadGlob {
        glob: glob.to_owned(),
        reason: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map_err(|error| bad(text, error))?;
        set.add(glob);
    }
    set.build().map_err(|error| bad(&texts.join(" "), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(executables: &[&str], excluded: &[&str], all: bool) -> Selection {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        Selection::new(
            vec![HostPid(7)],
            vec![],
            all,
            &owned(executables),
            &owned(excluded),
        )
        .unwrap()
    }

    #[test]
    fn chooses_by_number_name_and_path() {
        let chosen = selection(&["python3*", "/srv/*/handler"], &[], false);
        assert!(chosen.chooses(HostPid(7), "/bin/anything"));
        assert!(chosen.chooses(HostPid(1), "/usr/bin/python3.11"));
        assert!(chosen.chooses(HostPid(1), "/srv/orders/handler"));
        assert!(!chosen.chooses(HostPid(1), "/srv/orders/v2/handler"));
        assert!(!chosen.chooses(HostPid(1), "/usr/bin/node"));
    }

    #[test]
    fn exclusion_wins_and_kernel_threads_are_never_chosen() {
        let chosen = selection(&[], &["sshd"], true);
        assert!(chosen.chooses(HostPid(1), "/usr/bin/node"));
        assert!(!chosen.chooses(HostPid(7), "/usr/sbin/sshd"));
        assert!(!chosen.chooses(HostPid(2), ""));
    }

    #[test]
    fn a_bad_glob_is_named() {
        let error = Selection::new(vec![], vec![], false, &["a[".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("a["), "{error}");
    }
}
