//! What has gone wrong for so long that the cluster's administrators are told. In: how it goes at the collector and at the
//! API server. Out: notices. Pure, but for the clocks.

use std::time::{Duration, UNIX_EPOCH};

use super::{Cluster, Rooms};
use crate::export::health::{self, Condition};
use crate::pods::status::{KindStatus, State, Status};

/// What is over sooner is only in `spanlet probes` and in the log.
const LASTING: Duration = Duration::from_secs(60);

/// To be called now and then.
pub(super) fn note(rooms: &mut Rooms, cluster: Option<&Cluster>) {
    let unreachable = rooms.exporter.collector().and_then(unreachable);
    let status = rooms
        .census
        .pods()
        .and_then(|index| Some(cluster?.status(index)));
    let forbidden = status.and_then(|status| forbidden(&status));
    rooms.news.lasts("CollectorUnreachable", unreachable);
    rooms.news.lasts("KubernetesForbidden", forbidden);
}

fn unreachable(collector: Condition) -> Option<String> {
    match collector.state {
        health::State::Failing { since, error } if since.elapsed() >= LASTING => Some(format!(
            "spans do not arrive at {}: {error}",
            collector.endpoint
        )),
        _ => None,
    }
}

fn forbidden(status: &Status) -> Option<String> {
    let told: Vec<String> = status.kinds.iter().filter_map(kind_forbidden).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn kind_forbidden(kind: &KindStatus) -> Option<String> {
    let mut errors = kind.errors.iter();
    let was_forbidden = errors.any(|(trouble, number)| trouble == "forbidden" && *number > 0);
    match &kind.state {
        State::Failing { since, error } if was_forbidden => {
            let since = UNIX_EPOCH + Duration::from_secs(*since);
            let is_lasting = since.elapsed().is_ok_and(|time| time >= LASTING);
            is_lasting.then(|| error.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn status(since: u64) -> Status {
        let kind = KindStatus {
            kind: "services".to_owned(),
            state: State::Failing {
                since,
                error: "cannot list services: forbidden".to_owned(),
            },
            errors: vec![("forbidden".to_owned(), 1)],
            ..KindStatus::default()
        };
        Status { kinds: vec![kind] }
    }

    #[test]
    fn a_right_that_is_missing_for_long_is_told() {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        let told = forbidden(&status(now - 61));
        assert_eq!(told.as_deref(), Some("cannot list services: forbidden"));
        assert_eq!(forbidden(&status(now)), None);
        let mut unreachable = status(now - 61);
        unreachable.kinds[0].errors.clear();
        assert_eq!(forbidden(&unreachable), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_takes_nothing_for_long_is_told() {
        let collector = Condition {
            endpoint: "http://nobody:4318".to_owned(),
            state: health::State::Failing {
                since: Instant::now(),
                error: "connection refused".to_owned(),
            },
        };
        assert_eq!(unreachable(collector.clone()), None);
        tokio::time::advance(LASTING).await;
        let told = unreachable(collector).unwrap();
        assert_eq!(
            told,
            "spans do not arrive at http://nobody:4318: connection refused"
        );
    }
}
