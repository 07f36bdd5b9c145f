//! What the black box is told: by the log thread, each event before its line goes to the log, so that whatever an operator has read
//! is there after kill -9, too.
//!
//! A thread of its own does the writing, and is waited for, but not for long: a disk that hangs takes the black box away and not the
//! log as well. Beginnings, ends, news of peers, and what is a warning or worse are then brought to the disk itself; the
//! rest is in the kernel's hands. A node to which nothing happens writes one block a minute, for an end without a word.
//!
//! A peer that is back with a new life is told what was recorded here of its last one: it may have ended without a word, and may be
//! asked for the reason when nobody else is there any more. What peers tell this node of its own lives is kept beside what it learns of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use cmm_conf::Priority;
use cmm_proto::Event;
use cmm_scsi::fence::Event as DataDisk;
use crossbeam_queue::ArrayQueue;
use failfast::black_box::{self, BlackBox, Class, PeerNews, Record};
use failfast_core::Text;
use holdfast_sys::clock;
use holdfast_types::{Boottime, Incarnation, NodeId, Span, WallTime};

use crate::events::{DaemonEvent, Happening, Line};

/// The log thread's end.
pub(crate) struct Recorder {
    pen: SyncSender<Batch>,
    /// One for each batch.
    answers: Receiver<io::Result<()>>,
    unanswered: usize,
    /// The last wait was in vain, and so many records were lost since.
    hangs: Option<usize>,
    /// What is to be written.
    batch: Batch,
    me: NodeId,
    life: Incarnation,
    /// Lives of the members, as they are told with the membership.
    lives: BTreeMap<NodeId, Incarnation>,
    /// Who is a member.
    members: BTreeSet<NodeId>,
    /// What was learned of each peer since it became a member last, or of earlier lives while it was none.
    ends: BTreeMap<NodeId, Vec<Record>>,
    /// Where they go when it is back; `None`: not told.
    testimonies: Option<Arc<Testimonies>>,
    /// What peers have told of this node: who, of which life, what and when.
    told: BTreeSet<(NodeId, Incarnation, u8, i64)>,
    /// How many of them in this life.
    told_now: usize,
    /// Why the daemon leaves, if it does.
    leaving: &'static str,
    /// When the box was last given something.
    written: Instant,
    /// It cannot be written, and that was told.
    fails: bool,
    /// To be told.
    trouble: Option<String>,
}

/// What is written in one go.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    /// Something in it must not be lost with the machine's power.
    sync: bool,
    /// It is answered when it is on the disk: nothing comes after it.
    last: bool,
}

/// What a peer is to be told of the end of an earlier life of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Testimony {
    pub(crate) node: NodeId,
    pub(crate) life: Incarnation,
    /// [`PeerNews::code`].
    pub(crate) news: u8,
    pub(crate) at: WallTime,
    pub(crate) text: Text,
}

/// From the log thread to the loop; what does not fit is not told.
pub(crate) type Testimonies = ArrayQueue<Testimony>;
pub(crate) const TESTIMONIES_MAX: usize = 64;
/// What is kept of a peer to be told: the first of it, and the last.
const TOLD_OF_EACH: usize = 8;
/// What is kept of what peers tell, in one life: a box has room for eight times that.
const TOLD_MAX: usize = 32;

/// How old the last sign of life of an idle node may become.
const SIGN_EACH: Duration = Duration::from_mins(1);
/// A happening that waited for longer than this in the queue is given the time of its writing: the wall clock was set.
const QUEUED_MAX: u64 = 60_000_000_000;

/// The log waits for the box no longer than that; after it, not at all until it has caught up.
const PATIENCE: Duration = Duration::from_millis(500);
/// Batches that wait for a disk that hangs.
const WAITING_MAX: usize = 64;
const STACK_BYTES: usize = 64 * 1_024;

impl Recorder {
    /// Opens the box of this life and starts the thread that writes it.
    ///
    /// # Errors
    /// What opening it says, or when the system refuses the thread.
    pub(crate) fn open(path: &Path, me: NodeId, life: Incarnation) -> io::Result<Self> {
        let mut black_box = BlackBox::open(path)?;
        let before = black_box::read(path)?;
        let write = move |batch: &Batch| batch.records.iter().try_for_each(|record| black_box.write(record));
        let sync = BlackBox::open(path)?;
        let mut recorder = Self::start(write, move || sync.sync(), me, life)?;
        // What an earlier life of this daemon has learned is told, too.
        for record in &before {
            match record.class {
                Class::Peer => recorder.learned(record),
                Class::Testimony => {
                    recorder.told.insert((record.node, record.life, record.detail, record.wall.0));
                }
                _ => {}
            }
        }
        // Who is a member now, and with which life, is told anew.
        recorder.members.clear();
        recorder.lives.clear();
        Ok(recorder)
    }

    /// Where what peers are to be told goes from now on.
    pub(crate) fn tell_peers(&mut self, testimonies: Arc<Testimonies>) {
        self.testimonies = Some(testimonies);
    }

    fn start(
        mut write: impl FnMut(&Batch) -> io::Result<()> + Send + 'static,
        mut sync: impl FnMut() -> io::Result<()> + Send + 'static,
        me: NodeId,
        life: Incarnation,
    ) -> io::Result<Self> {
        let (pen, batches) = sync_channel::<Batch>(WAITING_MAX);
        let (answer, answers) = channel();
        let run = move || {
            for batch in batches {
                let mut written = write(&batch);
                // What was written is safe from kill -9: the log need not wait for the disk.
                if !batch.last && answer.send(std::mem::replace(&mut written, Ok(()))).is_err() {
                    return;
                }
                if batch.sync {
                    written = written.and(sync());
                }
                if batch.last && answer.send(written).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("blackbox".into()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self {
            pen,
            answers,
            unanswered: 0,
            hangs: None,
            batch: Batch::default(),
            me,
            life,
            lives: BTreeMap::new(),
            members: BTreeSet::new(),
            ends: BTreeMap::new(),
            testimonies: None,
            told: BTreeSet::new(),
            told_now: 0,
            leaving: "",
            written: Instant::now(),
            fails: false,
            trouble: None,
        })
    }

    /// Takes down what happened at this time of the wall clock, in nanoseconds, and what the log says of it.
    pub(crate) fn note(&mut self, wall: u64, happening: &Happening, lines: &[Line]) {
        let own = (self.me, self.life);
        for line in lines.iter().filter(|line| is_kept(line)) {
            self.batch.sync |= line.priority <= Priority::Warning;
            self.put(wall, Class::Event, line.priority as u8, own, Text::from(line.text.as_str()));
        }
        match happening {
            Happening::Daemon(DaemonEvent::Started { .. }) => {
                let text = lines.first().map_or(Text::new(), |line| Text::from(line.text.as_str()));
                self.put_safe(wall, Class::Start, 0, own, text);
            }
            Happening::Daemon(DaemonEvent::Leaving { why }) => self.leaving = why,
            Happening::Daemon(DaemonEvent::Stopped) => {
                let mut text = Text::from("left the cluster in order");
                if !self.leaving.is_empty() {
                    let _ = write!(text, ": shut down by {}", self.leaving); // a Text takes everything
                }
                self.put_safe(wall, Class::End, 0, own, text);
                self.batch.last = true;
            }
            Happening::Daemon(DaemonEvent::NodeList { members, joined, left, lives }) => {
                let members = members.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
                for (nodes, news, word) in
                    [(left, PeerNews::Lost, "no member any more"), (joined, PeerNews::Joined, "a member")]
                {
                    // One that is in both lists has left with its last life.
                    if news == PeerNews::Joined {
                        self.lives.extend(lives.iter().copied());
                    }
                    for node in nodes.iter().filter(|node| **node != own.0) {
                        let text = Text::from(format!("Node {node} is {word}; members: {members}").as_str());
                        self.peer(wall, news, *node, None, text);
                    }
                }
            }
            Happening::Core(Event::Testimony { by, life, news, at, text }) => {
                self.hear(*by, *life, *news, *at, text);
            }
            _ => {
                if let (Some((news, node, life)), Some(line)) = (peer_news(happening), lines.first()) {
                    self.peer(wall, news, node, life, Text::from(line.text.as_str()));
                }
            }
        }
    }

    /// Has what was taken down written. When this returns it is safe from kill -9, unless the disk hangs.
    pub(crate) fn settle(&mut self) {
        if !self.batch.records.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            let count = batch.records.len();
            match self.pen.try_send(batch) {
                Ok(()) => self.unanswered += 1,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    *self.hangs.get_or_insert_default() += count;
                }
            }
        }
        let until = Instant::now() + if self.hangs.is_some() { Duration::ZERO } else { PATIENCE };
        while self.unanswered > 0 {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(result) => {
                    self.unanswered -= 1;
                    self.judge(result);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.hangs.is_none() {
                        self.hangs = Some(0);
                        self.trouble = Some(
                            "The black box takes no writes: the disk with the state directory hangs; the log goes on without it".into(),
                        );
                    }
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if let Some(lost) = self.hangs.take() {
            self.trouble = Some(format!("The black box takes writes again; {lost} records were lost."));
        }
    }

    /// When nothing happens: a sign of life if there was nothing for long.
    pub(crate) fn rest(&mut self) {
        if self.written.elapsed() >= SIGN_EACH {
            self.put_safe(clock::wall_nanos(), Class::Sign, 0, (self.me, self.life), Text::new());
        }
        self.settle();
    }

    /// What the log is to be told of the box.
    pub(crate) fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    fn peer(&mut self, wall: u64, news: PeerNews, node: NodeId, life: Option<Incarnation>, text: Text) {
        let life = life.or_else(|| self.lives.get(&node).copied()).unwrap_or_default();
        self.put_safe(wall, Class::Peer, news.code(), (node, life), text);
        if let Some(record) = self.batch.records.last().copied() {
            self.learned(&record);
        }
    }

    /// News of a peer, for itself: at once if it is back already, else when it is.
    fn learned(&mut self, record: &Record) {
        let Record { node, life, .. } = *record;
        match PeerNews::from_code(record.detail) {
            None => {}
            Some(PeerNews::Joined) => {
                self.lives.insert(node, life);
                self.members.insert(node);
                // Of a life that goes on it was another one's mistake, or a partition.
                let ended = self.ends.remove(&node).unwrap_or_default();
                ended.iter().filter(|end| end.life < life).for_each(|end| self.tell(end));
            }
            Some(_)
                if self.members.contains(&node) && self.lives.get(&node).is_some_and(|now| life < *now) =>
            {
                self.tell(record);
            }
            Some(news) => {
                if news == PeerNews::Lost {
                    self.members.remove(&node);
                }
                let ends = self.ends.entry(node).or_default();
                ends.truncate(TOLD_OF_EACH - 1);
                ends.push(*record);
            }
        }
    }

    /// Hands over what a peer is to be told.
    fn tell(&self, record: &Record) {
        let Record { node, life, detail: news, wall: at, text, .. } = *record;
        if let Some(testimonies) = self.testimonies.as_ref().filter(|_| life > Incarnation::default()) {
            let _ = testimonies.push(Testimony { node, life, news, at, text }); // full: it is in the box here
        }
    }

    /// What a peer tells of an earlier life of this node. It may have told so before: it was started anew since, or the ring was formed anew.
    fn hear(&mut self, by: NodeId, life: Incarnation, news: u8, at: WallTime, text: &str) {
        if self.told_now < TOLD_MAX
            && PeerNews::from_code(news).is_some()
            && self.told.insert((by, life, news, at.0))
        {
            self.told_now += 1;
            self.put_safe(clock::wall_nanos(), Class::Testimony, news, (by, life), Text::from(text));
            if let Some(record) = self.batch.records.last_mut() {
                record.wall = at;
            }
        }
    }

    fn put_safe(&mut self, wall: u64, class: Class, detail: u8, about: (NodeId, Incarnation), text: Text) {
        self.put(wall, class, detail, about, text);
        self.batch.sync = true;
    }

    fn put(&mut self, wall: u64, class: Class, detail: u8, (node, life): (NodeId, Incarnation), text: Text) {
        let mut record = Record { node, life, ..Record::now(class, detail, text) };
        if let Some(waited) = clock::wall_nanos().checked_sub(wall).filter(|waited| *waited <= QUEUED_MAX) {
            record.boottime = Boottime::from_nanos(record.boottime.as_nanos().saturating_sub(waited));
            record.wall = WallTime((wall / 1_000).cast_signed());
        }
        self.batch.records.push(record);
        self.written = Instant::now();
    }

    /// Said once, then again only after it worked in between.
    fn judge(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.fails = false,
            Err(e) if !self.fails => {
                self.fails = true;
                self.trouble = Some(format!(
                    "The black box cannot be written: {e}; if this node goes down now, the reason may be lost here. Look at the disk with the state directory"
                ));
            }
            Err(_) => {}
        }
    }
}

/// Whether a line of the log is kept: all but what only a developer reads, and what strangers and floods can make many of.
fn is_kept(line: &Line) -> bool {
    const DETAILS: [&str; 5] =
        ["enter_gather", "enter_commit", "enter_recovery", "enter_operational", "step"];
    const FLOODS: [&str; 5] = ["retransmit", "packets_rejected", "packets_unlisted", "send_failed", "client"];
    // With a record of its own.
    if line.name == "testimony" {
        return false;
    }
    if line.priority == Priority::Debug { DETAILS.contains(&line.name) } else { !FLOODS.contains(&line.name) }
}

/// What a happening tells of a peer's end; with its life where the happening has it.
fn peer_news(happening: &Happening) -> Option<(PeerNews, NodeId, Option<Incarnation>)> {
    Some(match happening {
        Happening::Core(Event::Suspect { node, why, silent }) => {
            let news = match *why {
                // Told by themselves, with more.
                "gasp" | "death confirmed" => return None,
                "leave" => PeerNews::Leave,
                "heartbeat" => PeerNews::Silence,
                _ if *silent > Span::ZERO => PeerNews::Silence,
                _ => PeerNews::Gone,
            };
            (news, *node, None)
        }
        Happening::Core(Event::Gasp { node, incarnation, last_word, .. }) => {
            (if *last_word { PeerNews::LastWord } else { PeerNews::Gasp }, *node, Some(*incarnation))
        }
        Happening::Core(Event::Reservation(cmm_scsi::Event::Preempted { slot }))
        | Happening::Daemon(DaemonEvent::DataDisk { event: DataDisk::Preempted { slot }, .. }) => {
            (PeerNews::Removed, NodeId::new(u32::from(*slot)), None)
        }
        Happening::Daemon(DaemonEvent::Confirmed { node, incarnation, .. }) => {
            (PeerNews::Confirmed, *node, Some(*incarnation))
        }
        Happening::Daemon(DaemonEvent::Tombstone { node, life, .. }) => {
            (PeerNews::Tombstone, *node, Some(*life))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use failfast::black_box;

    use super::*;
    use crate::events;

    struct Bench {
        path: std::path::PathBuf,
        recorder: Recorder,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cmmd-recorder-{}-{name}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let recorder = Recorder::open(&path, NodeId::new(1), Incarnation::new(7)).unwrap();
            Self { path, recorder }
        }

        fn note(&mut self, happening: &Happening) {
            let mut lines = Vec::new();
            events::lines(happening, &mut lines);
            self.recorder.note(clock::wall_nanos(), happening, &lines);
            self.recorder.settle();
        }

        fn daemon(&mut self, event: DaemonEvent) {
            self.note(&Happening::Daemon(event));
        }

        fn core(&mut self, event: Event) {
            self.note(&Happening::Core(event));
        }

        /// Those of a class: what is in the detail, about whom, which life, what it says.
        fn of(&self, class: Class) -> Vec<(u8, u32, u64, String)> {
            let all = black_box::read(&self.path).unwrap();
            let of = all.iter().filter(|r| r.class == class);
            of.map(|r| (r.detail, r.node.get(), r.life.get(), r.text.to_string())).collect()
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[test]
    fn beginning_and_end_of_a_life_are_kept() {
        let mut bench = Bench::new("life");
        bench.daemon(DaemonEvent::Started {
            node: NodeId::new(1),
            name: "n1".into(),
            cluster: "shop".into(),
            life: Incarnation::new(7),
            mode: "exit",
        });
        bench.daemon(DaemonEvent::Leaving { why: "SIGTERM" });
        bench.daemon(DaemonEvent::Stopped);
        let start = &bench.of(Class::Start)[0];
        assert_eq!((start.1, start.2), (1, 7));
        assert!(
            start.3.contains("(n1) of cluster \"shop\"") && start.3.contains("failfast mode exit"),
            "{start:?}"
        );
        assert_eq!(
            bench.of(Class::End),
            [(0, 1, 7, "left the cluster in order: shut down by SIGTERM".into())]
        );
        assert_eq!(bench.of(Class::Event).len(), 3);
    }

    #[test]
    fn what_is_learned_of_a_peer_is_kept_with_the_life_that_it_is_about() {
        let mut bench = Bench::new("peer");
        let id = NodeId::new;
        bench.daemon(DaemonEvent::NodeList {
            members: vec![id(1), id(2)],
            joined: vec![id(1), id(2)],
            left: vec![],
            lives: vec![(id(2), Incarnation::new(17))],
        });
        bench.core(Event::Suspect { node: id(2), why: "heartbeat", silent: Span::from_millis(512) });
        bench.daemon(DaemonEvent::NodeList {
            members: vec![id(1)],
            joined: vec![],
            left: vec![id(2)],
            lives: vec![],
        });
        bench.core(Event::Gasp {
            node: id(2),
            incarnation: Incarnation::new(18),
            last_word: false,
            why: "so".into(),
        });
        bench.core(Event::Suspect { node: id(2), why: "gasp", silent: Span::ZERO });
        bench.daemon(DaemonEvent::Confirmed {
            node: id(2),
            incarnation: Incarnation::new(18),
            why: "fenced by n1".into(),
        });
        let got = bench.of(Class::Peer);
        let heads: Vec<_> = got
            .iter()
            .map(|(news, node, life, _)| (PeerNews::from_code(*news).unwrap(), *node, *life))
            .collect();
        assert_eq!(
            heads,
            [
                (PeerNews::Joined, 2, 17),
                (PeerNews::Silence, 2, 17),
                (PeerNews::Lost, 2, 17),
                (PeerNews::Gasp, 2, 18),
                (PeerNews::Confirmed, 2, 18)
            ],
            "{got:?}"
        );
        assert!(got[1].3.contains("no heartbeat for 512 ms"), "{got:?}");
        assert_eq!(got[2].3, "Node 2 is no member any more; members: 1");
        assert!(got[4].3.ends_with("fenced by n1"), "{got:?}");
    }

    impl Bench {
        fn list(&mut self, left: &[u32], joined: &[(u32, u64)]) {
            let ids = |ids: &[u32]| ids.iter().map(|id| NodeId::new(*id)).collect::<Vec<_>>();
            self.daemon(DaemonEvent::NodeList {
                members: ids(&[1]),
                joined: joined.iter().map(|(id, _)| NodeId::new(*id)).collect(),
                left: ids(left),
                lives: joined.iter().map(|(id, life)| (NodeId::new(*id), Incarnation::new(*life))).collect(),
            });
        }

        fn again(mut self) -> Self {
            self.recorder = Recorder::open(&self.path, NodeId::new(1), Incarnation::new(8)).unwrap();
            self
        }

        /// What is handed over: to whom, of which life, what, in words.
        fn told(&mut self) -> Vec<(u32, u64, PeerNews, String)> {
            let queue = Arc::clone(self.recorder.testimonies.as_ref().unwrap());
            let told = std::iter::from_fn(|| queue.pop());
            let of = |t: Testimony| {
                (t.node.get(), t.life.get(), PeerNews::from_code(t.news).unwrap(), t.text.to_string())
            };
            told.map(of).collect()
        }

        fn telling(mut self) -> Self {
            self.recorder.tell_peers(Arc::new(ArrayQueue::new(TESTIMONIES_MAX)));
            self
        }
    }

    fn confirmed(node: u32, life: u64, why: &str) -> DaemonEvent {
        DaemonEvent::Confirmed {
            node: NodeId::new(node),
            incarnation: Incarnation::new(life),
            why: why.into(),
        }
    }

    #[test]
    fn a_peer_that_is_back_is_told_of_its_last_life_once_and_one_that_was_only_cut_off_is_not() {
        let mut bench = Bench::new("tell").telling();
        let silent =
            || Event::Suspect { node: NodeId::new(2), why: "heartbeat", silent: Span::from_millis(512) };
        bench.list(&[], &[(2, 17), (3, 5)]);
        // A partition.
        bench.core(silent());
        bench.list(&[2], &[]);
        bench.list(&[], &[(2, 17)]);
        assert_eq!(bench.told(), []);
        bench.core(silent());
        bench.list(&[2], &[]);
        bench.daemon(confirmed(2, 17, "n1 fenced it"));
        assert_eq!(bench.told(), [], "there is nobody to tell it to");
        bench.list(&[], &[(2, 18)]);
        let told = bench.told();
        let news: Vec<_> = told.iter().map(|(node, life, news, _)| (*node, *life, *news)).collect();
        assert_eq!(
            news,
            [(2, 17, PeerNews::Silence), (2, 17, PeerNews::Lost), (2, 17, PeerNews::Confirmed)],
            "{told:?}"
        );
        assert_eq!(told[2].3, "Death of node 2 is confirmed: n1 fenced it");
        // Another ring with the same lives.
        bench.list(&[2], &[]);
        bench.list(&[], &[(2, 18)]);
        assert_eq!(bench.told(), []);
        bench.daemon(confirmed(2, 17, "an operator says so"));
        assert_eq!(bench.told().len(), 1, "what is learned later is told later");
        // One that was back before it was missed.
        bench.list(&[3], &[(3, 6)]);
        assert_eq!(
            bench.told(),
            [(3, 5, PeerNews::Lost, "Node 3 is no member any more; members: 1".to_owned())]
        );
    }

    #[test]
    fn what_an_earlier_life_of_this_daemon_learned_is_told_by_the_next() {
        let mut bench = Bench::new("tell-later").telling();
        bench.list(&[], &[(2, 17), (3, 5)]);
        bench.list(&[2], &[]);
        bench.daemon(confirmed(2, 17, "n1 fenced it"));
        let mut bench = bench.again().telling();
        bench.list(&[], &[(3, 5)]);
        assert_eq!(bench.told(), []);
        bench.list(&[], &[(2, 18)]);
        assert_eq!(bench.told().len(), 2);
        let mut bench = bench.again().telling();
        bench.list(&[], &[(2, 18), (3, 5)]);
        assert_eq!(bench.told(), [], "it was told");
    }

    #[test]
    fn a_peer_of_which_there_is_much_news_is_told_the_first_and_the_last() {
        let mut bench = Bench::new("tell-much").telling();
        bench.list(&[], &[(2, 17)]);
        bench.list(&[2], &[]);
        for n in 0..100 {
            bench.daemon(confirmed(2, 17, &n.to_string()));
        }
        bench.list(&[], &[(2, 18)]);
        let told: Vec<String> = bench.told().into_iter().map(|(.., text)| text).collect();
        assert_eq!(told.len(), TOLD_OF_EACH);
        assert!(
            told[0].contains("no member") && told[1].ends_with(" 0") && told[7].ends_with(" 99"),
            "{told:?}"
        );
    }

    #[test]
    fn what_peers_tell_is_kept_once_and_no_more_than_there_is_room_for() {
        let mut bench = Bench::new("hear");
        let tell = |by: u32, news: u8, at: i64| Event::Testimony {
            by: NodeId::new(by),
            life: Incarnation::new(6),
            news,
            at: WallTime(at),
            text: "Death of node 1 is confirmed: n2 fenced it".into(),
        };
        let news = PeerNews::Confirmed.code();
        bench.core(tell(2, news, 1_000));
        bench.core(tell(2, news, 1_000));
        bench.core(tell(3, news, 1_000));
        bench.core(tell(2, 0, 1_000));
        bench.core(tell(2, 200, 1_000));
        let text = "Death of node 1 is confirmed: n2 fenced it".to_owned();
        assert_eq!(bench.of(Class::Testimony), [(news, 2, 6, text.clone()), (news, 3, 6, text)]);
        let box_says = black_box::read(&bench.path).unwrap();
        assert!(box_says.iter().all(|r| r.class != Class::Testimony || r.wall == WallTime(1_000)));
        assert_eq!(bench.of(Class::Event), [], "not a second time");
        let mut bench = bench.again();
        bench.core(tell(2, news, 1_000));
        assert_eq!(bench.of(Class::Testimony).len(), 2, "a daemon that was started anew is told the same");
        for at in 2..200 {
            bench.core(tell(2, news, at));
        }
        assert_eq!(bench.of(Class::Testimony).len(), 2 + TOLD_MAX);
    }

    #[test]
    fn floods_push_nothing_out_and_the_states_of_the_ring_are_there() {
        let mut bench = Bench::new("floods");
        bench.core(Event::EnterGather { cause: 2, text: "so" });
        for _ in 0..2_000 {
            bench.daemon(DaemonEvent::Retransmits { frames: 3 });
            bench.daemon(DaemonEvent::Client { text: "who are you".into() });
        }
        bench.core(Event::EnterOperational);
        let got = bench.of(Class::Event);
        assert_eq!(got.len(), 2, "{got:?}");
    }

    #[test]
    fn a_disk_that_hangs_costs_the_log_one_wait_and_is_told_of_when_it_hangs_and_when_it_works_again() {
        let (let_go, gate) = sync_channel::<()>(0);
        let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&written);
        let write = move |batch: &Batch| {
            // As a write to a disk that hangs, until nobody holds the other end any more.
            let _ = gate.recv();
            count.fetch_add(batch.records.len(), std::sync::atomic::Ordering::SeqCst);
            Ok(())
        };
        let mut recorder = Recorder::start(write, || Ok(()), NodeId::new(1), Incarnation::new(7)).unwrap();
        let line = |recorder: &mut Recorder| {
            let happening = Happening::Daemon(DaemonEvent::PersistRecovered);
            let mut lines = Vec::new();
            events::lines(&happening, &mut lines);
            recorder.note(clock::wall_nanos(), &happening, &lines);
            recorder.settle();
            recorder.take_trouble()
        };
        assert!(line(&mut recorder).unwrap().contains("the log goes on without it"));
        for _ in 0..WAITING_MAX + 6 {
            assert_eq!(line(&mut recorder), None, "told once");
        }
        drop(let_go);
        let until = Instant::now() + Duration::from_mins(1);
        let told = loop {
            recorder.settle();
            if let Some(told) = recorder.take_trouble() {
                break told;
            }
            assert!(Instant::now() < until, "it does not catch up");
            thread::sleep(Duration::from_millis(1));
        };
        let written = written.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(
            told,
            format!("The black box takes writes again; {} records were lost.", WAITING_MAX + 7 - written)
        );
        assert!((WAITING_MAX..=WAITING_MAX + 1).contains(&written), "{written}");
    }

    #[test]
    fn an_idle_node_gives_a_sign_of_life_each_minute_and_not_more() {
        let mut bench = Bench::new("sign");
        bench.recorder.rest();
        assert_eq!(bench.of(Class::Sign).len(), 0);
        let Some(before) = Instant::now().checked_sub(SIGN_EACH) else { return }; // this machine has just booted
        bench.recorder.written = before;
        bench.recorder.rest();
        bench.recorder.rest();
        assert_eq!(bench.of(Class::Sign), [(0, 1, 7, String::new())]);
    }
}
