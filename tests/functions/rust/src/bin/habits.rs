//! A function with habits that mislead (axum on tokio): see tests/programs/habits.py. Mode b: its child is requested by a new task;
//! a: by one of a few that wait for such work.

use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::Router;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::sync::Mutex;
use tokio::time::sleep;

const WORKERS: usize = 8;

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
static POLL: Once = Once::new();

/// A child that is requested later.
struct Work {
    before: Duration,
    plan: String,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (sender, receiver) = unbounded_channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..WORKERS {
        tokio::spawn(work(receiver.clone()));
    }
    if std::env::var_os("LAZY").is_none() {
        poll();
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening {}", listener.local_addr()?.port());
    let routes = Router::new().route("/hop/{*anything}", get(hop));
    axum::serve(listener, routes.with_state(sender)).await
}

async fn hop(State(work): State<UnboundedSender<Work>>, headers: HeaderMap) -> &'static str {
    poll();
    let plan = headers.get("X-Plan").and_then(|plan| plan.to_str().ok());
    let plan = plan.unwrap_or_default().to_owned();
    let [_, _, before, after, mode, _] = node(&plan, 0);
    let (before, after) = (milliseconds(before), milliseconds(after));
    match mode {
        "s" => later(before, &plan).await,
        "a" => drop(work.send(Work { before, plan })),
        _ => drop(tokio::spawn(async move { later(before, &plan).await })),
    }
    sleep(after).await;
    "ok\n"
}

async fn work(all: Arc<Mutex<UnboundedReceiver<Work>>>) {
    loop {
        let work = all.lock().await.recv().await;
        let Some(work) = work else {
            return;
        };
        later(work.before, &work.plan).await;
    }
}

async fn later(before: Duration, plan: &str) {
    sleep(before).await;
    call(plan).await;
}

/// The second node of a plan.
async fn call(plan: &str) {
    let [port, target, ..] = node(plan, 1);
    let request = CLIENT.get(format!("http://127.0.0.1:{port}{target}"));
    let request = request.header("X-Plan", plan).header("X-Node", "1");
    if let Ok(answer) = request.send().await {
        let _ = answer.bytes().await;
    }
}

/// Its fields; of one that is not there, nothing.
fn node(plan: &str, index: usize) -> [&str; 6] {
    let fields = plan.split('|').nth(index).unwrap_or_default().split(';');
    let mut all = [""; 6];
    all.iter_mut()
        .zip(fields)
        .for_each(|(place, field)| *place = field);
    all
}

fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or(0))
}

/// Once.
fn poll() {
    let variable = |name| std::env::var(name).ok();
    let Some((interval, port)) = variable("POLL").zip(variable("POLLED")) else {
        return;
    };
    POLL.call_once(|| {
        tokio::spawn(async move {
            for number in 0_u64.. {
                sleep(milliseconds(&interval)).await;
                let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let target = format!("/hop/{id:016x}/{:016x}", 0);
                call(&format!("|{port};{target};0;0;s;")).await;
            }
        });
    });
}
