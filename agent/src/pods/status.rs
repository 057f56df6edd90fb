//! How following the API server goes, for `spanlet probes` and for metrics. In: the meter and the index. Out: plain data.

use std::fmt;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::model::Kind;
use super::watch::{Meter, Trouble, SILENCE};
use super::Index;

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub kinds: Vec<KindStatus>,
}

/// How it goes with one kind of object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KindStatus {
    /// `pods`, `namespaces`, …
    pub kind: String,
    pub state: State,
    /// Objects that are kept.
    pub objects: usize,
    /// Objects that were not kept because of a bound.
    pub dropped: u64,
    pub requests: u64,
    /// Of the bodies of answers.
    pub bytes: u64,
    pub updates: u64,
    pub tellings: u64,
    /// By the names of [`Trouble`].
    pub errors: Vec<(String, u64)>,
    /// Since the API server said something.
    pub silent_seconds: Option<f64>,
}

/// Whether a kind is followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not all of it was told yet.
    #[default]
    Starting,
    Following,
    /// What is known stays as it was.
    Failing {
        /// Seconds since 1970.
        since: u64,
        error: String,
    },
}

/// How it goes now.
pub fn of(index: &Index, meter: &Meter) -> Status {
    let is_used = |kind: &Kind| {
        let source = meter.source(*kind);
        source.requests > 0 || source.failing.is_some() || *kind == Kind::Pods
    };
    let kinds = Kind::ALL.into_iter().filter(is_used);
    Status {
        kinds: kinds.map(|kind| of_kind(kind, index, meter)).collect(),
    }
}

fn of_kind(kind: Kind, index: &Index, meter: &Meter) -> KindStatus {
    let (source, kept) = (meter.source(kind), index.kept(kind));
    let silent = source.heard.map(|heard| heard.elapsed());
    let is_watched = !matches!(kind, Kind::Node | Kind::Owners);
    let state = match (source.failing, silent) {
        (Some((since, error)), _) => State::Failing {
            since: since
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            error,
        },
        (None, Some(silent)) if is_watched && silent > SILENCE => State::Failing {
            since: UNIX_EPOCH
                .elapsed()
                .map_or(0, |now| now.saturating_sub(silent).as_secs()),
            error: "the API server says nothing".to_owned(),
        },
        (None, _) if is_watched && source.tellings == 0 => State::Starting,
        (None, _) if source.updates == 0 && !is_watched => State::Starting,
        (None, _) => State::Following,
    };
    let errors = Trouble::ALL.iter().zip(source.errors);
    KindStatus {
        kind: kind.name().to_owned(),
        state,
        objects: kept.objects,
        dropped: kept.dropped,
        requests: source.requests,
        bytes: source.bytes,
        updates: source.updates,
        tellings: source.tellings,
        errors: errors
            .map(|(trouble, number)| (trouble.name().to_owned(), number))
            .collect(),
        silent_seconds: silent.map(|silent| silent.as_secs_f64()),
    }
}

impl Status {
    /// Whether everything is followed.
    pub fn is_good(&self) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.all(|kind| kind.state == State::Following)
    }
}

/// In a line: `connected: 7 pods, 3 namespaces`, or what is not as it should be: `services: 12 known, failing for 63 s: …`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_as_it_should =
            |kind: &&KindStatus| kind.state == State::Following && kind.dropped == 0;
        let (good, bad): (Vec<_>, Vec<_>) = self.kinds.iter().partition(is_as_it_should);
        if !bad.is_empty() {
            let texts: Vec<_> = bad.into_iter().map(KindStatus::to_string).collect();
            return f.write_str(&texts.join("; "));
        }
        let texts: Vec<_> = good.into_iter().map(KindStatus::counted).collect();
        write!(f, "connected: {}", texts.join(", "))
    }
}

impl KindStatus {
    /// `7 pods`, `1 node`
    fn counted(&self) -> String {
        let kind = self.kind.replace('_', " ");
        match (self.objects, kind.strip_suffix('s')) {
            (1, Some(one)) => format!("1 {one}"),
            (objects, _) => format!("{objects} {kind}"),
        }
    }
}

impl fmt::Display for KindStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, objects, .. } = self;
        let kind = kind.replace('_', " ");
        match &self.state {
            State::Starting => write!(f, "{kind}: not told yet")?,
            State::Following => write!(f, "{kind}: {objects} known")?,
            State::Failing { since, error } => {
                let now = UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
                let seconds = now.saturating_sub(*since);
                write!(
                    f,
                    "{kind}: {objects} known, failing for {seconds} s: {error}"
                )?;
            }
        }
        match self.dropped {
            0 => Ok(()),
            dropped => write!(f, "; {dropped} not kept (bound reached)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(kind: &str, objects: usize, state: State) -> KindStatus {
        KindStatus {
            kind: kind.to_owned(),
            state,
            objects,
            ..KindStatus::default()
        }
    }

    #[test]
    fn a_line_says_that_all_is_well_or_only_what_is_not() {
        let mut status = Status {
            kinds: vec![
                kind("pods", 7, State::Following),
                kind("namespaces", 1, State::Following),
                kind("cluster_pods", 0, State::Following),
            ],
        };
        let good = "connected: 7 pods, 1 namespace, 0 cluster pods";
        assert_eq!(status.to_string(), good);
        let failing = State::Failing {
            since: UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs()) - 63,
            error: "forbidden".to_owned(),
        };
        status.kinds.push(kind("services", 12, failing));
        status.kinds[0].dropped = 2;
        let told = status.to_string();
        let (pods, services) = told.split_once("; services: ").unwrap();
        assert_eq!(pods, "pods: 7 known; 2 not kept (bound reached)");
        assert!(services.starts_with("12 known, failing for 6"), "{told}");
        assert!(services.ends_with(" s: forbidden"), "{told}");
    }
}
