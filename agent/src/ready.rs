//! `spanlet ready`: whether the agents behind a name have verified their own probes. In: a name and a port. Out: a line
//! for each address of the name, and whether all are ready. Touches the network; it is what `helm test` runs.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long one agent may take to connect, and then for each piece of its answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Of an answer; what is longer is cut.
const ANSWER_BYTES_MAX: u64 = 8 * 1024;

/// What was learnt in the last round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The name has no addresses, and why.
    Nobody(String),
    /// What each agent said; `Err`: it is not ready, and why.
    Agents(BTreeMap<IpAddr, Result<(), String>>),
}

/// Asks again and again until all are ready, for at most `patience`.
pub fn wait(place: &str, patience: Duration) -> Readiness {
    let deadline = Instant::now() + patience;
    loop {
        let readiness = ask_all(place);
        if readiness.is_all() || Instant::now() + PAUSE > deadline {
            return readiness;
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask_all(place: &str) -> Readiness {
    match place.to_socket_addrs() {
        Ok(addresses) => Readiness::Agents(
            addresses
                .map(|address| (address.ip(), ask(address)))
                .collect(),
        ),
        Err(error) => Readiness::Nobody(format!("{place}: {error}")),
    }
}

fn ask(address: SocketAddr) -> Result<(), String> {
    let answer = exchange(address).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(status) => Err(format!("{status} {}", printable(body))),
        None => Err("the answer is no HTTP".to_owned()),
    }
}

fn exchange(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT_MAX)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
    let question = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // In one piece, so that whoever reads only once has it all.
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// One line, whatever came.
fn printable(body: &str) -> String {
    let words: Vec<_> = body.split_whitespace().collect();
    words.join(" ").replace(char::is_control, "?")
}

impl Readiness {
    pub fn is_all(&self) -> bool {
        match self {
            Self::Nobody(_) => false,
            Self::Agents(agents) => !agents.is_empty() && agents.values().all(Result::is_ok),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agents = match self {
            Self::Nobody(why) => return writeln!(f, "no agents: {why}"),
            Self::Agents(agents) => agents,
        };
        for (address, answer) in agents {
            match answer {
                Ok(()) => writeln!(f, "{address}  ready")?,
                Err(why) => writeln!(f, "{address}  not ready: {why}")?,
            }
        }
        let ready = agents.values().filter(|answer| answer.is_ok()).count();
        writeln!(f, "{ready} of {} agents are ready", agents.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Answers as many connections as there are answers, and returns what it was asked.
    fn server(answers: &'static [&'static str]) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let serving = thread::spawn(move || {
            let mut asked = String::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = [0; 1024];
                let read = stream.read(&mut question).unwrap();
                asked = String::from_utf8_lossy(&question[..read]).into_owned();
                stream.write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        (place, serving)
    }

    #[test]
    fn one_that_becomes_ready_is_waited_for() {
        let (place, serving) = server(&[
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nnot",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ]);
        let readiness = wait(&place, Duration::from_secs(20));
        assert!(readiness.is_all(), "{readiness}");
        assert_eq!(
            readiness.to_string(),
            "127.0.0.1  ready\n1 of 1 agents are ready\n"
        );
        assert!(serving
            .join()
            .unwrap()
            .starts_with("GET /readyz HTTP/1.1\r\n"));
    }

    #[test]
    fn who_is_not_ready_says_why() {
        let (place, serving) =
            server(&["HTTP/1.1 503 Service Unavailable\r\n\r\nno read\nwas \x1bseen\n"]);
        let readiness = wait(&place, Duration::ZERO);
        serving.join().unwrap();
        assert!(!readiness.is_all());
        let told = "127.0.0.1  not ready: 503 no read was ?seen\n0 of 1 agents are ready\n";
        assert_eq!(readiness.to_string(), told);
    }

    #[test]
    fn nobody_is_not_all() {
        let readiness = wait("no-such-name.invalid:1", Duration::ZERO);
        assert!(!readiness.is_all());
        assert!(readiness
            .to_string()
            .starts_with("no agents: no-such-name.invalid:1"));
        assert!(!Readiness::Agents(BTreeMap::new()).is_all());
        let (place, serving) = server(&["SSH-2.0"]);
        assert!(wait(&place, Duration::ZERO).to_string().contains("no HTTP"));
        serving.join().unwrap();
    }
}
