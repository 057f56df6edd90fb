//! Touches a Unix socket: the running agent answers questions on it, `spanlet probes` asks. Only root may connect.
//!
//! A question is one line (`probes`), the answer one JSON document ([`Report`]).

use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::report::Report;

/// Bytes of a question at most.
const QUESTION_BYTES_MAX: u64 = 256;
/// Questions that wait at most; further ones wait to be accepted.
const QUESTIONS_MAX: usize = 8;
/// An asker that neither speaks nor reads for so long is let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question to the pipeline.
pub struct Question {
    pub answer: oneshot::Sender<Report>,
}

/// Why the agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {path}: {source} (choose another with --socket)")]
    Listen { path: PathBuf, source: io::Error },
    #[error("{path} is in use: is another spanlet running? (choose another with --socket)")]
    InUse { path: PathBuf },
    #[error("no running agent answers on {path}: {source} (start one with `spanlet run`, or name its --socket)")]
    Ask { path: PathBuf, source: io::Error },
    #[error("the agent on {path} gave no report: {reason}")]
    Answer { path: PathBuf, reason: String },
}

/// The answering end. The socket's file is removed when it is dropped.
pub struct Desk {
    path: PathBuf,
    questions: mpsc::Receiver<Question>,
}

impl Desk {
    /// Listens on `path`, which a dead agent may have left behind. Must be called inside a tokio runtime.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let listener = listen(path)?;
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        tokio::spawn(serve(listener, sender));
        Ok(Self {
            path: path.to_owned(),
            questions,
        })
    }

    /// The next question.
    pub async fn next(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            // The server task never ends while the desk lives.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::Listen {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Error::InUse {
            path: path.to_owned(),
        });
    }
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        std::fs::remove_file(path).map_err(failed)?;
    }
    // SAFETY of both: has no precondition. The socket must not be open to others for a moment either.
    let mask = unsafe { libc::umask(0o177) };
    let listener = UnixListener::bind(path).map_err(failed);
    unsafe { libc::umask(mask) };
    listener
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(tokio::time::timeout(
                    PATIENCE,
                    answer(stream, questions.clone()),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, questions: mpsc::Sender<Question>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(QUESTION_BYTES_MAX))
        .read_line(&mut line)
        .await
        .ok()?;
    let text = if line.trim_end() == "probes" {
        let (answer, report) = oneshot::channel();
        questions.send(Question { answer }).await.ok()?;
        serde_json::to_string(&report.await.ok()?).ok()?
    } else {
        "{\"error\":\"unknown question\"}".to_owned()
    };
    write.write_all(text.as_bytes()).await.ok()
}

/// Asks the agent that listens on `path`.
pub fn ask(path: &Path) -> Result<Report, Error> {
    let failed = |source| Error::Ask {
        path: path.to_owned(),
        source,
    };
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(b"probes\n").map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    serde_json::from_str(&text).map_err(|error| Error::Answer {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
