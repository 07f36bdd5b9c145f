//! Makes a change of votes: shows it before and after, refuses what would cost quorum, asks the daemon, and waits until it is in
//! force.

use std::thread;
use std::time::{Duration, Instant};

use cmm_ipc::CsError;
use cmm_ipc::client::Error;
use holdfast_types::{NodeId, Votes};
use serde_json::{Map, Value};

use super::count::Change;
use super::report::{self, Comparison};
use super::seen::{DEVICE, Daemon, Seen};
use crate::exit::Exit;
use crate::gather::{Sources, cmmd_note};
use crate::io::Io;

/// How a change is to be made.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct How {
    /// Do it although it would do harm, where the daemon lets it be done. The cluster's name has to be given
    #[arg(long, value_name = "CLUSTERNAME")]
    pub(super) force: Option<String>,
    /// Show what would follow, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How long to wait until it is in force, in seconds; it goes on afterwards
    #[arg(short, long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) wait: u64,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    pub(super) json: bool,
}

/// One command at work.
pub(super) struct Work<'a> {
    /// What was typed behind `holdfast quorum`.
    pub(super) what: &'a str,
    pub(super) how: &'a How,
    pub(super) io: &'a mut Io,
    pub(super) until: Instant,
}

/// What `Work::consider` found.
pub(super) enum Go {
    /// It is to be made; this is what JSON has to say of it so far.
    On(Map<String, Value>),
    /// It is over.
    End(Exit),
}

impl<'a> Work<'a> {
    pub(super) fn new(what: &'a str, how: &'a How, io: &'a mut Io) -> Self {
        Self { what, how, io, until: Instant::now() + Duration::from_secs(how.wait) }
    }

    pub(super) fn complain(&mut self, text: &str) {
        self.io.complain(format_args!("holdfast quorum {}: {text}\n", self.what));
    }

    pub(super) fn say(&mut self, text: &str) {
        if !self.how.json {
            self.io.say(format_args!("{text}"));
        }
    }

    /// The end of it as JSON, if that is wanted.
    pub(super) fn tell(&mut self, mut json: Map<String, Value>, fields: &[(&str, Value)]) {
        if self.how.json {
            json.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            self.io.say(format_args!("{:#}\n", Value::Object(json)));
        }
    }

    /// Connects and looks.
    pub(super) fn look(&mut self) -> Result<(Daemon, Seen), Exit> {
        let sources = Sources::from_env();
        let patience = self.until.max(Instant::now() + sources.limit);
        let look =
            || Daemon::connect(&sources).and_then(|mut daemon| daemon.look().map(|seen| (daemon, seen)));
        let (daemon, seen) = loop {
            match look() {
                Ok(all) => break all,
                // It starts, or the membership changes just now.
                Err(e) if e.is_try_again() && Instant::now() < patience => thread::sleep(LOOK_AGAIN),
                Err(e) => return Err(self.unavailable(&e)),
            }
        };
        if let Some(name) = self.how.force.as_ref().filter(|name| **name != seen.cluster) {
            self.complain(&format!(
                "this is cluster \"{}\", not \"{name}\"; nothing was changed. If it is the one you mean: --force {}",
                seen.cluster, seen.cluster
            ));
            return Err(Exit::Usage);
        }
        Ok((daemon, seen))
    }

    pub(super) fn unavailable(&mut self, error: &Error) -> Exit {
        let asked = format!("holdfast quorum {}", self.what);
        let note = cmmd_note(error, &asked);
        self.complain(&format!("{}; {}", note.what, note.remedy));
        match error {
            Error::Refused(CsError::Access) => Exit::NoPermission,
            _ => Exit::Unavailable,
        }
    }

    /// Shows what would follow, and says whether to go on.
    pub(super) fn consider(&mut self, seen: &Seen, change: &Change) -> Go {
        let comparison = Comparison::of(seen, change);
        let json = comparison.json();
        if !self.how.json {
            self.io.say(format_args!("{}", comparison.text()));
            for note in comparison.notes() {
                self.io.say(format_args!("  Note: {note}.\n"));
            }
        }
        if let Some(harm) = &comparison.harm {
            let remedy = report::harm_text(harm);
            self.io.complain(format_args!("{remedy}"));
            if self.how.force.is_none() {
                self.complain(&format!(
                    "refused, nothing was changed (--force {} asks the daemon all the same)",
                    seen.cluster
                ));
                self.tell(json, &[("in_force", false.into()), ("asked", false.into())]);
                return Go::End(Exit::Of(REFUSED));
            }
        }
        if self.how.dry_run {
            self.say("Nothing was changed (--dry-run).\n");
            self.tell(json, &[("in_force", false.into()), ("asked", false.into())]);
            return Go::End(if comparison.harm.is_some() { Exit::Of(REFUSED) } else { Exit::Ok });
        }
        Go::On(json)
    }

    /// Looks again and again until `over` says that it is, or the time is up. The last look, and whether it is.
    pub(super) fn wait(
        &mut self,
        daemon: &mut Daemon,
        mut over: impl FnMut(&mut Daemon, &Seen) -> Result<bool, Error>,
    ) -> Result<(Seen, bool), Exit> {
        loop {
            let seen = match daemon.look() {
                Err(e) if e.is_try_again() && Instant::now() < self.until => {
                    thread::sleep(LOOK_AGAIN);
                    continue;
                }
                seen => seen.map_err(|e| self.unavailable(&e))?,
            };
            if over(daemon, &seen).map_err(|e| self.unavailable(&e))? {
                return Ok((seen, true));
            }
            if Instant::now() >= self.until {
                return Ok((seen, false));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// What is in force now, as the end of a change.
    pub(super) fn done(&mut self, seen: &Seen, json: Map<String, Value>) -> Exit {
        self.say(&format!("{}\n", in_force(seen)));
        self.tell(
            json,
            &[("in_force", true.into()), ("asked", true.into()), ("now", report::status_json(seen))],
        );
        Exit::Ok
    }
}

/// Makes changes of what the daemon holds, one after the other.
pub(super) fn make(
    what: &str,
    pick: impl FnOnce(&Seen) -> Result<Change, String>,
    how: &How,
    io: &mut Io,
) -> Exit {
    let mut work = Work::new(what, how, io);
    match run(&mut work, pick) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn run(work: &mut Work<'_>, pick: impl FnOnce(&Seen) -> Result<Change, String>) -> Result<Exit, Exit> {
    let (mut daemon, seen) = work.look()?;
    let change = pick(&seen).map_err(|why| {
        work.complain(&why);
        Exit::Usage
    })?;
    if is_in_force(&seen, &change) {
        work.say(&format!("It is so already. {}\n", in_force(&seen)));
        let json = Comparison::of(&seen, &change).json();
        work.tell(json, &[("in_force", true.into()), ("asked", false.into())]);
        return Ok(Exit::Ok);
    }
    let json = match work.consider(&seen, &change) {
        Go::On(json) => json,
        Go::End(exit) => return Ok(exit),
    };
    let mut last = seen;
    for step in steps(&last, &change) {
        let asked = ask_until(work, &mut daemon, &step);
        if let Err(error) = asked {
            return Ok(refused(work, &step, &error, json));
        }
        let mut asked_at = Instant::now();
        let (seen, done) = work.wait(&mut daemon, |daemon, seen| {
            if is_in_force(seen, &step) {
                return Ok(true);
            }
            // It is void where the membership changed in that moment: the daemon takes votes for a wish of its own, and these not.
            let again = asked_at.elapsed() >= ASK_AGAIN
                && !matches!(step, Change::Votes { .. } | Change::Expected(_));
            if again {
                asked_at = Instant::now();
                match ask(daemon, &step) {
                    Ok(()) | Err(Error::Refused(_)) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(false)
        })?;
        last = seen;
        if !done {
            let why = waits_for(&last);
            work.complain(&format!(
                "asked for, and not in force yet: {why}; look again: holdfast quorum status"
            ));
            work.tell(json, &[("in_force", false.into()), ("asked", true.into()), ("waits", why.into())]);
            return Ok(Exit::TryAgain);
        }
    }
    Ok(work.done(&last, json))
}

/// What the daemon is asked for, in this order.
fn steps(seen: &Seen, change: &Change) -> Vec<Change> {
    if *change != Change::Reset {
        return vec![change.clone()];
    }
    let scaled = seen.votes.voters.iter().any(|v| v.place != super::count::Place::Counted)
        || seen.votes.device.as_ref().is_some_and(|d| !d.enabled);
    if scaled {
        // With that the table is the file's again, and what was set at run time is void.
        return vec![Change::Reset];
    }
    let votes = |v: &super::count::Voter| Change::Votes { node: v.id, votes: v.votes_in_file };
    let rises = seen.votes.changed_at_run_time().filter(|v| v.votes < v.votes_in_file).map(votes);
    let falls = seen.votes.changed_at_run_time().filter(|v| v.votes > v.votes_in_file).map(votes);
    let expected = Change::Expected(seen.votes.after(change).expected);
    rises.chain(falls).chain([expected]).collect()
}

fn ask(daemon: &mut Daemon, change: &Change) -> Result<(), Error> {
    match change {
        Change::Expected(expected) => daemon.votes.set_expected(Votes::new(*expected)),
        Change::Votes { node, votes } => daemon.votes.set_votes(NodeId::new(*node), Votes::new(*votes)),
        Change::Maintenance { node, on } => {
            daemon.ask(&format!("holdfast.quorum.maintenance.{node}"), u8::from(*on))
        }
        Change::DeviceEnabled(on) => {
            daemon.ask(&format!("holdfast.quorum.maintenance.{DEVICE}"), u8::from(!*on))
        }
        Change::Reset => daemon.ask("holdfast.quorum.reset", 1),
        Change::DeviceAdded(_) | Change::DeviceRemoved => Ok(()),
    }
}

/// Asks as long as the daemon says that it cannot just now.
fn ask_until(work: &Work<'_>, daemon: &mut Daemon, change: &Change) -> Result<(), Error> {
    loop {
        match ask(daemon, change) {
            Err(e) if e.is_try_again() && Instant::now() < work.until => thread::sleep(LOOK_AGAIN),
            outcome => return outcome,
        }
    }
}

/// The daemon said no.
fn refused(work: &mut Work<'_>, change: &Change, error: &Error, json: Map<String, Value>) -> Exit {
    let (why, exit) = match error {
        Error::Refused(CsError::Access) => {
            ("only root may do that; type it as root".to_owned(), Exit::NoPermission)
        }
        Error::Refused(CsError::TryAgain) => (
            "another change of votes or of the membership is under way; type the same again in a moment"
                .to_owned(),
            Exit::TryAgain,
        ),
        Error::Refused(CsError::NameNotFound) if matches!(change, Change::DeviceEnabled(_)) => (
            "no quorum device is in force; add one: holdfast quorum device add --help".to_owned(),
            Exit::Usage,
        ),
        Error::Refused(CsError::NameNotFound) => {
            ("the node list in force has no such node; look: holdfast quorum status".to_owned(), Exit::Usage)
        }
        Error::Refused(code @ (CsError::InvalidParam | CsError::NotExist)) => {
            (format!("cmmd refused it: {} ({code})", rule(change)), Exit::Software)
        }
        Error::Refused(other) => {
            (format!("cmmd refused it: {other}; look: holdfast quorum status"), Exit::Software)
        }
        Error::TimedOut => (
            "cmmd has not answered in time; whether it takes the change is seen by: holdfast quorum status"
                .to_owned(),
            Exit::TryAgain,
        ),
        other => return work.unavailable(other),
    };
    work.complain(&why);
    work.tell(json, &[("in_force", false.into()), ("asked", true.into()), ("error", why.into())]);
    exit
}

/// The daemon's rule, in words.
fn rule(change: &Change) -> &'static str {
    match change {
        Change::Expected(_) => {
            "expected votes are at least one and not fewer than those that are here with the device's, and a quorate partition \
             stays quorate, on the way, too; what fits is shown by: holdfast quorum status"
        }
        Change::Votes { .. } => {
            "votes are changed in a quorate partition that stays quorate, on the way, too (they rise last), and a node has at \
             most 65535; what fits is shown by: holdfast quorum status"
        }
        Change::Maintenance { .. } | Change::Reset | Change::DeviceEnabled(_) => {
            "before and after it a majority of the votes that count has to be here, without two_node, and without the quorum device's \
             where the nodes alone are one; and it takes a cluster whose nodes have been a majority. An earlier release of cmmd does \
             that only without a device. Look: holdfast quorum status"
        }
        Change::DeviceAdded(_) | Change::DeviceRemoved => "look: holdfast quorum status",
    }
}

fn is_in_force(seen: &Seen, change: &Change) -> bool {
    let quiet = matches!(change, Change::Votes { .. } | Change::Expected(_)) || seen.next.is_empty();
    quiet && seen.votes.is_so(change)
}

/// What is waited for.
fn waits_for(seen: &Seen) -> String {
    match () {
        () if !seen.next.is_empty() => {
            "it is under way, and needs a majority of the votes before and of those after it; start nodes that are missing".to_owned()
        }
        () if !seen.waits.is_empty() => seen.waits.clone(),
        () if !seen.quorate && !seen.reason.is_empty() => format!("this partition is not quorate: {}", seen.reason),
        () => "the members have not made it; a membership change may have come between".to_owned(),
    }
}

fn in_force(seen: &Seen) -> String {
    let quorate = if seen.quorate { "quorate" } else { "NOT quorate" };
    format!(
        "In force: expected {}, needed {}, present {}; {quorate}.",
        seen.votes.expected, seen.needed, seen.present
    )
}

/// Refused: the partition would lose quorum, or others could be quorate beside it.
pub(super) const REFUSED: u8 = 1;
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);
const ASK_AGAIN: Duration = Duration::from_secs(1);
