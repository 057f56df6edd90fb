//! Which processes are traced: by number, by executable, by port, or all. Pure.

use globset::{Glob, GlobSet, GlobSetBuilder};

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

impl Selection {
    /// A glob is held against the whole path of the executable and against its last part.
    ///
    /// Errors: the globs together are too large to match.
    pub fn new(
        pids: Vec<HostPid>,
        ports: Vec<u16>,
        all: bool,
        executables: &[Glob],
        excluded: &[Glob],
    ) -> Result<Self, globset::Error> {
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

    /// Whether any executable is excluded.
    pub fn excludes_any(&self) -> bool {
        !self.excluded.is_empty()
    }
}

fn matches(globs: &GlobSet, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    globs.is_match(path) || globs.is_match(name)
}

fn globs(globs: &[Glob]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    globs.iter().for_each(|glob| {
        set.add(glob.clone());
    });
    set.build()
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;

    use super::*;

    fn selection(executables: &[&str], excluded: &[&str], all: bool) -> Selection {
        let globs = |texts: &[&str]| -> Vec<Glob> {
            let glob = |text: &&str| {
                GlobBuilder::new(text)
                    .literal_separator(true)
                    .build()
                    .unwrap()
            };
            texts.iter().map(glob).collect()
        };
        Selection::new(
            vec![HostPid(7)],
            vec![],
            all,
            &globs(executables),
            &globs(excluded),
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
}
