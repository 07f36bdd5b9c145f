//! Ordered messages, counted as corosync counts those of its services: by service and number of the handler.

use super::messages::Message;

/// Messages that one handler of corosync would have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandlerCount {
    /// `SERVICE.NUMBER`, as in corosync's `runtime.services.SERVICE.NUMBER.rx`.
    pub name: &'static str,
    /// Delivered here.
    pub rx: u64,
    /// Those among them that this node has sent.
    pub tx: u64,
}

/// One counter for each handler.
#[derive(Debug, Default)]
pub(crate) struct Counts([(u64, u64); NAMES.len()]);

impl Counts {
    /// A message is delivered; `own`: this node has sent it.
    pub(crate) fn note(&mut self, message: &Message<'_>, own: bool) {
        for handler in handlers(message) {
            let (rx, tx) = &mut self.0[*handler];
            *rx += 1;
            *tx += u64::from(own);
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = HandlerCount> {
        NAMES.iter().zip(self.0).map(|(name, (rx, tx))| HandlerCount { name, rx, tx })
    }
}

/// What corosync would have sent instead. A state is what several of its services tell each other; what corosync has no message
/// for is not counted.
fn handlers(message: &Message<'_>) -> &'static [usize] {
    match message {
        Message::State(state) if state.joined.is_empty() => &[CMAP, CPG + 5, VOTEQUORUM],
        Message::State(_) => &[CMAP, CPG + 2, CPG + 5, VOTEQUORUM],
        Message::Join { .. } => &[CPG],
        Message::Leave { .. } => &[CPG + 1],
        Message::Mcast { fragment: None, .. } => &[CPG + 3],
        Message::Mcast { .. } => &[CPG + 6],
        Message::SetExpected { .. } | Message::SetVotes { .. } | Message::CancelWaitForAll { .. } => {
            &[VOTEQUORUM + 1]
        }
        Message::KillNode { .. } => &[CFG + 1],
        Message::Reload => &[CFG + 3],
        Message::StepDone { .. }
        | Message::StepAgain { .. }
        | Message::ConfirmDeath { .. }
        | Message::VotesReady { .. }
        | Message::Reread { .. }
        | Message::Table { .. }
        | Message::Absent { .. }
        | Message::Maintain { .. }
        | Message::Testimony(_) => &[],
    }
}

/// corosync's handlers: CFG ring re-enable, kill, shutdown, reload, change of keys; CMAP state; CPG join, leave, list of joined, multicast,
/// two lists of the lost, fragment; VOTEQUORUM state, change, quorum device twice.
const NAMES: [&str; 17] = [
    "cfg.0",
    "cfg.1",
    "cfg.2",
    "cfg.3",
    "cfg.4",
    "cmap.0",
    "cpg.0",
    "cpg.1",
    "cpg.2",
    "cpg.3",
    "cpg.4",
    "cpg.5",
    "cpg.6",
    "votequorum.0",
    "votequorum.1",
    "votequorum.2",
    "votequorum.3",
];
const CFG: usize = 0;
const CMAP: usize = 5;
const CPG: usize = 6;
const VOTEQUORUM: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::messages::State;

    #[test]
    fn messages_are_counted_where_corosync_counts_them() {
        let mut counts = Counts::default();
        let state = |joined| Message::State(State { joined, ..State::default() });
        counts.note(&state(Vec::new()), false);
        counts.note(&state(vec![(vec![7], 1)]), true);
        counts.note(&Message::Join { pid: 1, group: b"g" }, true);
        counts.note(&Message::Mcast { pid: 1, group: b"g", fragment: None, payload: b"" }, false);
        counts.note(&Message::Reload, false);
        let found: Vec<_> = counts.all().filter(|c| c.rx > 0).map(|c| (c.name, c.rx, c.tx)).collect();
        assert_eq!(
            found,
            [
                ("cfg.3", 1, 0),
                ("cmap.0", 2, 1),
                ("cpg.0", 1, 1),
                ("cpg.2", 1, 1),
                ("cpg.3", 1, 0),
                ("cpg.5", 2, 1),
                ("votequorum.0", 2, 1)
            ]
        );
    }
}
