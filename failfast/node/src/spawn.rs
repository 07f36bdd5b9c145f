//! The guardian as `cmmd` sees it: started, told, watched, replaced; and how `cmmd` itself goes down.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use failfast_core::Reason;
use holdfast_sys::stamp::{Side, Stamps};
use holdfast_sys::{fdpass, pidfd, process_tree, service};
use holdfast_types::{Boottime, Span};

use crate::grave::Grave;
use crate::guardian::{self, FromGuardian, Link, MESSAGE_MAX, Packets, Setup, ToGuardian};
use crate::panic_path::PanicPath;
use crate::scribe::wait_readable;

/// Name of the program, found next to `cmmd`.
pub const PROGRAM: &str = "holdfast-guardian";
/// A guardian is on guard within this, or it is not used.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// A guardian that was released is gone within this.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// A guardian that was told to take the node down has killed `cmmd` within this, or `cmmd` does it by itself.
const TAKE_DOWN_LIMIT: Duration = Duration::from_secs(3);

/// A guardian on guard.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    pidfd: OwnedFd,
    channel: OwnedFd,
    stamps: Stamps,
    warnings: Vec<String>,
}

/// Why there is no guardian.
#[derive(Debug)]
pub enum SpawnError {
    /// It could not be started.
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It refused the set-up, and said why.
    Refused(String),
    /// It ended, or did not answer in time.
    NoAnswer,
}

impl Guardian {
    /// Where the program is: next to this one.
    ///
    /// # Errors
    /// Where this program's own path is not known.
    pub fn program() -> io::Result<PathBuf> {
        let own = std::env::current_exe()?;
        Ok(own.parent().unwrap_or(Path::new("/")).join(PROGRAM))
    }

    /// Starts a guardian for this process and waits until it is on guard. First called before memory is locked and
    /// before realtime priority. (The start is by `vfork` and exec, so it is cheap later too, but it waits: use
    /// [`Respawn`] then.)
    ///
    /// # Errors
    /// [`SpawnError`]; nothing is left running then.
    pub fn spawn(program: &Path, setup: &Setup, now: Boottime) -> Result<Self, SpawnError> {
        let failed = |source| SpawnError::Start { program: program.into(), source };
        let start = || {
            let (channel, theirs) = guardian::channel()?;
            let stamps = Stamps::create()?;
            stamps.set(Side::Daemon, now.as_nanos());
            let message = ToGuardian::Setup(Box::new(absolute(setup)?)).encode()?;
            // A pidfd of its own making: the guardian needs not ask who its parent is, or still is.
            let own_pidfd = pidfd::open(std::process::id())?;
            fdpass::send(channel.as_fd(), &message, &[stamps.as_fd(), own_pidfd.as_fd()])?;
            let mut child = Command::new(program)
                .env(process_tree::VARIABLE, &setup.run_dir)
                .env_remove(service::VARIABLE)
                .stdin(Stdio::from(theirs))
                .stdout(Stdio::null())
                .current_dir("/")
                .spawn()?;
            match pidfd::open(child.id()) {
                Ok(pidfd) => Ok(Self { child, pidfd, channel, stamps, warnings: Vec::new() }),
                Err(e) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    Err(e)
                }
            }
        };
        let mut this: Self = start().map_err(failed)?;
        match this.first_answer() {
            Some(FromGuardian::Ready(warnings)) => {
                this.warnings = warnings;
                Ok(this)
            }
            refused => {
                this.kill();
                Err(match refused {
                    Some(FromGuardian::Refused(why)) => SpawnError::Refused(why),
                    _ => SpawnError::NoAnswer,
                })
            }
        }
    }

    fn first_answer(&self) -> Option<FromGuardian> {
        let mut buffer = vec![0; MESSAGE_MAX];
        if !wait_readable(&self.channel, READY_LIMIT) {
            return None;
        }
        let len = guardian::receive(self.channel.as_fd(), &mut buffer).ok()?;
        FromGuardian::decode(&buffer[..len])
    }

    /// What the guardian could not prepare but can do without, for the log.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Stamps a turn of the loop: no system call. Without it for longer than [`Setup::limit`] the node goes down, so the
    /// loop must turn well within that even when it has nothing to do.
    pub fn progress(&self, now: Boottime) {
        self.stamps.set(Side::Daemon, now.as_nanos());
    }

    /// How long ago the guardian itself last made progress; it does so about every eighth of [`Setup::limit`], every
    /// second at the latest. A stopped one shows here, and nowhere else.
    #[must_use]
    pub fn silent_for(&self, now: Boottime) -> Span {
        now.since(Boottime::from_nanos(self.stamps.get(Side::Guardian)))
    }

    /// Other packets from now on. Never waits.
    ///
    /// # Errors
    /// `WouldBlock`: try again later; `BrokenPipe`: it is dead; `InvalidInput`: a packet is too long.
    pub fn update_packets(&self, packets: &Packets) -> io::Result<()> {
        guardian::send(self.channel.as_fd(), &ToGuardian::Packets(packets.clone()).encode()?)
    }

    /// Other links and peers from now on. Never waits.
    ///
    /// # Errors
    /// As [`Self::update_packets`].
    pub fn update_links(&self, links: &[Link]) -> io::Result<()> {
        guardian::send(self.channel.as_fd(), &ToGuardian::Links(links.to_vec()).encode()?)
    }

    /// Places on quorum disks from now on. Never waits.
    ///
    /// # Errors
    /// As [`Self::update_packets`].
    pub fn update_graves(&self, graves: &[Grave]) -> io::Result<()> {
        guardian::send(self.channel.as_fd(), &ToGuardian::Graves(graves.to_vec()).encode()?)
    }

    /// Tells the guardian to take the node down: it begins by killing this process. Never waits, allocates nothing.
    /// `gasp` is a packet sealed for this reason, or empty for the one in advance. Usually called through [`take_down`].
    ///
    /// # Errors
    /// It is dead, or does not read.
    pub fn take_down(&self, reason: &Reason, gasp: &[u8]) -> io::Result<()> {
        guardian::send_take_down(self.channel.as_fd(), reason, gasp)
    }

    /// Readable when the guardian is dead.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the guardian go before an orderly end and waits until it has gone. From here on nobody guards this process.
    ///
    /// # Errors
    /// It could not be told, or did not go in time: it was killed then.
    pub fn release(mut self) -> io::Result<()> {
        let told = ToGuardian::Release.encode().and_then(|m| guardian::send(self.channel.as_fd(), &m));
        let gone = told.and_then(|()| pidfd::wait_end(self.pidfd.as_fd(), RELEASE_LIMIT));
        self.kill();
        match gone {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::new(io::ErrorKind::TimedOut, "the guardian did not go")),
            Err(e) => Err(e),
        }
    }

    /// Makes sure that it is gone, and reaps it.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // gone already, perhaps
        let _ = self.child.wait();
    }
}

/// A guardian being started on a helper thread, in the place of a dead one.
#[derive(Debug)]
pub struct Respawn {
    result: mpsc::Receiver<Result<Guardian, SpawnError>>,
}

impl Respawn {
    /// Reaps the dead one and starts another. `wake` is called on the helper thread when [`Self::result`] is there.
    ///
    /// # Errors
    /// The helper thread could not be started.
    pub fn start(
        mut dead: Guardian,
        program: PathBuf,
        setup: Setup,
        now: Boottime,
        wake: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, result) = mpsc::sync_channel(1);
        std::thread::Builder::new().name("respawn".into()).stack_size(256 << 10).spawn(move || {
            dead.kill();
            let _ = sender.send(Guardian::spawn(&program, &setup, now)); // nobody waits: the loop has ended
            wake();
        })?;
        Ok(Self { result })
    }

    /// The new guardian, once it is there or has failed. Never waits.
    #[must_use]
    pub fn result(&self) -> Option<Result<Guardian, SpawnError>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => Some(Err(SpawnError::NoAnswer)),
        }
    }
}

/// Takes the node down, and this process with it. The guardian does it; where there is none, or it does not act in
/// time, this process does by its own panic path. The loop must not come back: quorum is given up by calling this.
pub fn take_down(guardian: Option<&Guardian>, own: &mut PanicPath, reason: &Reason, gasp: &[u8]) -> ! {
    if let Some(guardian) = guardian
        && guardian.take_down(reason, gasp).is_ok()
    {
        // Ends by SIGKILL from the guardian; early where the guardian dies instead.
        let _ = pidfd::wait_end(guardian.pidfd(), TAKE_DOWN_LIMIT);
    }
    own.execute(reason, gasp);
    loop {
        // Not exit(): that runs other people's handlers, which may wait for anything.
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

/// The guardian has the root directory as its own: paths must not depend on it.
fn absolute(setup: &Setup) -> io::Result<Setup> {
    let mut setup = setup.clone();
    for path in [&mut setup.black_box, &mut setup.kernel_log, &mut setup.log_file].into_iter().flatten() {
        *path = std::path::absolute(&*path)?;
    }
    setup.sysrq_trigger = std::path::absolute(&setup.sysrq_trigger)?;
    Ok(setup)
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, source } => {
                write!(f, "cannot start the guardian {}: {source}", program.display())
            }
            Self::Refused(why) => write!(f, "the guardian refused: {why}"),
            Self::NoAnswer => f.write_str("the guardian did not come on guard"),
        }
    }
}
impl std::error::Error for SpawnError {}
