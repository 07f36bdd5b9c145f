//! What a black box says, sorted by lives: those of this node, and those of its peers as this node saw them.

use failfast::black_box::{Class, PeerNews, Record};
use holdfast_types::{BootId, Incarnation, NodeId};

/// A life of this node, from one start of `cmmd` to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// How it began; `None`: that is not in the box (any more).
    pub(super) start: Option<Record>,
    /// How it ended, if in order.
    pub(super) end: Option<Record>,
    /// Reasons to go down and what came of them, in order.
    pub(super) deaths: Vec<Record>,
    /// What its log told, in order.
    pub(super) events: Vec<Record>,
    /// What peers told of its end when this node was back, in order; `node` is who.
    pub(super) told: Vec<Record>,
    /// When anything of it was last written: microseconds since 1970.
    pub(super) last_sign: i64,
    /// The machine's boot.
    pub(super) boot: BootId,
    /// The start of the life after it.
    pub(super) next: Option<Record>,
}

/// A peer, from when it became a member until it was one no more, as this node saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Episode {
    /// Which life; 0: not known.
    pub(super) life: Incarnation,
    /// How it began; `None`: not seen, or not in the box any more.
    pub(super) joined: Option<Record>,
    /// What was learned of its end, in order.
    pub(super) news: Vec<Record>,
    /// The same node became a member again after it.
    pub(super) back: Option<Record>,
}

impl Life {
    fn begun_by(start: Record) -> Self {
        Self { boot: start.boot, last_sign: start.wall.0, start: Some(start), ..Self::default() }
    }

    fn began_at_or_before(&self, record: &Record) -> bool {
        self.start.is_some_and(|s| s.boot == record.boot && s.boottime <= record.boottime)
    }
}

/// Lives of this node, oldest first.
pub(super) fn lives(records: &[Record]) -> Vec<Life> {
    let of = |class| records.iter().filter(move |r| r.class == class);
    let mut lives: Vec<Life> = of(Class::Start).map(|start| Life::begun_by(*start)).collect();
    for n in 1..lives.len() {
        lives[n - 1].next = lives[n].start;
    }
    for record in records {
        let by_life =
            |lives: &[Life]| lives.iter().rposition(|l| l.start.is_some_and(|s| s.life == record.life));
        let (class, life) = (record.class, record.life);
        if class == Class::Testimony {
            if let Some(at) = by_life(&lives) {
                lives[at].told.push(*record);
            }
            continue;
        }
        let found = match class {
            Class::Start | Class::Peer | Class::Testimony => continue,
            // The guardian knows no lives, only when.
            Class::Death | Class::Outcome => lives.iter().rposition(|l| l.began_at_or_before(record)),
            _ => by_life(&lives),
        };
        let at = match found {
            Some(at) => at,
            // A life whose beginning was pushed out, or never written.
            None if matches!(class, Class::Death | Class::Outcome) => {
                if lives.first().is_none_or(|l| l.start.is_some() || l.boot != record.boot) {
                    let next = lives.first().and_then(|l| l.start);
                    lives.insert(0, Life { boot: record.boot, next, ..Life::default() });
                }
                0
            }
            None => continue,
        };
        let of = &mut lives[at];
        of.last_sign = of.last_sign.max(record.wall.0);
        match class {
            Class::Death | Class::Outcome => of.deaths.push(*record),
            Class::End if life == record.life => of.end = Some(*record),
            Class::Event => of.events.push(*record),
            _ => {}
        }
    }
    lives
}

/// What this node saw of a peer, oldest first.
pub(super) fn episodes(records: &[Record], node: NodeId) -> Vec<Episode> {
    let mut episodes: Vec<Episode> = Vec::new();
    for record in records.iter().filter(|r| r.class == Class::Peer && r.node == node) {
        match PeerNews::from_code(record.detail) {
            None => {}
            Some(PeerNews::Joined) => {
                if let Some(last) = episodes.last_mut() {
                    last.back = Some(*record);
                }
                episodes.push(Episode { life: record.life, joined: Some(*record), ..Episode::default() });
            }
            Some(_) => {
                let unknown = Incarnation::default();
                let of = episodes
                    .iter()
                    .rposition(|e| e.life == record.life || record.life == unknown || e.life == unknown);
                let at = of.unwrap_or_else(|| {
                    episodes.push(Episode { life: record.life, ..Episode::default() });
                    episodes.len() - 1
                });
                episodes[at].news.push(*record);
            }
        }
    }
    episodes
}

/// Nodes that the box tells of, this one not among them.
pub(super) fn peers(records: &[Record]) -> Vec<NodeId> {
    let mut peers: Vec<NodeId> = records.iter().filter(|r| r.class == Class::Peer).map(|r| r.node).collect();
    peers.sort_unstable();
    peers.dedup();
    peers
}
