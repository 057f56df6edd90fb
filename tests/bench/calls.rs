//! What untraced processes pay for the agent's hooks. In: which back ends. Out: nanoseconds added to a system call of this
//! process, which nobody traces: the least of many batches.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use spanlet_e2e::bench_options::{Route, Runtime, Settings};
use spanlet_e2e::sheet::Sheet;
use spanlet_e2e::sink::Sink;

use crate::beside::{empty, Beside, Hooks, Watcher};
use crate::show;
use crate::subject::Subject;

const TITLE: &str = "What an untraced process pays, nanoseconds a call (the least of many batches)";
const COLUMNS: [&str; 4] = ["beside", "getppid", "send + recv", "recv of nothing"];
/// Few enough that most batches are not interrupted.
const BATCH: u32 = 100;
const MESSAGE: [u8; 64] = [b'x'; 64];

/// The least nanoseconds of each kind of call.
type Times = [f64; 3];

pub fn measure(settings: &Settings) -> Result<()> {
    let sink = Sink::start()?;
    // Somebody is traced, and idle.
    let idle = Subject::start(Runtime::Go, Route::Plain)?;
    let backends = settings.backends.iter();
    let hooks = backends
        .clone()
        .map(|&backend| Hooks::of(backend, &idle.pids(), &sink))
        .collect::<Result<Vec<_>>>()?;
    let kinds: Vec<Beside> = backends
        .flat_map(|&backend| [Beside::Empty(backend), Beside::Agent(backend)])
        .collect();
    let mut pair = Sockets::connect()?;
    let time = if settings.is_quick { 100 } else { 400 };
    let time = Duration::from_millis(time);
    let mut without = [f64::MAX; 3];
    let mut with = vec![[f64::MAX; 3]; kinds.len()];
    for round in 1..=settings.pairs {
        eprintln!("untraced calls: {round} of {}", settings.pairs);
        for (&kind, times) in kinds.iter().zip(&mut with) {
            pair.improve(&mut without, time)?;
            match kind {
                Beside::Agent(backend) => {
                    let watcher = Watcher::start(backend, &idle.pids(), &sink)?;
                    pair.improve(times, time)?;
                    watcher.finish()?;
                }
                Beside::Empty(_) | Beside::Entries(_) | Beside::Known(_) => {
                    let _attached = empty(&hooks, kind)?;
                    pair.improve(times, time)?;
                }
            }
        }
    }
    let mut rows = vec![row("nothing", without.map(|ns| format!("{ns:.0}")))];
    rows.extend(kinds.iter().zip(&with).map(|(&kind, times)| {
        let added = [0, 1, 2].map(|index| format!("{:+.0}", times[index] - without[index]));
        row(&kind.to_string(), added)
    }));
    let mut table = Sheet::new(&COLUMNS);
    table.group("", rows);
    show(settings, TITLE, &table);
    Ok(())
}

/// Both ends of a connection over loopback.
struct Sockets {
    near: TcpStream,
    far: TcpStream,
}

impl Sockets {
    fn connect() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        near.set_nodelay(true)?;
        far.set_nonblocking(true)?;
        Ok(Self { near, far })
    }

    /// Lowers `least` where a batch was faster.
    fn improve(&mut self, least: &mut Times, time: Duration) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < time {
            let times = [
                batch(|| {
                    // SAFETY: no pointers.
                    unsafe { libc::getppid() };
                    Ok(())
                })?,
                batch(|| self.send_and_receive())?,
                batch(|| self.receive_nothing())?,
            ];
            for (least, now) in least.iter_mut().zip(times) {
                *least = least.min(now);
            }
        }
        Ok(())
    }

    /// Over loopback, a send has delivered when it returns.
    fn send_and_receive(&mut self) -> Result<()> {
        let mut buffer = [0; MESSAGE.len()];
        self.near.write_all(&MESSAGE)?;
        Ok(self.far.read_exact(&mut buffer)?)
    }

    fn receive_nothing(&mut self) -> Result<()> {
        let found = self.far.read(&mut [0; 64]);
        let is_nothing = found.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        ensure!(is_nothing, "there was something to receive");
        Ok(())
    }
}

/// Nanoseconds of one of many.
fn batch(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    for _ in 0..BATCH {
        call()?;
    }
    Ok(started.elapsed().as_nanos() as f64 / f64::from(BATCH))
}

fn row(name: &str, cells: [String; 3]) -> Vec<String> {
    [vec![name.to_owned()], cells.to_vec()].concat()
}
