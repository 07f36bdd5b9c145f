//! The converter in the background: one at a time, named by a file that it holds locked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_sys::daemonize::{self, Signals};
use logconv::Level;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

use super::{INTERVAL, Stop, Work};
use crate::exit::Exit;
use crate::io::Io;

/// How long one that was told to stop may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lock, which ends with the process.
pub(super) fn alone(path: &Path) -> Result<File, Stop> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file =
        file.map_err(|e| Stop::file(path.display(), format!("{e}; name another file with --pid-file")))?;
    match file.try_lock() {
        Ok(()) => {
            name(&file).map_err(|e| Stop::file(path.display(), e))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let text = format!("another one runs ({}); stop it: pm_logconv -k", path.display());
            Err(Stop { text, exit: Exit::Of(1) })
        }
        Err(TryLockError::Error(e)) => Err(Stop::file(path.display(), e)),
    }
}

/// Writes this process's number.
fn name(mut file: &File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

/// The process that holds the lock.
fn running(path: &Path) -> Option<i32> {
    let mut file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 1)
}

pub(super) fn status(path: &Path, io: &mut Io) -> Result<Exit, Stop> {
    match running(path) {
        Some(pid) => {
            io.say(format_args!("pm_logconv is running [pid = {pid}]\n"));
            Ok(Exit::Ok)
        }
        None => {
            io.say(format_args!("pm_logconv is stopped; start it: pm_logconv -d\n"));
            Ok(Exit::Of(1))
        }
    }
}

pub(super) fn kill(path: &Path, io: &mut Io) -> Result<Exit, Stop> {
    let Some(pid) = running(path) else {
        io.say(format_args!("pm_logconv is stopped already\n"));
        return Ok(Exit::Ok);
    };
    send(Pid::from_raw(pid), Signal::SIGTERM).map_err(|e| Stop::file(format!("process {pid}"), e))?;
    let began = Instant::now();
    while running(path) == Some(pid) {
        if began.elapsed() > PATIENCE {
            let text = format!("process {pid} does not end; see what it does: cat /proc/{pid}/wchan");
            return Err(Stop { text, exit: Exit::Of(1) });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    io.say(format_args!("pm_logconv is stopped\n"));
    Ok(Exit::Ok)
}

/// Goes on in the background. The caller's lock is held by the new process, too.
pub(super) fn background(path: &Path, mut work: Work) -> Result<Exit, Stop> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let background =
        daemonize::into_background(1).map_err(|e| Stop::file("cannot go into the background", e))?;
    let file = OpenOptions::new().write(true).open(&path).map_err(|e| Stop::file(path.display(), e))?;
    name(&file).map_err(|e| Stop::file(path.display(), e))?;
    // What cannot work at all is said before the one who started it is told that it runs.
    work.step()?;
    background.ready();
    work.unseen = true;
    let _ = daemonize::detach_stderr();
    go_on(&mut work)
}

/// Follows the log until a signal. A batch that was begun is ended.
pub(super) fn go_on(work: &mut Work) -> Result<Exit, Stop> {
    let mut signals = Signals::new().map_err(|e| Stop::file("cannot read signals", e))?;
    let mut failing = false;
    loop {
        // Files are opened anew after each rotation without being told to.
        if signals.next_signal().is_some_and(|signal| signal != daemonize::SIGHUP) {
            return Ok(Exit::Ok);
        }
        // A full disk, a log that cannot be read for a while: nothing is lost by waiting.
        match work.step() {
            Ok(more) => {
                failing = false;
                if !more {
                    std::thread::sleep(INTERVAL);
                }
            }
            Err(stop) => {
                if !std::mem::replace(&mut failing, true) {
                    work.tell(Level::Error, &format!("{}; trying again", stop.text));
                }
                std::thread::sleep(INTERVAL);
            }
        }
        for complaint in work.complaints() {
            work.tell(Level::Warning, &complaint);
        }
    }
}
