//! The way of a log line: the event loop pushes a record into a bounded queue; the log thread renders it through the
//! event table into `tracing`, and one layer writes it to standard error, the log file and syslog.
//!
//! The loop never waits for any of them: a full queue drops the record and counts it, and the next line that gets
//! through says how many were lost. A blocked terminal or a full disk stops the log thread and nothing else.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use cmm_conf::{Debug as DebugLevel, Logging, Priority, Sinks, Timestamp};
use crossbeam_queue::ArrayQueue;
use holdfast_sys::clock;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::events::{self, DaemonEvent, Happening, Line};
use crate::recorder::{Recorder, TESTIMONIES_MAX, Testimonies, Testimony};

/// The loop's end. Cheap to clone; pushing never waits and never allocates.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    queue: ArrayQueue<(u64, Happening)>,
    dropped: AtomicU64,
    reopen: AtomicBool,
    flush: AtomicBool,
    flushed: AtomicBool,
    quiet: AtomicBool,
    /// What the configuration says of logging by now.
    logging: ArrayQueue<Logging>,
    /// The black box, once it is open.
    recorder: ArrayQueue<Recorder>,
    /// What peers that are back are to be told.
    testimonies: Arc<Testimonies>,
}

/// Records that wait for the log thread. At some 200 bytes each this is less than a megabyte.
const QUEUE_MAX: usize = 4_096;
const STACK_BYTES: usize = 192 * 1_024;
/// Lines that are written down in the black box in one go.
const AT_ONCE: usize = 64;

impl Log {
    /// Starts the log thread and installs the subscriber for the whole process.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(logging: &Logging, json: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: ArrayQueue::new(QUEUE_MAX),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            flush: AtomicBool::new(false),
            flushed: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            logging: ArrayQueue::new(1),
            recorder: ArrayQueue::new(1),
            testimonies: Arc::new(ArrayQueue::new(TESTIMONIES_MAX)),
        });
        let writer = Writer::new(logging.clone(), json, Arc::clone(&shared));
        // A second start in one process (tests) keeps the first subscriber.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(writer));
        let for_thread = Arc::clone(&shared);
        let handle = thread::Builder::new()
            .name("log".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&for_thread))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Hands over what happened.
    pub(crate) fn push(&self, happening: Happening) {
        if self.shared.queue.push((clock::wall_nanos(), happening)).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands over an event of the daemon.
    pub(crate) fn event(&self, event: DaemonEvent) {
        self.push(Happening::Daemon(event));
    }

    /// A line of the start. Not for the loop.
    pub(crate) fn text(&self, priority: Priority, text: impl Into<String>) {
        self.push(Happening::Text(priority, "MAIN", text.into()));
        self.wake();
    }

    /// Wakes the log thread: once at the end of a turn that pushed something.
    pub(crate) fn wake(&self) {
        if !self.shared.queue.is_empty() {
            self.thread.unpark();
        }
    }

    /// What a peer that is back is to be told of the end of an earlier life. For the loop, which tells it.
    pub(crate) fn testimony(&self) -> Option<Testimony> {
        self.shared.testimonies.pop()
    }

    /// What happens from now on goes into this black box, too.
    pub(crate) fn record(&self, mut recorder: Recorder) {
        recorder.tell_peers(Arc::clone(&self.shared.testimonies));
        self.shared.recorder.force_push(recorder);
    }

    /// Opens the log file again (SIGHUP).
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.event(DaemonEvent::LogsReopened);
        self.wake();
    }

    /// The configuration says something else of logging: lines written from now on follow it.
    pub(crate) fn set_logging(&self, logging: Logging) {
        self.shared.logging.force_push(logging);
    }

    /// Writes no more to standard error: it is about to be closed.
    pub(crate) fn quiet_stderr(&self) {
        self.flush();
        self.shared.quiet.store(true, Ordering::Release);
    }

    /// Waits until everything pushed so far is written, or for a second: the end must not hang on a blocked terminal.
    pub(crate) fn flush(&self) {
        let until = Instant::now() + Duration::from_secs(1);
        self.shared.flush.store(true, Ordering::Release);
        while !self.shared.flushed.swap(false, Ordering::AcqRel) && Instant::now() < until {
            self.thread.unpark();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn run(shared: &Shared) {
    let mut lines = Vec::new();
    let mut recorder = None;
    loop {
        let asked_to_flush = shared.flush.swap(false, Ordering::AcqRel);
        recorder = shared.recorder.pop().or(recorder);
        take(shared, recorder.as_mut(), &mut lines, emit);
        if let Some(recorder) = &mut recorder {
            recorder.rest();
            if let Some(trouble) = recorder.take_trouble() {
                let happening = Happening::Text(Priority::Err, "MAIN", trouble);
                events::lines(&happening, &mut lines);
                lines.drain(..).for_each(|line| emit(clock::wall_nanos(), &line));
            }
        }
        if asked_to_flush {
            shared.flushed.store(true, Ordering::Release);
        }
        // The time-out only covers a wake-up that the loop left out on purpose.
        thread::park_timeout(Duration::from_millis(500));
    }
}

/// Renders everything that waits, telling first what was dropped before it. To the black box before the log: a terminal that is
/// blocked, or a full disk, must not cost it anything.
fn take(
    shared: &Shared,
    mut recorder: Option<&mut Recorder>,
    lines: &mut Vec<Line>,
    mut emit: impl FnMut(u64, &Line),
) {
    let mut walls = Vec::new();
    loop {
        // Some at a time: they are all written down before the first of them is shown.
        while let Some((wall, happening)) = shared.queue.pop() {
            let (before, dropped) = (lines.len(), shared.dropped.swap(0, Ordering::Relaxed));
            if dropped > 0 {
                let text = format!(
                    "{dropped} log records were dropped before this line: the log thread could not keep up"
                );
                events::lines(&Happening::Text(Priority::Warning, "MAIN", text), lines);
            }
            let own = lines.len();
            events::lines(&happening, lines);
            if let Some(recorder) = &mut recorder {
                recorder.note(wall, &happening, &lines[own..]);
            }
            walls.resize(walls.len() + lines.len() - before, wall);
            if lines.len() >= AT_ONCE {
                break;
            }
        }
        if lines.is_empty() {
            return;
        }
        if let Some(recorder) = &mut recorder {
            recorder.settle();
        }
        for (line, wall) in lines.drain(..).zip(walls.drain(..)) {
            emit(wall, &line);
        }
    }
}

/// Hands a line to `tracing`: levels are part of an event's static description, hence the match.
fn emit(wall: u64, line: &Line) {
    let mut fields = String::new();
    for (name, value) in &line.fields {
        let comma = if fields.is_empty() { "" } else { "," };
        fields.push_str(comma);
        json_string(&mut fields, name);
        fields.push(':');
        json_string(&mut fields, value);
    }
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                tracing::Level::$level,
                wall,
                priority = line.priority.name(),
                subsystem = line.subsystem,
                event = line.name,
                fields,
                message = line.text
            )
        };
    }
    match line.priority {
        Priority::Emerg | Priority::Alert | Priority::Crit | Priority::Err => event!(ERROR),
        Priority::Warning => event!(WARN),
        Priority::Notice | Priority::Info => event!(INFO),
        Priority::Debug => event!(DEBUG),
    }
}

/// The layer that writes. Locked by the log thread, and at the start by the main thread; never by the loop.
struct Writer {
    logging: Mutex<Logging>,
    json: bool,
    /// Standard error is the service manager's journal.
    journal: bool,
    hostname: String,
    shared: Arc<Shared>,
    file: Mutex<LogFile>,
    syslog: Mutex<Syslog>,
}

/// What the layer reads from one event.
#[derive(Default)]
struct Record {
    wall: u64,
    priority: String,
    subsystem: String,
    event: String,
    fields: String,
    message: String,
}

impl Visit for Record {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "wall" {
            self.wall = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let part = match field.name() {
            "priority" => &mut self.priority,
            "subsystem" => &mut self.subsystem,
            "event" => &mut self.event,
            "fields" => &mut self.fields,
            "message" => &mut self.message,
            _ => return,
        };
        value.clone_into(part);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Writer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut record = Record::default();
        event.record(&mut record);
        if record.priority.is_empty() {
            // An event of a library, not of the table.
            let level = *event.metadata().level();
            record.priority = match level {
                tracing::Level::ERROR => "error",
                tracing::Level::WARN => "warning",
                tracing::Level::INFO => "info",
                _ => "debug",
            }
            .into();
            record.subsystem = "MAIN".into();
            record.wall = clock::wall_nanos();
        }
        self.write(&record);
    }
}

impl Writer {
    fn new(logging: Logging, json: bool, shared: Arc<Shared>) -> Self {
        Self {
            hostname: holdfast_sys::host::hostname().unwrap_or_default(),
            json,
            journal: holdfast_sys::service::stderr_is_journal(),
            shared,
            file: Mutex::new(LogFile::new(&logging)),
            syslog: Mutex::new(Syslog { socket: None, next_try: None }),
            logging: Mutex::new(logging),
        }
    }

    fn write(&self, record: &Record) {
        let mut logging = self.logging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(new) = self.shared.logging.pop() {
            if let Ok(mut file) = self.file.lock() {
                *file = LogFile::new(&new);
            }
            *logging = new;
        }
        let sinks = sinks(&logging, &record.subsystem);
        let priority = priority_of(&record.priority);
        let debug = priority == Priority::Debug;
        let wanted = |threshold: Priority| {
            if debug {
                sinks.debug >= DebugLevel::On
            } else {
                sinks.debug >= DebugLevel::On || priority <= threshold
            }
        };
        let mut syslog = sinks.syslog && wanted(sinks.syslog_priority);
        if sinks.stderr && wanted(Priority::Info) && !self.shared.quiet.load(Ordering::Acquire) {
            // The journal has the socket of syslog, too: once there is enough.
            syslog &= !self.journal;
            let line = match (self.json, self.journal) {
                (true, false) => self.json_line(record),
                (true, true) => format!("<{}>{}", priority as u32, self.json_line(record)),
                (false, true) => journal_line(record, priority),
                (false, false) => self.text_line(&logging, record, false),
            };
            // A closed terminal is no reason to stop.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        if sinks.file && wanted(sinks.file_priority) {
            let line =
                if self.json { self.json_line(record) } else { self.text_line(&logging, record, true) };
            if let Ok(mut file) = self.file.lock() {
                if self.shared.reopen.swap(false, Ordering::AcqRel) {
                    file.file = None;
                }
                file.write(&line);
            }
        }
        if syslog {
            let code = logging.facility.code() + priority as u32;
            let text =
                format!("<{code}>cmmd[{}]: [{:<6}] {}", std::process::id(), record.subsystem, record.message);
            if let Ok(mut syslog) = self.syslog.lock() {
                syslog.send(&text);
            }
        }
    }

    /// `Nov 22 01:25:42.123 notice  [TOTEM ] text`; in the file with host and process behind the time.
    fn text_line(&self, logging: &Logging, record: &Record, file: bool) -> String {
        let mut line = String::with_capacity(160);
        if logging.timestamp != Timestamp::Off {
            let t = clock::local_time(record.wall);
            let month = MONTHS[usize::from(t.month.clamp(1, 12)) - 1];
            line.push_str(&format!("{month} {:02} {:02}:{:02}:{:02}", t.day, t.hour, t.minute, t.second));
            if logging.timestamp == Timestamp::Hires {
                line.push_str(&format!(".{:03}", record.wall / 1_000_000 % 1_000));
            }
            line.push(' ');
        }
        if file {
            line.push_str(&format!("[{}] {} cmmd ", std::process::id(), self.hostname));
        }
        line.push_str(&format!("{:<7} ", record.priority));
        push_message(&mut line, record);
        line
    }

    fn json_line(&self, record: &Record) -> String {
        let t = clock::local_time(record.wall);
        let (sign, off) =
            if t.offset_minutes < 0 { ('-', -t.offset_minutes) } else { ('+', t.offset_minutes) };
        let mut line = format!(
            "{{\"time\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{sign}{:02}:{:02}\"",
            t.year,
            t.month,
            t.day,
            t.hour,
            t.minute,
            t.second,
            record.wall / 1_000 % 1_000_000,
            off / 60,
            off % 60
        );
        for (name, value) in [
            ("level", &record.priority),
            ("subsystem", &record.subsystem),
            ("event", &record.event),
            ("message", &record.message),
        ] {
            line.push_str(&format!(",\"{name}\":"));
            json_string(&mut line, value);
        }
        line.push_str(&format!(",\"fields\":{{{}}}}}\n", record.fields));
        line
    }
}

/// `<5>[TOTEM ] text`: time and process are the journal's own.
fn journal_line(record: &Record, priority: Priority) -> String {
    let mut line = format!("<{}>", priority as u32);
    push_message(&mut line, record);
    line
}

/// One event, one line, whatever a peer or client put into a reason.
fn push_message(line: &mut String, record: &Record) {
    line.push_str(&format!("[{:<6}] ", record.subsystem));
    line.extend(record.message.chars().map(|c| if c.is_control() { ' ' } else { c }));
    line.push('\n');
}

/// Where lines of this subsystem go.
fn sinks(logging: &Logging, subsystem: &str) -> Sinks {
    let own = logging.subsystems.iter().rfind(|s| s.name == subsystem);
    own.map_or(logging.sinks, |s| s.sinks)
}

struct LogFile {
    path: Option<PathBuf>,
    file: Option<File>,
    told: bool,
}

impl LogFile {
    fn new(logging: &Logging) -> Self {
        Self { path: logging.logfile.as_ref().map(PathBuf::from), file: None, told: false }
    }

    fn write(&mut self, line: &str) {
        let Some(path) = &self.path else { return };
        let written = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => open_log(path).and_then(|mut file| {
                file.write_all(line.as_bytes())?;
                self.file = Some(file);
                Ok(())
            }),
        };
        match written {
            Ok(()) => self.told = false,
            // Said once, then again only after it worked in between.
            Err(e) if !self.told => {
                self.told = true;
                self.file = None;
                let _ = writeln!(io::stderr(), "cmmd: cannot write the log file {}: {e}", path.display());
            }
            Err(_) => self.file = None,
        }
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    File::options().create(true).append(true).open(path)
}

struct Syslog {
    socket: Option<UnixDatagram>,
    next_try: Option<Instant>,
}

impl Syslog {
    fn send(&mut self, text: &str) {
        if self.socket.is_none() && self.next_try.is_none_or(|t| Instant::now() >= t) {
            self.next_try = Some(Instant::now() + Duration::from_secs(5));
            self.socket = UnixDatagram::unbound()
                .and_then(|s| {
                    s.set_nonblocking(true)?;
                    s.connect("/dev/log")?;
                    Ok(s)
                })
                .ok();
        }
        let Some(socket) = &self.socket else { return };
        match socket.send(text.as_bytes()) {
            Ok(_) => {}
            // A slow syslog daemon loses the line; a restarted one is connected to again.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.socket = None,
        }
    }
}

fn priority_of(name: &str) -> Priority {
    use Priority::{Alert, Crit, Debug, Emerg, Err, Info, Notice, Warning};
    [Emerg, Alert, Crit, Err, Warning, Notice, Info, Debug]
        .into_iter()
        .find(|p| p.name() == name)
        .unwrap_or(Info)
}

/// Appends a JSON string, quotes included.
fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Logging {
        let sinks = Sinks {
            stderr: false,
            syslog: false,
            file: false,
            file_priority: Priority::Info,
            syslog_priority: Priority::Info,
            debug: DebugLevel::Off,
        };
        Logging {
            sinks,
            logfile: None,
            facility: cmm_conf::Facility::Daemon,
            timestamp: Timestamp::Hires,
            subsystems: Vec::new(),
        }
    }

    fn shared() -> Arc<Shared> {
        Arc::new(Shared {
            queue: ArrayQueue::new(QUEUE_MAX),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            flush: AtomicBool::new(false),
            flushed: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            logging: ArrayQueue::new(1),
            recorder: ArrayQueue::new(1),
            testimonies: Arc::new(ArrayQueue::new(1)),
        })
    }

    fn record() -> Record {
        Record {
            wall: 1_750_000_000_123_456_789,
            priority: "notice".into(),
            subsystem: "TOTEM".into(),
            event: "e".into(),
            fields: "\"a\":\"1\"".into(),
            message: "two\nlines \"quoted\"".into(),
        }
    }

    #[test]
    fn lines_have_the_form_operators_know() {
        let writer = Writer::new(silent(), false, shared());
        let line = writer.text_line(&silent(), &record(), false);
        assert!(line.starts_with("Jun 1"), "{line}");
        assert!(line.ends_with(".123 notice  [TOTEM ] two lines \"quoted\"\n"), "{line}");
        let line = writer.text_line(&silent(), &record(), true);
        let host = holdfast_sys::host::hostname().expect("it has a name");
        assert!(line.contains(&format!(" [{}] {host} cmmd notice  [TOTEM ] ", std::process::id())), "{line}");
        assert_eq!(journal_line(&record(), Priority::Notice), "<5>[TOTEM ] two lines \"quoted\"\n");
        let line = writer.json_line(&record());
        assert!(line.starts_with("{\"time\":\"2025-06-1") && line.contains(".123456"), "{line}");
        assert!(line.ends_with(",\"level\":\"notice\",\"subsystem\":\"TOTEM\",\"event\":\"e\",\"message\":\"two\\nlines \\\"quoted\\\"\",\"fields\":{\"a\":\"1\"}}\n"), "{line}");
    }

    #[test]
    fn another_file_and_another_priority_hold_from_the_next_line_on() {
        let dir = std::env::temp_dir().join(format!("cmmd-log-{}", std::process::id()));
        let of = |name: &str, file_priority| Logging {
            logfile: Some(dir.join(name).display().to_string()),
            sinks: Sinks { file: true, file_priority, ..silent().sinks },
            timestamp: Timestamp::Off,
            ..silent()
        };
        let shared = shared();
        let log = Log { shared: Arc::clone(&shared), thread: thread::current() };
        let writer = Writer::new(of("one", Priority::Info), false, shared);
        writer.write(&record());
        log.set_logging(of("two", Priority::Warning));
        writer.write(&record());
        writer.write(&Record { priority: "error".into(), ..record() });
        let lines = |name| std::fs::read_to_string(dir.join(name)).map_or(0, |text| text.lines().count());
        assert_eq!((lines("one"), lines("two")), (1, 1), "a notice is below a warning");
        std::fs::remove_dir_all(&dir).expect("removes");
    }

    #[test]
    fn a_full_queue_drops_counts_and_goes_on() {
        let shared = shared();
        // The thread that never runs: nobody takes anything.
        let log = Log { shared: Arc::clone(&shared), thread: thread::current() };
        for _ in 0..QUEUE_MAX + 7 {
            log.event(DaemonEvent::Stopped);
        }
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 7);
        let mut lines = Vec::new();
        take(&shared, None, &mut lines, |_, line| assert!(!line.text.is_empty()));
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 0);
        assert!(shared.queue.is_empty());
    }

    #[test]
    fn what_was_dropped_is_told_before_the_next_line() {
        let shared = shared();
        shared.dropped.store(3, Ordering::Relaxed);
        assert!(shared.queue.push((0, Happening::Daemon(DaemonEvent::Stopped))).is_ok());
        let (mut lines, mut told) = (Vec::new(), Vec::new());
        take(&shared, None, &mut lines, |_, line| told.push(line.text.clone()));
        assert!(told[0].starts_with("3 log records were dropped"), "{told:?}");
        assert_eq!(told[1], "Holdfast cmmd exiting normally");
    }
}
