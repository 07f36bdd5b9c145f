//! Units that the configuration names by their pid file: a helper thread reads the files, the loop arms what it finds.
//!
//! A unit may start after `cmmd`, and a unit that was restarted within its delay is armed again: so the files are read
//! over and over, and every new pid is handed on once.

use std::fs;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cmm_conf::Unit;
use crossbeam_queue::ArrayQueue;

/// The loop's end of the thread.
pub(crate) struct UnitFiles {
    units: Vec<Unit>,
    found: Arc<ArrayQueue<(usize, u32)>>,
}

const INTERVAL: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 128 * 1_024;

impl UnitFiles {
    /// Starts the thread if there is anything to read.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn watch(units: Vec<Unit>, waker: Arc<mio::Waker>) -> io::Result<Self> {
        let found = Arc::new(ArrayQueue::new(units.len().max(1) * 4));
        if !units.is_empty() {
            let (files, found) = (units.clone(), Arc::clone(&found));
            let builder = thread::Builder::new().name("units".into()).stack_size(STACK_BYTES);
            builder.spawn(move || run(&files, &found, &waker))?;
        }
        Ok(Self { units, found })
    }

    /// The next unit with a process that was not seen before.
    pub(crate) fn next(&self) -> Option<(&Unit, u32)> {
        self.found.pop().map(|(index, pid)| (&self.units[index], pid))
    }
}

fn run(units: &[Unit], found: &ArrayQueue<(usize, u32)>, waker: &mio::Waker) {
    let mut seen = vec![None; units.len()];
    loop {
        for ((index, unit), seen) in units.iter().enumerate().zip(&mut seen) {
            let pid = fs::read_to_string(&unit.pidfile).ok().and_then(|text| text.trim().parse::<u32>().ok());
            // A file that is being written, or is gone, is no news: the death of a unit comes from the kernel.
            if pid.is_some() && pid != *seen && pid.is_some_and(|pid| found.push((index, pid)).is_ok()) {
                *seen = pid;
                // The poller lives as long as the process.
                let _ = waker.wake();
            }
        }
        thread::sleep(INTERVAL);
    }
}
