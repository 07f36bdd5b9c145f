//! The administrator's socket: one JSON request a line, one JSON answer a line, in order. Only root reaches it: it is
//! made with its rights in place and then given its name.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rgmd::Admin;
use slab::Slab;

use crate::exit::{self, Fatal};

/// Name of the socket in the run directory.
const NAME: &str = "rgmd.sock";
/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;
/// Longest request: a configuration at its limit, escaped, fits.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An answer that nobody reads grows to this.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The socket and its connections.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    connections: Slab<Connection>,
    first_token: usize,
    /// Connections get a number that is never used again, so that a late answer cannot reach another client.
    last_number: u64,
}

struct Connection {
    stream: UnixStream,
    number: u64,
    input: Vec<u8>,
    output: Vec<u8>,
    /// An answer is awaited: the next request waits.
    busy: bool,
    /// The client has said all that it had to say.
    ended: bool,
    /// It is told of every event, and asks nothing more.
    listens: bool,
}

/// Refuses to start where another `rgmd` serves.
pub(crate) fn check_alone(run_dir: &Path) -> Result<(), Fatal> {
    let path = run_dir.join(NAME);
    match StdStream::connect(&path) {
        Ok(_) => Err(Fatal::new(exit::RUNNING, format!("another rgmd serves {}", path.display()))),
        Err(_) => Ok(()),
    }
}

impl Socket {
    pub(crate) fn bind(run_dir: &Path, registry: &Registry, first_token: usize) -> io::Result<Self> {
        let path = run_dir.join(NAME);
        let folder = run_dir.join(format!(".rgmd-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        let inside = folder.join("sock");
        let bound = bind_inside(&inside, &path);
        let _ = fs::remove_file(&inside);
        let _ = fs::remove_dir(&folder);
        let mut listener = bound?;
        registry.register(&mut listener, Token(first_token), Interest::READABLE)?;
        Ok(Self { listener, path, connections: Slab::new(), first_token, last_number: 0 })
    }

    /// A token is readable or writable. New requests go to `requests`.
    pub(crate) fn on_ready(
        &mut self,
        registry: &Registry,
        token: Token,
        requests: &mut Vec<(u64, Result<Admin, String>)>,
    ) {
        if token.0 == self.first_token {
            self.accept(registry);
            return;
        }
        let key = token.0 - self.first_token - 1;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let alive = connection.read();
        self.serve(registry, key, alive, requests);
    }

    /// Sends an answer; further requests of the connection follow.
    pub(crate) fn answer(
        &mut self,
        registry: &Registry,
        number: u64,
        answer: &Result<serde_json::Value, String>,
        requests: &mut Vec<(u64, Result<Admin, String>)>,
    ) {
        let found = self.connections.iter().find(|(_, c)| c.number == number).map(|(key, _)| key);
        let Some(key) = found else { return };
        let connection = &mut self.connections[key];
        let line = match answer {
            Ok(value) => value.to_string(),
            Err(why) => serde_json::json!({ "error": why }).to_string(),
        };
        connection.output.extend_from_slice(line.as_bytes());
        connection.output.push(b'\n');
        connection.busy = false;
        self.serve(registry, key, true, requests);
    }

    /// From now on this connection is told of every event. It stays busy: it asks nothing more.
    pub(crate) fn subscribe(&mut self, number: u64) {
        if let Some((_, connection)) = self.connections.iter_mut().find(|(_, c)| c.number == number) {
            connection.listens = true;
        }
    }

    /// Tells an event to all that listen. Who does not read loses the connection when too much waits.
    pub(crate) fn broadcast(&mut self, registry: &Registry, event: &serde_json::Value) {
        let listening = self.connections.iter().filter(|(_, c)| c.listens).map(|(key, _)| key);
        let line = format!("{event}\n");
        for key in listening.collect::<Vec<_>>() {
            self.connections[key].output.extend_from_slice(line.as_bytes());
            self.serve(registry, key, true, &mut Vec::new());
        }
    }

    fn accept(&mut self, registry: &Registry) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if self.connections.len() >= CONNECTIONS_MAX {
                // Dropped: the client sees the end and may come again.
                continue;
            }
            let entry = self.connections.vacant_entry();
            let token = Token(self.first_token + 1 + entry.key());
            if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_err() {
                continue;
            }
            self.last_number += 1;
            entry.insert(Connection {
                stream,
                number: self.last_number,
                input: Vec::new(),
                output: Vec::new(),
                busy: false,
                ended: false,
                listens: false,
            });
        }
    }

    /// Takes the next request, writes what there is to write, drops the connection when it is over.
    fn serve(
        &mut self,
        registry: &Registry,
        key: usize,
        alive: bool,
        requests: &mut Vec<(u64, Result<Admin, String>)>,
    ) {
        let connection = &mut self.connections[key];
        if !connection.busy
            && let Some(request) = connection.next_request()
        {
            connection.busy = true;
            requests.push((connection.number, request));
        }
        let written = connection.write();
        let done = !connection.busy || connection.listens;
        let over = connection.ended && done && connection.output.is_empty();
        if !alive || !written || over {
            let mut connection = self.connections.remove(key);
            let _ = registry.deregister(&mut connection.stream);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn bind_inside(inside: &Path, path: &Path) -> io::Result<UnixListener> {
    let _ = fs::remove_file(inside);
    let listener = UnixListener::bind(inside)?;
    fs::set_permissions(inside, fs::Permissions::from_mode(0o600))?;
    fs::rename(inside, path)?;
    Ok(listener)
}

impl Connection {
    /// Reads what is there. False: the connection is broken or says too much.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    return true;
                }
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if self.input.len() > REQUEST_BYTES_MAX {
                return false;
            }
        }
    }

    fn next_request(&mut self) -> Option<Result<Admin, String>> {
        loop {
            let end = match self.input.iter().position(|b| *b == b'\n') {
                Some(end) => end,
                // The last line may lack its end.
                None if self.ended && !self.input.is_empty() => self.input.len() - 1,
                None => return None,
            };
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if !line.trim_ascii().is_empty() {
                return Some(serde_json::from_slice(line.trim_ascii()).map_err(|e| {
                    format!("request not understood: {e}; an example: {{\"cmd\": \"status\"}}")
                }));
            }
        }
    }

    /// Writes what can be written. False: the connection is broken, or nobody reads.
    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => {
                    self.output.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.output.len() <= ANSWER_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::time::{Duration, Instant};

    use mio::{Events, Poll};

    use super::*;

    type Requests = Vec<(u64, Result<Admin, String>)>;

    struct Server {
        dir: PathBuf,
        poll: Poll,
        socket: Socket,
    }

    impl Server {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("rgmd-socket-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            let poll = Poll::new().unwrap();
            let socket = Socket::bind(&dir, poll.registry(), 0).unwrap();
            Self { dir, poll, socket }
        }

        fn client(&self) -> StdStream {
            let stream = StdStream::connect(self.dir.join(NAME)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream
        }

        /// Serves until this many requests are there.
        fn serve(&mut self, want: usize) -> Requests {
            let (mut requests, mut events) = (Vec::new(), Events::with_capacity(16));
            let deadline = Instant::now() + Duration::from_secs(30);
            while requests.len() < want && Instant::now() < deadline {
                self.poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
                for event in &events {
                    self.socket.on_ready(self.poll.registry(), event.token(), &mut requests);
                }
            }
            requests
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn requests_of_a_connection_are_answered_one_after_the_other() {
        let mut server = Server::new("order");
        assert_eq!(fs::metadata(server.dir.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        let mut client = server.client();
        client
            .write_all(b"{\"cmd\":\"status\"}\n\n{\"cmd\":\"standby\",\"node\":\"n1\"}\nrubbish\n")
            .unwrap();
        let mut waiting = server.serve(1);
        let mut answers = BufReader::new(client.try_clone().unwrap()).lines();
        let mut seen = Vec::new();
        while let Some((number, request)) = waiting.pop() {
            let answer = request.map(|r| serde_json::json!({ "got": format!("{r:?}") }));
            server.socket.answer(server.poll.registry(), number, &answer, &mut waiting);
            assert!(waiting.len() <= 1, "the next one waits for the answer");
            seen.push(answers.next().unwrap().unwrap());
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0], "{\"got\":\"Status\"}");
        assert!(seen[1].contains("Standby") && seen[1].contains("on: true"), "{}", seen[1]);
        assert!(seen[2].contains("\"error\":\"request not understood"), "{}", seen[2]);
    }

    #[test]
    fn who_listens_is_told_of_every_event_and_others_of_none() {
        let mut server = Server::new("events");
        let mut listener = server.client();
        listener.write_all(b"{\"cmd\":\"events\"}\n").unwrap();
        let (number, request) = server.serve(1).remove(0);
        assert_eq!(request, Ok(Admin::Events));
        server.socket.subscribe(number);
        let mut other = server.client();
        other.write_all(b"{\"cmd\":\"status\"}\n").unwrap();
        let (asks, _) = server.serve(1).remove(0);
        for event in ["one", "two"] {
            server.socket.broadcast(server.poll.registry(), &serde_json::json!({ "event": event }));
        }
        let answer = Ok(serde_json::json!({ "answer": 1 }));
        server.socket.answer(server.poll.registry(), asks, &answer, &mut Vec::new());
        let mut lines = BufReader::new(listener).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "{\"event\":\"one\"}");
        assert_eq!(lines.next().unwrap().unwrap(), "{\"event\":\"two\"}");
        assert_eq!(BufReader::new(other).lines().next().unwrap().unwrap(), "{\"answer\":1}");
    }

    #[test]
    fn a_late_answer_reaches_nobody_else() {
        let mut server = Server::new("late");
        let mut first = server.client();
        first.write_all(b"{\"cmd\":\"status\"}\n").unwrap();
        let (number, _) = server.serve(1).remove(0);
        drop(first);
        let mut second = server.client();
        second.write_all(b"{\"cmd\":\"cib\"}\n").unwrap();
        let (other, _) = server.serve(1).remove(0);
        assert_ne!(number, other);
        let mut more = Vec::new();
        server.socket.answer(server.poll.registry(), number, &Ok(serde_json::json!("stale")), &mut more);
        server.socket.answer(server.poll.registry(), other, &Ok(serde_json::json!("fresh")), &mut more);
        assert_eq!(BufReader::new(second).lines().next().unwrap().unwrap(), "\"fresh\"");
        assert!(more.is_empty());
    }

    #[test]
    fn there_is_one_rgmd_in_a_run_directory() {
        let server = Server::new("alone");
        assert_eq!(check_alone(&server.dir).unwrap_err().status, exit::RUNNING);
        assert!(check_alone(&server.dir.join("elsewhere")).is_ok());
    }
}
