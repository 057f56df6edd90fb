//! What serving cost: CPU time, waits for a core and waits to be read. True where they are there, and there where one
//! thread served alone.

use anyhow::{ensure, Context, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::Function;
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{Answer, Request};
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::usage::process_cpu_ns;

use crate::stage::{index, path, Seen, Stage};
use crate::timing;
use crate::traces::Check;

pub const CPU_TIME: &str = "spanlet.cpu_time";
pub const RUN_QUEUE_WAIT: &str = "spanlet.run_queue_wait";
const READ_WAIT: &str = "spanlet.read_wait";

const MS: u64 = 1_000_000;
/// How far a CPU time may be outside its bounds. They are of the same clock, the scheduler's, however busy the machine is;
/// what is left is what the kernel still does for the thread once the client has the answer.
const CPU_TOLERANCE_NS: u64 = MS / 2;
/// How much longer than a span its costs may be.
const LENGTH_TOLERANCE_NS: u64 = 2 * MS;
/// CPU time of a handler that sleeps.
const IDLE_CPU_NS_MAX: u64 = 5 * MS;

/// The CPU time that a span tells, and what it must be within.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    pub told_ns: u64,
    /// What the handler burned, by its own clock. Reading and parsing the request, and compiling for it, come on top.
    pub least_ns: u64,
    /// What the whole process spent from before the request was sent until its answer was read.
    pub most_ns: u64,
}

impl Cpu {
    fn error_ns(self) -> u64 {
        let too_little = self.least_ns.saturating_sub(self.told_ns);
        too_little.max(self.told_ns.saturating_sub(self.most_ns))
    }
}

pub fn burning(stage: &Stage, case: &'static str) -> Result<Check> {
    let metered = metered(&stage.main, 8, |index| get(case, index, "burn?ms=50"))?;
    let (pid, language) = (stage.main.pid(), stage.language);
    Ok(Box::new(move |seen| {
        let spans = seen.exactly(case, Kind::Server, pid, metered.len())?;
        let told = cpu_times(spans, &metered)?;
        mostly_told(language, told.len(), metered.len())?;
        agree(&told)
    }))
}

/// Each on a thread of its own, or not told: together no more than the process spent.
pub fn burning_together(stage: &Stage, case: &'static str) -> Result<Check> {
    let load = Load {
        in_flight: 8,
        requests: 24,
        keep_alive: true,
    };
    let (pid, language) = (stage.main.pid(), stage.language);
    let before_ns = process_cpu_ns(pid)?;
    let answers = load.run(&stage.main.address, |index| get(case, index, "burn?ms=5"))?;
    let spent_ns = process_cpu_ns(pid)? - before_ns;
    let metered: Vec<_> = answers.into_iter().map(|one| (one, spent_ns)).collect();
    Ok(Box::new(move |seen| {
        let spans = seen.exactly(case, Kind::Server, pid, metered.len())?;
        let told = cpu_times(spans, &metered)?;
        mostly_told(language, told.len(), metered.len())?;
        agree(&told)?;
        add_up(&told, spent_ns)
    }))
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
        let most = span.duration_ns() + LENGTH_TOLERANCE_NS;
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

/// Requests one after another over one connection, each with what the whole process spent on it.
pub fn metered(
    function: &Function,
    requests: usize,
    request: impl Fn(usize) -> Request,
) -> Result<Vec<(Answer, u64)>> {
    let mut connection = Connection::open(&function.address)?;
    let exchange = |index| {
        let before_ns = process_cpu_ns(function.pid())?;
        let answer = connection.exchange(&request(index))?;
        Ok((answer, process_cpu_ns(function.pid())? - before_ns))
    };
    (0..requests).map(exchange).collect()
}

/// Those of the spans that tell one; the indices in their paths say whose answers they are.
pub fn cpu_times<'a>(
    spans: impl IntoIterator<Item = &'a Span>,
    metered: &[(Answer, u64)],
) -> Result<Vec<Cpu>> {
    let mut told = Vec::new();
    for span in spans {
        let answer = index(path(span)).and_then(|index| metered.get(index));
        let (answer, most_ns) = answer.context("no answer")?;
        if let Some((told_ns, _)) = costs(span)? {
            told.push(Cpu {
                told_ns,
                least_ns: burned(answer)?,
                most_ns: *most_ns,
            });
        }
    }
    Ok(told)
}

/// Whether CPU times are within their bounds, in the median: Node's own clock has all its threads.
pub fn agree(told: &[Cpu]) -> Result<()> {
    let mut errors: Vec<_> = told.iter().map(|cpu| cpu.error_ns()).collect();
    errors.sort_unstable();
    let median = errors.get(errors.len() / 2).copied().unwrap_or(0);
    ensure!(
        median <= CPU_TOLERANCE_NS,
        "half of the CPU times are off by {median} ns or more: {told:?}"
    );
    Ok(())
}

/// Whether the spans together cost no more than the process spent.
fn add_up(told: &[Cpu], spent_ns: u64) -> Result<()> {
    let sum_ns: u64 = told.iter().map(|cpu| cpu.told_ns).sum();
    let most_ns = spent_ns + CPU_TOLERANCE_NS * told.len() as u64;
    ensure!(
        sum_ns <= most_ns,
        "spans tell {sum_ns} ns of {spent_ns}: {told:?}"
    );
    Ok(())
}

/// CPU time that the function measured itself.
fn burned(answer: &Answer) -> Result<u64> {
    let text = answer.text();
    let number = text.trim_end().strip_prefix("cpu_ns=");
    Ok(number.context("no cpu_ns")?.parse()?)
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
        let told = |told_ns| Cpu {
            told_ns,
            least_ns: 50 * MS,
            most_ns: 52 * MS,
        };
        let (right, more, less) = (told(51 * MS), told(53 * MS), told(49 * MS));
        assert!(agree(&[more, right, right]).is_ok());
        assert!(agree(&[more, more, right]).is_err());
        assert!(agree(&[less, less, right]).is_err());
        assert!(add_up(&[right, right], 102 * MS).is_ok());
        assert!(add_up(&[right, right], 100 * MS).is_err());
        let wrong = plausible(std::slice::from_ref(span));
        assert!(wrong.is_err(), "it waited longer than it lasted");
        assert!(mostly_told(Language::C, 4, 10).is_err());
        assert!(mostly_told(Language::Node, 0, 10).is_ok());
        Ok(())
    }
}
