//! Log lines: to standard error in the foreground, with their priority where that is the journal; to syslog in the background.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Sets up logging for the whole process.
pub(crate) fn begin(json: bool, background: bool, verbose: bool) {
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false);
    let journal = !background && holdfast_sys::service::stderr_is_journal();
    match (background, json) {
        (false, false) if journal => builder.without_time().with_level(false).with_writer(Journal).init(),
        (false, true) if journal => builder.json().with_writer(Journal).init(),
        (false, false) => builder.with_writer(io::stderr).init(),
        (false, true) => builder.json().with_writer(io::stderr).init(),
        (true, false) => builder.without_time().with_writer(Syslog::default()).init(),
        (true, true) => builder.json().with_writer(Syslog::default()).init(),
    }
}

/// Writes a log line at a level that is known only now.
pub(crate) fn line(level: Level, text: &str) {
    match level {
        Level::ERROR => tracing::error!("{text}"),
        Level::WARN => tracing::warn!("{text}"),
        Level::INFO => tracing::info!("{text}"),
        Level::DEBUG => tracing::debug!("{text}"),
        Level::TRACE => tracing::trace!("{text}"),
    }
}

/// Syslog over its local socket. Lines are lost while nobody reads them: a slow syslog daemon must not hold us up.
#[derive(Clone, Default)]
struct Syslog(Arc<Mutex<Option<UnixDatagram>>>);

struct Line<'a> {
    syslog: &'a Syslog,
    priority: u8,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let head = format!("<{}>rgmd[{}]: ", self.priority, std::process::id());
        let mut datagram = head.into_bytes();
        datagram.extend_from_slice(text.trim_ascii_end());
        let mut socket = self.syslog.0.lock().unwrap_or_else(PoisonError::into_inner);
        if socket.is_none() {
            *socket = connect().ok();
        }
        let sent = socket.as_ref().map(|s| s.send(&datagram));
        if let Some(Err(e)) = sent
            && e.kind() != io::ErrorKind::WouldBlock
        {
            // A restarted syslog daemon is connected to at the next line.
            *socket = None;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { syslog: self, priority: DAEMON + 6 }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Line<'a> {
        Line { syslog: self, priority: DAEMON + severity(*meta.level()) }
    }
}

/// Standard error that is the journal: `<4>text`, so that it knows a warning as one.
struct Journal;

struct JournalLine(u8);

impl Write for JournalLine {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // In one piece, and one line a message: each line would need a priority of its own.
        let mut line = format!("<{}>", self.0).into_bytes();
        line.extend(text.trim_ascii_end().iter().map(|b| if *b == b'\n' { b' ' } else { *b }));
        line.push(b'\n');
        io::stderr().write_all(&line)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Journal {
    type Writer = JournalLine;

    fn make_writer(&self) -> JournalLine {
        JournalLine(6)
    }

    fn make_writer_for(&self, meta: &tracing::Metadata<'_>) -> JournalLine {
        JournalLine(severity(*meta.level()))
    }
}

/// As syslog counts.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect("/dev/log")?;
    Ok(socket)
}

/// Syslog's facility "daemon".
const DAEMON: u8 = 3 << 3;
