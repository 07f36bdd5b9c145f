//! `-d`: the command goes on in the background, as one of its kind: a file holds its process id.

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{ERROR, Stop};
use crate::exit::Exit;
use crate::io::Io;

/// Marks the process that goes on.
const MARK: &str = "HOLDFAST_CRM_MON_DAEMON";

/// Whether this process is the one that goes on.
pub(super) fn is_one() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts it, unless it runs.
pub(super) fn begin(pid_file: &Path, io: &mut Io) -> Result<Exit, Stop> {
    if let Some(pid) = running(pid_file) {
        let file = pid_file.display();
        io.say(format_args!("crm_mon: already running [pid {pid} in {file}]\n"));
        return Ok(Exit::Of(ERROR));
    }
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let itself = std::env::current_exe().map_err(failed)?;
    Command::new(itself)
        .arg0(name)
        .args(args)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    Ok(Exit::Ok)
}

fn failed(error: io::Error) -> Stop {
    Stop::new(71, format!("crm_mon: could not start daemon: {error}; without -d it stays in the foreground"))
}

/// Makes this process one of its own, and says so in the file.
pub(super) fn settle(pid_file: &Path) -> io::Result<()> {
    // It may be the leader of its group: then it has a session of its own.
    let _ = nix::unistd::setsid();
    if running(pid_file).is_none() {
        match std::fs::remove_file(pid_file) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    // Of two that start at once one finds the file.
    let mut file = std::fs::File::create_new(pid_file)?;
    writeln!(file, "{:>10}", std::process::id())
}

/// The process that the file names, if it is one of ours.
fn running(pid_file: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let same = std::fs::read_link(format!("/proc/{pid}/exe")).ok()? == std::env::current_exe().ok()?;
    (same && pid != std::process::id()).then_some(pid)
}
