//! What the test and the agent in a node say to each other over a virtio serial port: one line of JSON a message.
//!
//! The agent says who it is ([`FromAgent::Hello`], with the boot's id) and then runs what it is asked to, several commands at
//! once if need be. A request names the boot that it is for: one that still waits when the machine has been reset is
//! not run by the next boot.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The port's name inside.
pub const PORT: &str = "/dev/virtio-ports/holdfast.agent";

/// To the agent: run this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with the answer.
    pub id: u64,
    /// For this boot only.
    pub boot: String,
    /// For `sh -c`.
    pub script: String,
}

/// From the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromAgent {
    /// A machine is up; its boot id.
    Hello(String),
    /// A command has ended.
    Done(Answer),
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// That of the request.
    pub id: u64,
    /// Exit status; -1 where a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn ok(self) -> String {
        assert!(self.status == 0, "{self:?}");
        self.stdout
    }
}

/// The host's end.
pub(crate) struct Agent {
    stream: UnixStream,
    incoming: Receiver<FromAgent>,
    next_id: u64,
    /// The boot that answers now.
    boot: Option<String>,
}

impl Agent {
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        let lines = BufReader::new(stream.try_clone()?).split(b'\n');
        let (sender, incoming) = mpsc::channel();
        std::thread::spawn(move || {
            // Whatever a dying machine leaves in the port is no message.
            for message in lines.map_while(Result::ok).filter_map(|l| serde_json::from_slice(&l).ok()) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Self { stream, incoming, next_id: 1, boot: None })
    }

    /// The boot that said hello last; looks without waiting.
    pub(crate) fn boot(&mut self) -> Option<&str> {
        while let Ok(message) = self.incoming.try_recv() {
            self.note(message);
        }
        self.boot.as_deref()
    }

    /// Has a script run. Gives its number and the boot that runs it.
    pub(crate) fn order(&mut self, script: &str) -> Result<(u64, String)> {
        let boot = self.boot().context("the machine has not booted")?.to_owned();
        let id = self.next_id;
        self.next_id += 1;
        let request = Request { id, boot: boot.clone(), script: script.to_owned() };
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        self.stream.write_all(&line)?;
        Ok((id, boot))
    }

    /// Runs a script and waits for its end.
    pub(crate) fn run(&mut self, script: &str, limit: Duration) -> Result<Answer> {
        let (id, boot) = self.order(script)?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(FromAgent::Done(answer)) if answer.id == id => return Ok(answer),
                Ok(message) => self.note(message),
                Err(RecvTimeoutError::Timeout) => bail!("no answer within {limit:?} to: {script}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the machine was switched off under: {script}"),
            }
            ensure!(self.boot.as_ref() == Some(&boot), "the machine was reset under: {script}");
        }
    }

    fn note(&mut self, message: FromAgent) {
        if let FromAgent::Hello(boot) = message {
            self.boot = Some(boot);
        }
    }
}
