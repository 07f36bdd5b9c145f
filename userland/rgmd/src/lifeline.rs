//! This process as a failfast unit: while it is armed, the node goes down when it dies or stops beating.

use std::path::Path;
use std::time::Duration;

use failfast::client::{Client, ClientError};
use failfast::core::{ArmRequest, UnitName};
use holdfast_types::{Boottime, Span};

/// The unit `rgmd`.
pub(crate) struct Lifeline {
    client: Option<Client>,
    name: UnitName,
    next_beat: Boottime,
}

impl Lifeline {
    /// Arms the unit. Without a registry (a real corosync) there is nothing to arm; that is said once.
    /// `delay`: from our death to the end of the node.
    pub(crate) fn arm(run_dir: &Path, delay: Span, now: Boottime) -> Self {
        let Ok(name) = UnitName::new("rgmd") else { unreachable!("a plain name") };
        let arm = || -> Result<Client, ClientError> {
            let mut client = Client::connect(run_dir, Duration::from_secs(5))?;
            client.arm(&ArmRequest { name, delay, heartbeat: HEARTBEAT, mode: None, restarts: None })?;
            Ok(client)
        };
        let client = arm()
            .inspect_err(|e| {
                tracing::warn!(
                    "Not protected by failfast: {e}; should rgmd die, its resources go on unwatched"
                )
            })
            .ok();
        if client.is_some() {
            tracing::info!("Failfast armed: should rgmd die or hang, this node goes down");
        }
        Self { client, name, next_beat: now + BEAT }
    }

    /// When the next beat is due.
    pub(crate) fn next_beat(&self) -> Option<Boottime> {
        self.client.as_ref().map(|_| self.next_beat)
    }

    /// Beats if it is time. Called by the loop that must make progress.
    pub(crate) fn beat(&mut self, now: Boottime) {
        if let Some(client) = &self.client
            && now >= self.next_beat
        {
            // A registry that does not read right now gets the next one.
            let _ = client.beat(&self.name);
            self.next_beat = now + BEAT;
        }
    }

    /// Before an orderly end: the node may go on without us.
    pub(crate) fn disarm(&mut self) {
        if let Some(mut client) = self.client.take()
            && let Err(e) = client.disarm(&self.name)
        {
            tracing::warn!("Failfast was not disarmed: {e}");
        }
    }
}

/// From our death to the takedown: long enough for nothing but a look at it. Resources without a manager must not run.
pub(crate) const DELAY: Span = Span::from_secs(1);
/// A loop that is stuck for this long is dead.
const HEARTBEAT: Span = Span::from_secs(20);
const BEAT: Span = Span::from_secs(5);
