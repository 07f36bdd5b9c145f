//! QEMU's own control channel: what happened to the machine, by the host's clock, and orders to it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Something that happened to a machine.
#[derive(Clone, Debug)]
pub struct Event {
    /// When QEMU's word of it was read.
    pub at: Instant,
    /// `GUEST_PANICKED`, `WATCHDOG`, `RESET`, `SHUTDOWN`, …
    pub name: String,
    /// Who caused a reset or shutdown, e.g. `guest-reset`, and the like.
    pub data: Value,
}

/// Events of all lives of a machine, in order.
pub(crate) type Events = Arc<Mutex<Vec<Event>>>;

pub(crate) struct Qmp {
    stream: UnixStream,
    replies: Receiver<Value>,
}

const REPLY_LIMIT: Duration = Duration::from_secs(30);

impl Qmp {
    pub(crate) fn new(stream: UnixStream, events: Events) -> Result<Self> {
        let lines = BufReader::new(stream.try_clone()?).lines();
        let (sender, replies) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let at = Instant::now();
                let Ok(mut message) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(name) = message["event"].as_str() {
                    let event = Event { at, name: name.to_owned(), data: message["data"].take() };
                    events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                } else if message.get("QMP").is_none() && sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut this = Self { stream, replies };
        this.execute("qmp_capabilities", json!({}))?;
        Ok(this)
    }

    /// Gives an order and waits for the reply to it.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let order = json!({"execute": command, "arguments": arguments});
        self.stream.write_all(format!("{order}\n").as_bytes()).context(command.to_owned())?;
        let reply = self.replies.recv_timeout(REPLY_LIMIT).context(command.to_owned())?;
        ensure!(reply.get("error").is_none(), "{command}: {}", reply["error"]);
        Ok(reply["return"].clone())
    }
}
