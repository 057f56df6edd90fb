//! An API server that answers as it is told, also wrongly: what the real one does not do on purpose. Over plain HTTP, a
//! connection for each request.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{json, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One answer.
#[derive(Clone)]
pub enum Answer {
    Json(Value),
    /// A refusal, as the API server words it.
    Refuse(u16),
    /// It breaks off in the middle.
    Half(Value),
    /// Whole, but not JSON.
    Garbage,
    /// None.
    Silence,
    /// A few bytes at a time.
    Slow(Value),
    /// Events of a watch, which then stays open.
    Events(Vec<Value>),
}

/// See the file's head.
#[derive(Clone)]
pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By `list pods`, `watch pods`, `get nodes`, …: the last of each is given again and again.
    answers: HashMap<String, VecDeque<Answer>>,
    asked: Vec<String>,
}

impl Server {
    /// Lists are empty and watches say nothing, until it is told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            state: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        server
    }

    pub fn answer(self, question: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = answers.into_iter().collect();
        let mut state = self.state.lock().unwrap();
        state.answers.insert(question.to_owned(), answers);
        drop(state);
        self
    }

    /// What was asked: question and path with its query.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// A kubeconfig that names it.
    pub fn kubeconfig(&self) -> PathBuf {
        let port = self.address.rsplit(':').next().unwrap();
        let path = std::env::temp_dir().join(format!("spanlet-{}-{port}", std::process::id()));
        let config = json!({
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let question = question(&path);
        let answer = self.next(&question, path);
        // Who asked may be gone.
        let _ = give(answer, &mut stream).await;
    }

    fn next(&self, question: &str, path: String) -> Answer {
        let mut state = self.state.lock().unwrap();
        state.asked.push(format!("{question} {path}"));
        let usual = match question.starts_with("watch") {
            true => Answer::Events(vec![]),
            false => Answer::Json(list(vec![])),
        };
        match state.answers.get_mut(question) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers.front().cloned().unwrap_or(usual),
            None => usual,
        }
    }
}

fn question(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.rsplit('/');
    let (last, before) = (parts.next().unwrap(), parts.next().unwrap());
    match (query.contains("watch="), before) {
        (true, _) => format!("watch {last}"),
        (false, "nodes" | "replicasets" | "jobs") => format!("get {before}"),
        (false, _) => format!("list {last}"),
    }
}

async fn give(answer: Answer, stream: &mut TcpStream) -> std::io::Result<()> {
    let whole = |status: u16, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    };
    match answer {
        Answer::Json(body) => {
            stream
                .write_all(whole(200, &body.to_string()).as_bytes())
                .await
        }
        Answer::Refuse(code) => {
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no", "reason": "No"});
            stream
                .write_all(whole(code, &body.to_string()).as_bytes())
                .await
        }
        Answer::Half(body) => {
            let text = whole(200, &body.to_string());
            stream.write_all(&text.as_bytes()[..text.len() - 20]).await
        }
        Answer::Garbage => stream.write_all(whole(200, "{\"kind\": ").as_bytes()).await,
        Answer::Silence => {
            std::future::pending::<()>().await;
            Ok(())
        }
        Answer::Slow(body) => {
            for bytes in whole(200, &body.to_string()).as_bytes().chunks(7) {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        Answer::Events(events) => {
            let head = "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            for event in events {
                let line = format!("{event}\n");
                let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                stream.write_all(chunk.as_bytes()).await?;
            }
            // Until who asked goes.
            stream.read_u8().await.map(drop)
        }
    }
}

/// A list of objects, at version 1.
pub fn list(items: Vec<Value>) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

pub fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}
