//! The service that the demo keeps alive: a process that holds a lock which all nodes share.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::exit::Exit;
use crate::io::Io;

/// A service of the demo.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the locks are.
    dir: PathBuf,
    /// Its name.
    name: String,
    /// The node it runs on.
    node: String,
    /// Written when the lock is held.
    pid_file: PathBuf,
}

/// Runs it: until it is killed.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match hold(args) {
        Ok(lock) => loop {
            std::thread::sleep(Duration::from_secs(3600));
            let _ = &lock;
        },
        Err(e) => {
            io.complain(format_args!("{}: {e:#}\n", args.name));
            Exit::Software
        }
    }
}

fn hold(args: &Args) -> Result<File> {
    let path = args.dir.join(format!("{}.lock", args.name));
    let mut lock = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&lock).take(100).read_to_string(&mut holder);
            let note =
                format!("{} was started on {} while it runs on {}", args.name, args.node, holder.trim());
            append(args, "violations", &note)?;
            anyhow::bail!(note);
        }
        Err(TryLockError::Error(e)) => return Err(e).context("locking"),
    }
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", args.node)?;
    append(args, "starts", &format!("{} {} {}", args.name, args.node, std::process::id()))?;
    let part = args.pid_file.with_extension("part");
    fs::write(&part, format!("{}\n", std::process::id()))?;
    fs::rename(&part, &args.pid_file)?;
    Ok(lock)
}

/// One line with the time in front; a single write, so that lines of several processes do not mix.
fn append(args: &Args, file: &str, text: &str) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut file = File::options().append(true).create(true).open(args.dir.join(file))?;
    file.write_all(format!("{now} {text}\n").as_bytes())?;
    Ok(())
}
