//! Runs in a virtual machine: does what the test on the host asks for. See [`vm::agent`].

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use vm::agent::{Answer, FromAgent, PORT, Request};

fn main() -> Result<()> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let port = OpenOptions::new().read(true).write(true).open(PORT).context(PORT)?;
    let writer = Arc::new(Mutex::new(port.try_clone()?));
    (&port).write_all(b"\n")?; // ends what the boot before may have left unfinished
    send(&writer, &FromAgent::Hello(boot.clone()))?;
    for line in BufReader::new(port).lines() {
        // What was meant for an earlier boot, or torn by its end, is not for this one.
        let Ok(request) = serde_json::from_str::<Request>(&line?) else { continue };
        if request.boot != boot {
            continue;
        }
        let refused = Answer { id: request.id, status: -1, stdout: String::new(), stderr: String::new() };
        let thread_writer = Arc::clone(&writer);
        let thread = std::thread::Builder::new().spawn(move || {
            let _ = send(&thread_writer, &FromAgent::Done(run(&request))); // the host may be gone
        });
        if let Err(e) = thread {
            // A machine that has run out of processes has an agent all the same.
            send(&writer, &FromAgent::Done(Answer { stderr: e.to_string(), ..refused }))?;
        }
    }
    Ok(())
}

fn run(request: &Request) -> Answer {
    let out = Command::new("sh").arg("-c").arg(&request.script).stdin(Stdio::null()).output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match out {
        Ok(out) => Answer {
            id: request.id,
            status: out.status.code().unwrap_or(-1),
            stdout: text(&out.stdout),
            stderr: text(&out.stderr),
        },
        Err(e) => Answer { id: request.id, status: -1, stdout: String::new(), stderr: e.to_string() },
    }
}

fn send(port: &Mutex<File>, message: &FromAgent) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    port.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?;
    Ok(())
}
