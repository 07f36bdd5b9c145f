//! The demo's time: since the last event that somebody caused, with an end to every wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{SigSet, Signal};

/// Set by the first Ctrl-C, hang-up or termination.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The demo was told to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Turns the signals that end a program into a flag that every wait looks at.
pub(crate) fn watch_signals() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    // Before any other thread is there. Programs started later get an empty mask from the standard library.
    signals.thread_block()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

/// Counts from an event.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    zero: Instant,
}

impl Clock {
    /// Now is zero.
    pub(crate) fn start() -> Self {
        Self { zero: Instant::now() }
    }

    /// Milliseconds since zero.
    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until `check` gives something.
    ///
    /// # Errors
    /// [`Interrupted`], an error of `check`, or that it took too long.
    pub(crate) fn wait<T>(&self, what: &str, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if INTERRUPTED.load(Ordering::Relaxed) {
                bail!(Interrupted);
            }
            if let Some(found) = check()? {
                return Ok(found);
            }
            if start.elapsed() > PATIENCE {
                bail!("gave up after {} s: {what}", PATIENCE.as_secs());
            }
            std::thread::sleep(STEP);
        }
    }
}

/// Far more than any step takes, even on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// The precision of the times on the screen.
const STEP: Duration = Duration::from_millis(4);
