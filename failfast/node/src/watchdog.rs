//! The watchdog device: armed once, fed by the event loop, stopped by a magic close on an orderly stop only.
//!
//! Opening the device arms it, so everything that can be known without that is known before: sysfs says whether it is
//! running already. One that is was left armed by a dead incarnation (or belongs to another program): a new `cmmd`
//! must not feed it, because the machine is about to be reset for a reason.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use holdfast_sys::watchdog as ioctl;
use holdfast_types::{Boottime, Span};

/// An armed watchdog. Dropping it does *not* disarm it: a `cmmd` that ends without [`Self::disarm`] is reset.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    identity: Identity,
    timeout: Span,
    notice: Notice,
    before: Before,
}

/// What the kernel does at a notice.
#[derive(Clone, Copy)]
enum Governor {
    /// It is told to panic.
    Set,
    /// It is asked whether it could.
    Asked,
}

/// How a device was set before it was armed, as far as it says.
#[derive(Debug, Default)]
struct Before {
    /// Seconds.
    timeout: Option<u32>,
    /// Seconds.
    pretimeout: Option<u32>,
}

/// Feeds an armed watchdog: now and then while the node is fit, not at all while it is not.
#[derive(Debug)]
pub struct Feeder {
    device: Watchdog,
    every: Span,
    /// `None` while it is not fed: there is nothing to wake up for then.
    due: Option<Boottime>,
}

/// What comes before it fires.
#[derive(Debug)]
pub enum Notice {
    /// Nothing: none was asked for.
    None,
    /// The kernel panics this long before: its last words are kept where it has a place for them.
    Panic(Span),
    /// Nothing, or nothing but a line in the kernel's log, and why.
    Refused(String),
}

/// What is known of a device without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// E.g. `/dev/watchdog0`.
    pub path: PathBuf,
    /// Where the kernel shows it.
    sysfs: PathBuf,
    /// What the driver calls it, e.g. `Software Watchdog`, `iTCO_wdt`.
    pub name: String,
    /// Whether it is running.
    pub active: bool,
    /// Whether it cannot be stopped once it runs.
    pub no_way_out: bool,
}

/// What to arm it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// It fires this long after the last feed. Rounded up to whole seconds, since devices know no others.
    pub timeout: Span,
    /// The kernel is to panic this long before it fires; zero: not.
    pub pretimeout: Span,
}

/// Why there is no watchdog.
#[derive(Debug)]
pub enum WatchdogError {
    /// It cannot be found or opened.
    Open {
        /// The device.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is running: left armed by a dead incarnation, or in use by another program.
    Running(Identity),
    /// No device, or more than one, is called so.
    Named {
        /// What it was to be called.
        name: String,
        /// How many are.
        count: usize,
        /// The devices there are, each with its name.
        seen: Vec<String>,
    },
    /// It does not take the time-out.
    Timeout {
        /// The device.
        path: PathBuf,
        /// Asked for, in seconds.
        asked: u32,
        /// What it is set to now, if that is known.
        got: Result<u32, io::Error>,
    },
}

impl Identity {
    /// Looks a device up in sysfs. Does not open it.
    ///
    /// # Errors
    /// [`WatchdogError::Open`] where it is no character device.
    pub fn of(path: &Path) -> Result<Self, WatchdogError> {
        let failed = |source| WatchdogError::Open { path: path.into(), source };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.file_type().is_char_device() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a character device")));
        }
        let device = metadata.rdev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        // The legacy /dev/watchdog is device 10:130 and has no attributes of its own: it is watchdog0.
        let sysfs = if (major, minor) == (10, 130) {
            PathBuf::from("/sys/class/watchdog/watchdog0")
        } else {
            PathBuf::from(format!("/sys/dev/char/{major}:{minor}"))
        };
        Ok(Self::read(path, &sysfs))
    }

    /// The only device that its driver calls so, wherever it is among the numbers.
    ///
    /// # Errors
    /// [`WatchdogError::Named`] where none or several are called so.
    pub fn named(name: &str) -> Result<Self, WatchdogError> {
        Self::named_among(name, Self::all())
    }

    fn named_among(name: &str, all: Vec<Self>) -> Result<Self, WatchdogError> {
        let called = |identity: &Identity| identity.name == name;
        let (mut found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(called);
        match (found.len(), found.pop()) {
            (1, Some(identity)) => Ok(identity),
            (count, last) => {
                let names = |identity: Identity| format!("{} ({})", identity.path.display(), identity.name);
                let seen = found.into_iter().chain(last).chain(others).map(names).collect();
                Err(WatchdogError::Named { name: name.into(), count, seen })
            }
        }
    }

    /// All devices that the kernel's watchdog core knows, by number. Opens none.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(CLASS) else { return Vec::new() };
        let mut names: Vec<(u32, String)> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .filter_map(|name| Some((name.strip_prefix("watchdog")?.parse().ok()?, name)))
            .collect();
        names.sort();
        let read = |(_, name): (u32, String)| {
            Self::read(&Path::new("/dev").join(&name), &Path::new(CLASS).join(name))
        };
        names.into_iter().map(read).collect()
    }

    /// One of its attributes in sysfs, as it is now; empty where there is none.
    #[must_use]
    pub fn attribute(&self, name: &str) -> String {
        std::fs::read_to_string(self.sysfs.join(name)).unwrap_or_default().trim().to_owned()
    }

    /// Where the kernel shows it, links followed: two paths to one device are told by that.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        std::fs::canonicalize(&self.sysfs).unwrap_or_else(|_| self.sysfs.clone())
    }

    fn read(path: &Path, sysfs: &Path) -> Self {
        let attribute =
            |name| std::fs::read_to_string(sysfs.join(name)).unwrap_or_default().trim().to_owned();
        let name = Some(attribute("identity")).filter(|n| !n.is_empty());
        Self {
            path: path.into(),
            sysfs: sysfs.into(),
            name: name.unwrap_or_else(|| "unknown".into()),
            active: attribute("state") == "active",
            no_way_out: attribute("nowayout") == "1",
        }
    }

    /// Whether it is the kernel's own, which dies with the kernel.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.name == "Software Watchdog"
    }
}

impl Watchdog {
    /// Opens the device, which arms it, and sets it; looks once more right before whether it is running, since it may
    /// have been identified long ago. Where setting fails it is stopped again.
    ///
    /// # Errors
    /// [`WatchdogError`].
    pub fn arm(identity: Identity, figures: Figures) -> Result<Self, WatchdogError> {
        Self::open(identity, figures, Governor::Set)
    }

    /// As [`Watchdog::arm`], for a while: the kernel is not told to panic at the notice, since it cannot be told to do nothing again.
    ///
    /// # Errors
    /// As there.
    pub fn try_out(identity: Identity, figures: Figures) -> Result<Self, WatchdogError> {
        Self::open(identity, figures, Governor::Asked)
    }

    fn open(identity: Identity, figures: Figures, governor: Governor) -> Result<Self, WatchdogError> {
        let identity = if identity.active { identity } else { Identity::of(&identity.path)? };
        if identity.active {
            return Err(WatchdogError::Running(identity));
        }
        let device = OpenOptions::new().write(true).open(&identity.path);
        let device = device.map_err(|source| WatchdogError::Open { path: identity.path.clone(), source })?;
        Self::set_up(device, identity, figures, governor)
    }

    fn set_up(
        device: File,
        mut identity: Identity,
        figures: Figures,
        governor: Governor,
    ) -> Result<Self, WatchdogError> {
        let asked = whole_seconds(figures.timeout);
        let before = Before {
            timeout: ioctl::timeout(device.as_fd()).ok(),
            pretimeout: ioctl::pretimeout(device.as_fd()).ok(),
        };
        // What the device answers to the request is what it took; reading back is what it does. Believe the latter.
        let set = ioctl::set_timeout(device.as_fd(), asked).and_then(|_| ioctl::timeout(device.as_fd()));
        let path = identity.path.clone();
        match set {
            Ok(got) if got == asked => {}
            got => {
                let _ = magic_close(&device); // if it cannot be stopped, nobody feeds it, and the log says why
                return Err(WatchdogError::Timeout { path, asked, got });
            }
        }
        if identity.name == "unknown"
            && let Ok(support) = ioctl::support(device.as_fd())
        {
            identity.name = support.identity;
        }
        let notice = Self::ask_for_notice(&device, &identity, figures, governor);
        let this = Self { device, identity, timeout: Span::from_secs(asked.into()), notice, before };
        // The kernel's timer for the notice starts with the next feeding: a daemon that hangs before its first one would be reset without
        // a word. If it cannot be fed, whoever feeds it next finds out.
        let _ = this.feed();
        Ok(this)
    }

    /// Has the kernel panic before the device fires: a reset alone leaves no trace.
    fn ask_for_notice(device: &File, identity: &Identity, figures: Figures, governor: Governor) -> Notice {
        let wanted = whole_seconds(figures.pretimeout);
        if figures.pretimeout == Span::ZERO || wanted >= whole_seconds(figures.timeout) {
            return Notice::None;
        }
        let path = identity.path.display();
        let trace = "a reset by it leaves no trace in the kernel's last words";
        let device = device.as_fd();
        match ioctl::set_pretimeout(device, wanted).and_then(|_| ioctl::pretimeout(device)) {
            Ok(got) if got == wanted => {}
            Ok(got) => {
                return Notice::Refused(format!(
                    "watchdog {path} took {got} s for {wanted} s of notice: {trace}"
                ));
            }
            Err(e) => {
                return Notice::Refused(format!(
                    "watchdog {path} gives no notice before it fires ({e}): {trace}"
                ));
            }
        }
        let set = match governor {
            Governor::Set => std::fs::write(identity.sysfs.join("pretimeout_governor"), "panic"),
            Governor::Asked => match identity.attribute("pretimeout_available_governors") {
                known if known.split_whitespace().any(|name| name == "panic") => Ok(()),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
        };
        match set {
            Ok(()) => Notice::Panic(Span::from_secs(wanted.into())),
            Err(e) => Notice::Refused(format!(
                "the kernel does not panic before watchdog {path} fires ({e}): {trace}; run modprobe pretimeout_panic \
                 before cmmd starts"
            )),
        }
    }

    /// Feeds it: it fires no earlier than its time-out from now.
    ///
    /// # Errors
    /// What writing to the device says; it was not fed then.
    pub fn feed(&self) -> io::Result<()> {
        // A write feeds every driver, also those without the keepalive request. Anything but `V` will do.
        (&self.device).write_all(b"\0")
    }

    /// Stops it and closes it. Only for an orderly stop with nothing left to protect.
    ///
    /// # Errors
    /// `PermissionDenied` where the driver runs with `nowayout`: the machine will be reset. What writing says.
    pub fn disarm(self) -> io::Result<()> {
        magic_close(&self.device)?;
        if self.identity.no_way_out {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the driver runs with nowayout"));
        }
        Ok(())
    }

    /// Sets it as it was before [`Watchdog::try_out`]: time-out and notice. It still runs, and is to be stopped next.
    ///
    /// # Errors
    /// In words: what it is set to now, and what it was; the rest is put back.
    pub fn put_back(&self) -> Result<(), String> {
        let device = self.device.as_fd();
        let mut wrong = Vec::new();
        let mut check = |what: &str, was: u32, is: io::Result<u32>| match is {
            Ok(is) if is == was => {}
            Ok(is) => wrong.push(format!("its {what} is {is} s and was {was} s")),
            Err(e) => wrong.push(format!("its {what} was {was} s: {e}")),
        };
        // The time-out first: a notice has to be shorter.
        if let Some(was) = self.before.timeout {
            check("time-out", was, ioctl::set_timeout(device, was).and_then(|_| ioctl::timeout(device)));
        }
        if let Some(was) = self.before.pretimeout {
            check("notice", was, ioctl::set_pretimeout(device, was).and_then(|_| ioctl::pretimeout(device)));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Which device it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The time-out in force.
    #[must_use]
    pub fn timeout(&self) -> Span {
        self.timeout
    }

    /// What comes before it fires.
    #[must_use]
    pub fn notice(&self) -> &Notice {
        &self.notice
    }

    /// At the latest this long after the last feed the machine is down: some devices fire at twice their time-out (two
    /// stages), the software one 7 % late; a tenth on top for clocks.
    #[must_use]
    pub fn worst_case(&self) -> Span {
        self.timeout.scale(22, 10)
    }
}

impl Feeder {
    /// For one that was armed just now.
    #[must_use]
    pub fn new(device: Watchdog, now: Boottime) -> Self {
        let every = device.timeout().scale(1, 8).min(Span::from_secs(1));
        Self { device, every, due: Some(now + every) }
    }

    /// When [`Self::turn`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        self.due
    }

    /// Feeds it if it is due and the node is fit. Gives `fit` where that has changed.
    pub fn turn(&mut self, now: Boottime, fit: bool) -> Option<bool> {
        let changed = fit != self.due.is_some();
        if !fit {
            self.due = None;
        } else if self.due.is_none_or(|due| now >= due) {
            // A device that does not take it will fire, which is what it is for.
            let _ = self.device.feed();
            self.due = Some(now + self.every);
        }
        changed.then_some(fit)
    }

    /// As [`Watchdog::disarm`].
    ///
    /// # Errors
    /// As there.
    pub fn disarm(self) -> io::Result<()> {
        self.device.disarm()
    }
}

fn magic_close(mut device: &File) -> io::Result<()> {
    device.write_all(b"V")
}

fn whole_seconds(span: Span) -> u32 {
    u32::try_from(span.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
}

/// Where the kernel's watchdog core lists its devices.
const CLASS: &str = "/sys/class/watchdog";

impl fmt::Display for WatchdogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { name, count, seen } => {
                let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
                write!(
                    f,
                    "{count} watchdogs are called \"{name}\"; there are: {seen}; load the driver (modprobe), or name the "
                )?;
                f.write_str("device by its path in failfast.watchdog_device")
            }
            Self::Open { path, source } => {
                write!(
                    f,
                    "watchdog {}: {source}; name a device in failfast.watchdog_device, or off",
                    path.display()
                )
            }
            Self::Running(Identity { path, name, .. }) => write!(
                f,
                "watchdog {} ({name}) is running already: left armed by a cmmd that died, or used by another program \
                 (systemd's RuntimeWatchdogSec, sbd); it is not fed",
                path.display()
            ),
            Self::Timeout { path, asked, got: Ok(got) } => {
                write!(
                    f,
                    "watchdog {} took {got} s instead of {asked} s; set failfast.watchdog_timeout",
                    path.display()
                )
            }
            Self::Timeout { path, asked, got: Err(e) } => {
                write!(f, "watchdog {} does not take a time-out of {asked} s: {e}", path.display())
            }
        }
    }
}
impl std::error::Error for WatchdogError {}

/// No test opens a watchdog device: that arms it. A pipe stands in for it, and shows what is written.
#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;

    fn identity(active: bool) -> Identity {
        Identity {
            path: "/dev/none".into(),
            sysfs: "/nonexistent".into(),
            name: "test".into(),
            active,
            no_way_out: false,
        }
    }

    fn figures() -> Figures {
        Figures { timeout: Span::from_millis(9_500), pretimeout: Span::from_secs(1) }
    }

    fn written(mut pipe: std::io::PipeReader) -> Vec<u8> {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn over(device: File) -> Watchdog {
        let before = Before::default();
        Watchdog {
            device,
            identity: identity(false),
            timeout: Span::from_secs(10),
            notice: Notice::None,
            before,
        }
    }

    #[test]
    fn feeding_is_no_magic_close() {
        let (reader, writer) = std::io::pipe().unwrap();
        let watchdog = over(File::from(OwnedFd::from(writer)));
        watchdog.feed().unwrap();
        watchdog.feed().unwrap();
        drop(watchdog);
        assert_eq!(written(reader), b"\0\0", "dropping must not stop it");
    }

    /// Whoever asks the loop for a turn at once, and again in that turn, has it spin at realtime priority until it is killed.
    #[test]
    fn an_unfed_watchdog_asks_for_no_turn_and_a_fed_one_for_a_later_one() {
        let (reader, writer) = std::io::pipe().unwrap();
        let at = |ms: u64| Boottime::ZERO + Span::from_millis(ms);
        let mut feeder = Feeder::new(over(File::from(OwnedFd::from(writer))), at(0));
        assert_eq!(feeder.next_timeout(), Some(at(1_000)));
        assert_eq!(feeder.turn(at(500), true), None);
        assert_eq!(feeder.turn(at(1_000), true), None);
        assert_eq!(feeder.next_timeout(), Some(at(2_000)));
        assert_eq!(feeder.turn(at(1_500), false), Some(false));
        assert_eq!((feeder.turn(at(3_000), false), feeder.next_timeout()), (None, None));
        assert_eq!((feeder.turn(at(4_000), true), feeder.next_timeout()), (Some(true), Some(at(5_000))));
        drop(feeder);
        assert_eq!(written(reader), b"\0\0", "one in time, one when it was fit again");
        // A device that takes nothing is asked again later, not at once.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut feeder = Feeder::new(over(File::from(OwnedFd::from(writer))), at(0));
        assert_eq!((feeder.turn(at(1_000), true), feeder.next_timeout()), (None, Some(at(2_000))));
    }

    #[test]
    fn disarming_is_a_magic_close() {
        let (reader, writer) = std::io::pipe().unwrap();
        let watchdog = over(File::from(OwnedFd::from(writer)));
        watchdog.feed().unwrap();
        watchdog.disarm().unwrap();
        assert_eq!(written(reader), b"\0V");
    }

    #[test]
    fn what_cannot_be_put_back_is_said() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let mut watchdog = over(File::from(OwnedFd::from(writer)));
        assert_eq!(watchdog.put_back(), Ok(()), "nothing was known of it");
        watchdog.before = Before { timeout: Some(30), pretimeout: Some(0) };
        let wrong = watchdog.put_back().unwrap_err();
        for words in ["its time-out was 30 s", "its notice was 0 s"] {
            assert!(wrong.contains(words), "{wrong}");
        }
    }

    #[test]
    fn a_device_without_time_out_is_stopped_again() {
        let (reader, writer) = std::io::pipe().unwrap();
        let device = File::from(OwnedFd::from(writer));
        let error = Watchdog::set_up(device, identity(false), figures(), Governor::Set).unwrap_err();
        assert!(matches!(error, WatchdogError::Timeout { asked: 10, got: Err(_), .. }), "{error}");
        assert_eq!(written(reader), b"V");
    }

    #[test]
    fn one_that_runs_is_not_opened() {
        let error = Watchdog::arm(identity(true), figures()).unwrap_err();
        assert!(matches!(&error, WatchdogError::Running(_)), "{error}");
        assert!(error.to_string().contains("is running already"));
    }

    #[test]
    fn what_is_no_device_is_not_opened() {
        for path in ["/nonexistent/watchdog", "/etc/passwd"] {
            assert!(matches!(Identity::of(Path::new(path)), Err(WatchdogError::Open { .. })), "{path}");
        }
        let null = Identity::of(Path::new("/dev/null")).unwrap();
        assert_eq!((null.name.as_str(), null.active, null.is_software()), ("unknown", false, false));
    }

    #[test]
    fn sysfs_is_read() {
        let dir = std::env::temp_dir().join(format!("holdfast-watchdog-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, value) in [("identity", "Software Watchdog\n"), ("state", "active\n"), ("nowayout", "1\n")]
        {
            std::fs::write(dir.join(name), value).unwrap();
        }
        let identity = Identity::read(Path::new("/dev/watchdog0"), &dir);
        let _ = std::fs::remove_dir_all(&dir);
        assert!(identity.is_software() && identity.active && identity.no_way_out, "{identity:?}");
    }

    #[test]
    fn a_name_stands_for_one_device() {
        let called = |number: u32, name: &str| Identity {
            path: format!("/dev/watchdog{number}").into(),
            name: name.into(),
            ..identity(false)
        };
        let all = || vec![called(0, "iTCO_wdt"), called(1, "Software Watchdog"), called(2, "iTCO_wdt")];
        let found = Identity::named_among("Software Watchdog", all()).unwrap();
        assert_eq!(found.path, Path::new("/dev/watchdog1"));
        let twice = Identity::named_among("iTCO_wdt", all()).unwrap_err().to_string();
        assert!(
            twice.contains("2 watchdogs are called \"iTCO_wdt\"")
                && twice.contains("/dev/watchdog2 (iTCO_wdt)"),
            "{twice}"
        );
        let none = Identity::named_among("i6300ESB timer", vec![]).unwrap_err().to_string();
        assert!(none.contains("0 watchdogs") && none.contains("there are: none; load the driver"), "{none}");
    }

    #[test]
    fn the_worst_case_covers_two_stages() {
        let (_reader, writer) = std::io::pipe().unwrap();
        assert_eq!(over(File::from(OwnedFd::from(writer))).worst_case(), Span::from_secs(22));
        assert_eq!(whole_seconds(Span::ZERO), 1);
        assert_eq!(whole_seconds(Span::from_millis(2_001)), 3);
    }
}
