//! What serving cost: CPU time, waits for a core and waits to be read. True where they are there, and there where one
//! thread served alone.

use anyhow::{ensure, Context, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{Answer, Request};
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::system::stands_still_ns;

use crate::stage::{index, path, Seen, Stage};
use crate::timing;
use crate::traces::Check;

pub const CPU_TIME: &str = "spanlet.cpu_time";
pub const RUN_QUEUE_WAIT: &str = "spanlet.run_queue_wait";
const READ_WAIT: &str = "spanlet.read_wait";

const MS: u64 = 1_000_000;
/// How far the CPU time may be from what the function measured: it also reads and parses, and writes.
const CPU_TOLERANCE_NS: u64 = 2 * MS;
/// CPU time of a handler that sleeps.
const IDLE_CPU_NS_MAX: u64 = 5 * MS;

pub fn burning(stage: &Stage, case: &'static str) -> Result<Check> {
    burn(stage, case, Load::serial(8), 50)
}

/// Each on a thread of its own, or not told.
pub fn burning_together(stage: &Stage, case: &'static str) -> Result<Check> {
    let load = Load {
        in_flight: 8,
        requests: 24,
        keep_alive: true,
    };
    burn(stage, case, load, 5)
}

pub fn sleeping(stage: &Stage, case: &'static str) -> Result<Check> {
    Load::serial(10).run(&stage.main.address, |index| get(case, index, "delay?ms=10"))?;
    let (pid, language) = (stage.main.pid(), stage.language);
    Ok(Box::new(move |seen| {
        let mut told = 0;
        for span in seen.exactly(case, Kind::Server, pid, 10)? {
            if let Some((cpu, _)) = costs(span)? {
                ensure!(cpu < IDLE_CPU_NS_MAX, "{cpu} ns: {span:?}");
                told += 1;
            }
        }
        mostly_told(language, told, 10)
    }))
}

/// One thread serves several at once: what it spent on which is not known. (Where goroutines serve, some have a thread
/// to themselves.)
pub fn sharing(stage: &Stage, case: &'static str) -> Result<Check> {
    let load = Load {
        in_flight: 8,
        requests: 40,
        keep_alive: true,
    };
    load.run(&stage.main.address, |index| get(case, index, "delay?ms=20"))?;
    let (pid, language) = (stage.main.pid(), stage.language);
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, 40)? {
            let told = costs(span)?;
            if let Some((cpu, _)) = told {
                ensure!(cpu < IDLE_CPU_NS_MAX, "{cpu} ns: {span:?}");
            }
            if language == Language::Node && overlaps(span, case, seen)? {
                ensure!(told.is_none(), "its thread served others too: {span:?}");
            }
        }
        Ok(())
    }))
}

/// The request after `/late` lies unread for 20 ms; the others are read at once.
pub fn late(stage: &Stage, case: &'static str) -> Result<Check> {
    let mut connection = Connection::open(&stage.main.address)?;
    let mut answers = Vec::new();
    for index in 0..12 {
        let route = if index % 2 == 0 {
            "late?ms=20"
        } else {
            "hello"
        };
        answers.push(connection.exchange(&get(case, index, route))?);
    }
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        let spans = seen.exactly(case, Kind::Server, pid, answers.len())?;
        let (mut late, mut prompt) = (0, 0);
        for span in spans {
            let index = index(path(span)).context("no index")?;
            let answer = answers.get(index).context("no answer")?;
            let waited = read_wait(span, answer)?;
            if index % 2 == 1 {
                ensure!(
                    waited.is_some_and(|wait| wait >= 19 * MS),
                    "{waited:?}: {span:?}"
                );
                late += 1;
            } else if waited.is_none_or(|wait| wait < 5 * MS) {
                prompt += 1;
            }
        }
        // Whoever reads may have to wait for a core: not all of them are prompt.
        ensure!(late == 6 && prompt >= 4, "{late} late, {prompt} prompt");
        Ok(())
    }))
}

/// No span costs more than it lasted. The scheduler's clock is an estimate, and now and then the host stops this machine:
/// one in a hundred may be wrong.
pub fn plausible(spans: &[Span]) -> Result<()> {
    let all = spans
        .iter()
        .filter(|span| span.nanoseconds(CPU_TIME).is_some());
    let wrong = |span: &&Span| {
        let most = span.duration_ns() + CPU_TOLERANCE_NS;
        let times = [CPU_TIME, RUN_QUEUE_WAIT].map(|key| span.nanoseconds(key).unwrap_or(0));
        times.into_iter().any(|time| time > most)
    };
    let wrong: Vec<_> = all.clone().filter(wrong).collect();
    ensure!(
        wrong.len() * 100 <= all.count(),
        "{} cost more than they lasted: {wrong:?}",
        wrong.len()
    );
    Ok(())
}

/// CPU time and run-queue wait: both or none.
pub fn costs(span: &Span) -> Result<Option<(u64, u64)>> {
    let pair = (span.nanoseconds(CPU_TIME), span.nanoseconds(RUN_QUEUE_WAIT));
    match pair {
        (Some(cpu), Some(wait)) => Ok(Some((cpu, wait))),
        (None, None) => Ok(None),
        _ => anyhow::bail!("one without the other: {span:?}"),
    }
}

/// Where a thread serves alone, most spans have costs: the kernel's clocks do not always allow it.
pub fn mostly_told(language: Language, told: usize, spans: usize) -> Result<()> {
    let is_enough = !serves_by_thread(language) || told * 2 >= spans;
    ensure!(is_enough, "{told} of {spans} spans have costs");
    Ok(())
}

/// CPU time that the function measured itself.
pub fn burned(answer: &Answer) -> Result<u64> {
    let text = answer.text();
    let number = text.trim_end().strip_prefix("cpu_ns=");
    Ok(number.context("no cpu_ns")?.parse()?)
}

/// Whether CPU times are what the function measured itself, in the median: Node's own clock has all its threads, and a
/// handler that runs cold spends more than it measures.
pub fn agree(cpu_and_burned: &[(u64, u64)]) -> Result<()> {
    let errors = cpu_and_burned.iter();
    let mut errors: Vec<_> = errors.map(|(cpu, burned)| cpu.abs_diff(*burned)).collect();
    errors.sort_unstable();
    let median = errors.get(errors.len() / 2).copied().unwrap_or(0);
    ensure!(
        median <= CPU_TOLERANCE_NS || median <= CPU_TOLERANCE_NS + stands_still_ns(),
        "half of the CPU times are off by {median} ns: {errors:?}"
    );
    Ok(())
}

fn burn(stage: &Stage, case: &'static str, load: Load, ms: u64) -> Result<Check> {
    let route = format!("burn?ms={ms}");
    let answers = load.run(&stage.main.address, |index| get(case, index, &route))?;
    let (pid, language) = (stage.main.pid(), stage.language);
    Ok(Box::new(move |seen| {
        let mut told = Vec::new();
        for span in seen.exactly(case, Kind::Server, pid, answers.len())? {
            let answer = index(path(span)).and_then(|index| answers.get(index));
            if let Some((cpu, _)) = costs(span)? {
                told.push((cpu, burned(answer.context("no answer")?)?));
            }
        }
        mostly_told(language, told.len(), answers.len())?;
        agree(&told)
    }))
}

/// What the bytes waited, which is less than the client did.
fn read_wait(span: &Span, answer: &Answer) -> Result<Option<u64>> {
    let waited = span.nanoseconds(READ_WAIT);
    let most = answer.first_byte_ns - answer.sent_ns + timing::SLACK_NS;
    ensure!(
        waited.is_none_or(|wait| wait <= most),
        "more than {most}: {span:?}"
    );
    Ok(waited)
}

/// Whether another request of the case was open while this one was.
fn overlaps(span: &Span, case: &str, seen: &Seen) -> Result<bool> {
    let own = timing::truth_of(span, case, &seen.truth)?;
    let mark = format!("/t/{case}:");
    let others = seen.truth.iter();
    Ok(others
        .filter(|other| other.path.starts_with(&mark) && *other != own)
        .any(|other| other.started_ns < own.ended_ns && own.started_ns < other.ended_ns))
}

/// Servers with a thread for each connection or request.
pub fn serves_by_thread(language: Language) -> bool {
    matches!(language, Language::Python | Language::Java | Language::C)
}

fn get(case: &str, index: usize, route: &str) -> Request {
    Request::get(format!("/t/{case}:{index}/{route}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_that_are_off_are_found() -> Result<()> {
        let span = &spanlet_e2e::json::parse(
            r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"GET","kind":"server",
            "startTimeUnixNano":"0","endTimeUnixNano":"9000000","durationNano":9000000,"status":{"code":"unset"},
            "attributes":{"spanlet.cpu_time":0.0095,"spanlet.run_queue_wait":0.02},"resource":{}}"#,
        )?;
        let burned = 50 * MS;
        let (right, more) = ((burned, burned), (burned + 3 * MS, burned));
        let less = (burned - 3 * MS, burned);
        assert!(agree(&[more, right, right]).is_ok());
        assert!(agree(&[more, more, right]).is_err());
        assert!(agree(&[less, less, right]).is_err());
        let wrong = plausible(std::slice::from_ref(span));
        assert!(wrong.is_err(), "it waited longer than it lasted");
        assert!(mostly_told(Language::C, 4, 10).is_err());
        assert!(mostly_told(Language::Node, 0, 10).is_ok());
        Ok(())
    }
}
