//! The demo's power switch and its fence agent. The agent runs inside of a node, where it cannot see the others; it asks the
//! demo over a socket, and the demo kills every process of the node and looks that none is left.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

/// Serves `off NODE`, `status NODE` and `list` until the process ends. `switch` turns a node off and says whether nothing of
/// it is left; `is_on` looks.
pub(super) fn serve(
    socket: &Path,
    names: Vec<String>,
    switch: impl Fn(&str) -> Result<()> + Send + 'static,
    is_on: impl Fn(&str) -> Result<bool> + Send + 'static,
) -> Result<()> {
    let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
    std::thread::Builder::new().name("power".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = match ask(&stream) {
                Ok(line) => match line.split_once(' ').unwrap_or((&line, "")) {
                    ("list", _) => names.join("\n"),
                    (_, node) if !names.iter().any(|n| n == node) => format!("error no node named {node:?}"),
                    ("off", node) => switch(node).map_or_else(|e| format!("error {e:#}"), |()| "ok".into()),
                    ("status", node) => match is_on(node) {
                        Ok(true) => "on".into(),
                        Ok(false) => "off".into(),
                        Err(e) => format!("error {e:#}"),
                    },
                    _ => "error unknown request".into(),
                },
                Err(e) => format!("error {e}"),
            };
            let _ = (&stream).write_all(answer.as_bytes());
        }
    })?;
    Ok(())
}

fn ask(stream: &UnixStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream.take(256)).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// The fence agent: `key=value` lines on standard input, as every fence agent reads them. 0: done; 1: failed; 2: off (for
/// `status`).
pub(crate) fn fence(socket: &Path) -> ExitCode {
    let mut input = String::new();
    let _ = std::io::stdin().take(64 * 1024).read_to_string(&mut input);
    let value =
        |key: &str| input.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let node = [value("port"), value("plug"), value("nodename")].into_iter().find(|v| !v.is_empty());
    let request = match (value("action"), node) {
        ("metadata" | "meta-data", _) => {
            print!("{METADATA}");
            return ExitCode::SUCCESS;
        }
        ("monitor" | "list", _) => "list".to_owned(),
        ("off" | "reboot", Some(node)) => format!("off {node}"),
        ("status", Some(node)) => format!("status {node}"),
        ("on", Some(_)) => return ExitCode::SUCCESS,
        (action, _) => {
            eprintln!(
                "fence_demo: action {action:?} needs port=NODE, or is not one of off, reboot, status, list, monitor"
            );
            return ExitCode::FAILURE;
        }
    };
    match call(socket, &request) {
        Ok(answer) if answer == "off" => ExitCode::from(2),
        Ok(answer) if !answer.starts_with("error") => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            eprintln!("fence_demo: {answer}");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("fence_demo: no answer from the power switch: {e}");
            ExitCode::FAILURE
        }
    }
}

fn call(socket: &Path, request: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    writeln!(stream, "{request}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

const METADATA: &str = r#"<?xml version="1.0"?>
<resource-agent name="fence_demo" shortdesc="Power switch of the Holdfast demo">
<longdesc>Kills every process of a node of the demo and verifies that none is left.</longdesc>
<parameters><parameter name="port" required="1"><content type="string"/></parameter></parameters>
<actions><action name="off"/><action name="reboot"/><action name="status"/><action name="list"/><action name="monitor"/>
<action name="metadata"/></actions></resource-agent>
"#;
