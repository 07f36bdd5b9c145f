//! A timer as a descriptor: wakes a poller to the microsecond, where its own time-out counts milliseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// One timer on `CLOCK_BOOTTIME`. Readable when it has gone off; in an edge-triggered poller it need not be read.
#[derive(Debug)]
pub struct Alarm(TimerFd);

impl Alarm {
    /// Not set.
    ///
    /// # Errors
    /// Those of `timerfd_create`.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self(TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?))
    }

    /// Goes off once, at `at` on [`crate::clock::boottime_nanos`]; at once if that is past. Replaces what was set before.
    ///
    /// # Errors
    /// Those of `timerfd_settime`, which has none for a time that is not zero.
    pub fn set(&self, at: u64) -> io::Result<()> {
        // Zero would stop the timer.
        let at = TimeSpec::from_duration(Duration::from_nanos(at.max(1)));
        Ok(self.0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::clock::boottime_nanos;

    #[test]
    fn it_goes_off_at_its_time_and_not_before() {
        let alarm = Alarm::new().expect("timers are there");
        let at = boottime_nanos() + 2_000_000;
        alarm.set(at).expect("sets");
        let mut fds = [PollFd::new(alarm.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1));
        assert!(boottime_nanos() >= at);
        alarm.set(1).expect("the past");
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1), "at once");
    }
}
