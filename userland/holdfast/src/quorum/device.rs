//! `holdfast quorum device`: disables and enables the quorum device through the daemon, and adds and removes it by the
//! configuration file: it is in force when the files of all members say the same.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use cmm_conf::{Config, DeviceModel, QuorumDevice};
use cmm_ipc::CsError;
use cmm_ipc::client::{CfgClient, Error};
use serde_json::{Map, Value, json};

use super::change::{Go, How, Work, make};
use super::count::{Change, Device};
use super::edit::{self, Entry};
use super::file::{self, Conf};
use super::seen::Seen;
use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;
use crate::qdisk;

/// Add, remove, enable or disable the quorum device.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Put the quorum device into this node's configuration file, and have it read
    ///
    /// Type it on every node: the device counts as soon as the files of all members say the same.
    #[command(subcommand)]
    Add(Add),
    /// Take the quorum device out of this node's configuration file, and have it read
    ///
    /// Type it on every node: the device counts no more as soon as the files of all members say the same.
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove(Remove),
    /// Expect and count the device's votes again
    #[command(after_help = SWITCH_EXAMPLES)]
    Enable(Switch),
    /// Neither expect nor count the device's votes, until it is enabled
    #[command(after_help = SWITCH_EXAMPLES)]
    Disable(Switch),
}

#[derive(Subcommand)]
enum Add {
    /// Quorum disks, made by "holdfast qdisk create": one, or several of which a majority counts
    #[command(after_help = ADD_EXAMPLES)]
    Disk(Disk),
    /// A disk with SCSI-3 persistent reservations
    #[command(after_help = ADD_EXAMPLES)]
    Scsi(Scsi),
    /// A quorum server: corosync-qnetd
    #[command(after_help = ADD_EXAMPLES)]
    Net(Net),
}

#[derive(clap::Args)]
struct Disk {
    /// The disk, by an absolute path that is the same on every node
    #[arg(value_name = "PATH", required_unless_present = "label")]
    path: Vec<PathBuf>,
    /// A disk by the label that it was made with
    #[arg(short, long, value_name = "LABEL")]
    label: Vec<String>,
    /// How often each node writes and reads, in milliseconds (default 1000)
    #[arg(long, value_name = "MS")]
    interval: Option<u64>,
    /// After so many intervals of silence another node may have the vote (default 4)
    #[arg(long, value_name = "N")]
    tko: Option<u32>,
    #[command(flatten)]
    file: InFile,
}

#[derive(clap::Args)]
struct Scsi {
    /// The disk, by an absolute path that is the same on every node
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// How often each node looks at the reservation, in milliseconds (default 500)
    #[arg(long, value_name = "MS")]
    interval: Option<u64>,
    /// After so many intervals without an answer the vote does not count (default 4)
    #[arg(long, value_name = "N")]
    tko: Option<u32>,
    #[command(flatten)]
    file: InFile,
}

#[derive(clap::Args)]
struct Net {
    /// The server, by name or address
    #[arg(value_name = "HOST")]
    host: String,
    /// Whom the server lets win (default ffsplit)
    #[arg(long, value_name = "NAME")]
    algorithm: Option<Algorithm>,
    /// Its port (default 5403)
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Whether TLS is used (default on)
    #[arg(long, value_name = "WHEN")]
    tls: Option<Tls>,
    /// Who wins between equals: lowest, highest, or a node id (default lowest)
    #[arg(long, value_name = "WHO")]
    tie_breaker: Option<String>,
    /// How long the server may be silent, in milliseconds (default 10000); the same on every node
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    #[command(flatten)]
    file: InFile,
}

/// What a quorum server decides by.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Algorithm {
    /// One half of an even split
    Ffsplit,
    /// The last node that reaches it
    Lms,
}

/// Whether a connection is sealed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tls {
    /// Never
    Off,
    /// If the server has it
    On,
    /// Always
    Required,
}

/// What every way to add a device has.
#[derive(clap::Args)]
struct InFile {
    /// Votes of the device; by default those of all nodes less one, so that the last one stands with it (1 with ffsplit)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    votes: Option<u32>,
    #[command(flatten)]
    place: FilePlace,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct FilePlace {
    /// The configuration file; else $HOLDFAST_CONF, else the one that cmmd runs on, else where cmmd looks
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change the file only: for a node whose cmmd does not run. Nothing is worked out and nobody reads it
    #[arg(long)]
    file_only: bool,
}

#[derive(clap::Args)]
struct Remove {
    #[command(flatten)]
    place: FilePlace,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct Switch {
    #[command(flatten)]
    how: How,
}

pub(super) fn run(args: &Args, io: &mut Io) -> Exit {
    match &args.what {
        What::Enable(args) => make("device enable", |seen| switch(seen, true), &args.how, io),
        What::Disable(args) => make("device disable", |seen| switch(seen, false), &args.how, io),
        What::Remove(args) => {
            let mut work = Work::new("device remove", &args.how, io);
            end(remove(args, &mut work))
        }
        What::Add(add) => {
            let file = match add {
                Add::Disk(disk) => &disk.file,
                Add::Scsi(scsi) => &scsi.file,
                Add::Net(net) => &net.file,
            };
            let mut work = Work::new("device add", &file.how, io);
            end(add.carry_out(file, &mut work))
        }
    }
}

fn end(result: Result<Exit, Exit>) -> Exit {
    match result {
        Ok(exit) | Err(exit) => exit,
    }
}

fn switch(seen: &Seen, on: bool) -> Result<Change, String> {
    match seen.votes.device {
        Some(_) => Ok(Change::DeviceEnabled(on)),
        None => {
            Err("this cluster has no quorum device; add one: holdfast quorum device add --help".to_owned())
        }
    }
}

impl Add {
    fn carry_out(&self, file: &InFile, work: &mut Work<'_>) -> Result<Exit, Exit> {
        let conf = read(&file.place, work)?;
        let text = edit::add(&conf.name.display().to_string(), &conf.text, &self.section(file))
            .map_err(|why| not_usable(work, &why))?;
        let config = conf.check(&text).map_err(|why| refused_file(work, &conf, &why))?;
        let Some(device) = &config.quorum.device else {
            return Err(not_usable(work, "the device would not be served with this file; look: cmmd -t"));
        };
        if let Add::Disk(disk) = self {
            disk.check(&config.totem.cluster_name).map_err(|why| not_usable(work, &why))?;
        }
        let change = Change::DeviceAdded(of_file(device));
        let typed = self.typed(file);
        Edit { conf, text, config, change, typed }.carry_out(&file.place, work)
    }

    /// The section's contents.
    fn section(&self, file: &InFile) -> Vec<Entry> {
        fn number(key: &'static str, value: Option<impl ToString>) -> Option<Entry> {
            value.map(|v| Entry::Item(key, v.to_string()))
        }
        let item = |key, value: String| Entry::Item(key, value);
        let (model, inner, more) = match self {
            Self::Disk(disk) => {
                let paths = disk.path.iter().map(|p| item("device", p.display().to_string()));
                let labels = disk.label.iter().map(|l| item("label", l.clone()));
                let times = [number("interval", disk.interval), number("tko", disk.tko)];
                ("disk", paths.chain(labels).chain(times.into_iter().flatten()).collect::<Vec<_>>(), None)
            }
            Self::Scsi(scsi) => {
                let times = [number("interval", scsi.interval), number("tko", scsi.tko)];
                let path = item("device", scsi.path.display().to_string());
                ("scsi", std::iter::once(path).chain(times.into_iter().flatten()).collect(), None)
            }
            Self::Net(net) => {
                let options = [
                    number("algorithm", net.algorithm.map(|a| name_of(&a))),
                    number("port", net.port),
                    number("tls", net.tls.map(|t| name_of(&t))),
                    number("tie_breaker", net.tie_breaker.clone()),
                ];
                let host = item("host", net.host.clone());
                let inner = std::iter::once(host).chain(options.into_iter().flatten()).collect();
                ("net", inner, number("timeout", net.timeout))
            }
        };
        let head = [Some(item("model", model.to_owned())), number("votes", file.votes), more];
        head.into_iter().flatten().chain([Entry::Section(model, inner)]).collect()
    }

    /// What has to be typed on the other nodes.
    fn typed(&self, file: &InFile) -> String {
        fn option(name: &str, value: Option<impl std::fmt::Display>) -> String {
            value.map(|v| format!(" --{name} {v}")).unwrap_or_default()
        }
        let words = match self {
            Self::Disk(disk) => {
                let paths: String = disk.path.iter().map(|p| format!(" {}", p.display())).collect();
                let labels: String = disk.label.iter().map(|l| format!(" --label {l}")).collect();
                format!("disk{paths}{labels}{}{}", option("interval", disk.interval), option("tko", disk.tko))
            }
            Self::Scsi(scsi) => format!(
                "scsi {}{}{}",
                scsi.path.display(),
                option("interval", scsi.interval),
                option("tko", scsi.tko)
            ),
            Self::Net(net) => format!(
                "net {}{}{}{}{}{}",
                net.host,
                option("algorithm", net.algorithm.map(|a| name_of(&a))),
                option("port", net.port),
                option("tls", net.tls.map(|t| name_of(&t))),
                option("tie-breaker", net.tie_breaker.as_ref()),
                option("timeout", net.timeout)
            ),
        };
        format!("holdfast quorum device add {words}{}", option("votes", file.votes))
    }
}

impl Disk {
    /// Whether these are quorum disks of this cluster.
    fn check(&self, cluster: &str) -> Result<(), String> {
        let labels = self.label.iter().map(PathBuf::from);
        self.path
            .iter()
            .cloned()
            .chain(labels)
            .try_for_each(|name| qdisk::of_cluster(&name, cluster).map(drop))
    }
}

fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

fn of_file(device: &QuorumDevice) -> Device {
    let (model, name) = match &device.model {
        DeviceModel::Disk(disk) => {
            ("disk", disk.disks.first().map_or_else(|| "disk".to_owned(), ToString::to_string))
        }
        DeviceModel::Scsi(scsi) => ("scsi", scsi.path.clone()),
        DeviceModel::Net(server) => ("net", server.host.clone()),
    };
    Device { name, model: model.to_owned(), votes: device.votes.get(), present: false, enabled: true }
}

fn remove(args: &Remove, work: &mut Work<'_>) -> Result<Exit, Exit> {
    let conf = read(&args.place, work)?;
    let name = conf.name.display().to_string();
    let (text, _) = edit::remove(&name, &conf.text).map_err(|why| not_usable(work, &why))?;
    let config = conf.check(&text).map_err(|why| refused_file(work, &conf, &why))?;
    let typed = "holdfast quorum device remove".to_owned();
    Edit { conf, text, config, change: Change::DeviceRemoved, typed }.carry_out(&args.place, work)
}

fn read(place: &FilePlace, work: &mut Work<'_>) -> Result<Conf, Exit> {
    let run_dir = Sources::from_env().run_dir;
    Conf::read(&file::find(place.config.as_deref(), &run_dir)).map_err(|why| not_usable(work, &why))
}

fn not_usable(work: &mut Work<'_>, why: &str) -> Exit {
    work.complain(why);
    work.tell(Map::new(), &[("in_force", false.into()), ("asked", false.into()), ("error", why.into())]);
    Exit::CannotCreate
}

fn refused_file(work: &mut Work<'_>, conf: &Conf, why: &str) -> Exit {
    work.io.complain(format_args!("{why}\n"));
    not_usable(work, &format!("{} would be refused by cmmd; nothing was changed", conf.name.display()))
}

/// A file about to be changed.
struct Edit {
    conf: Conf,
    text: String,
    /// What the text says.
    config: Config,
    change: Change,
    /// What is to be typed on the other nodes.
    typed: String,
}

impl Edit {
    fn carry_out(&self, place: &FilePlace, work: &mut Work<'_>) -> Result<Exit, Exit> {
        let file = self.conf.name.display().to_string();
        if place.file_only {
            return self.file_only(&file, work);
        }
        let (mut daemon, seen) = work.look()?;
        if seen.cluster != self.config.totem.cluster_name {
            let why = format!(
                "{file} is of cluster \"{}\", and cmmd of this node runs \"{}\"; name the file that it reads: -c FILE",
                self.config.totem.cluster_name, seen.cluster
            );
            return Err(not_usable(work, &why));
        }
        let mut json = match work.consider(&seen, &self.change) {
            Go::On(json) => json,
            Go::End(exit) => return Ok(exit),
        };
        let kept = self.conf.replace(&self.text).map_err(|why| not_usable(work, &why))?;
        work.say(&format!("{file} is changed; as it was it is in {}.\n", kept.display()));
        let me = self.config.me().id.get();
        let others = seen.votes.names(seen.votes.voters.iter().filter(|v| v.id != me));
        json.insert("file".into(), file.clone().into());
        json.insert("kept".into(), kept.display().to_string().into());
        json.insert("on_other_nodes".into(), self.typed.clone().into());
        self.reload(work, &kept, &json)?;
        let mut still = Still::default();
        let (last, _) =
            work.wait(&mut daemon, |_, seen| Ok(self.is_in_force(seen) || still.is_stuck(seen)))?;
        if self.is_in_force(&last) {
            return Ok(work.done(&last, json));
        }
        Ok(self.not_yet(&last, &others, json, work))
    }

    fn file_only(&self, file: &str, work: &mut Work<'_>) -> Result<Exit, Exit> {
        if work.how.dry_run {
            work.say(&format!("{file} would be changed; nothing was (--dry-run).\n"));
            work.tell(Map::new(), &[("file", file.into()), ("text", self.text.clone().into())]);
            return Ok(Exit::Ok);
        }
        let kept = self.conf.replace(&self.text).map_err(|why| not_usable(work, &why))?;
        work.say(&format!(
            "{file} is changed; as it was it is in {}. A cmmd that runs has not read it: corosync-cfgtool -R\n",
            kept.display()
        ));
        let fields =
            json!({"file": file, "kept": kept.display().to_string(), "in_force": false, "asked": false});
        if let Value::Object(fields) = fields {
            work.tell(fields, &[]);
        }
        Ok(Exit::Ok)
    }

    /// Has all members read their files.
    fn reload(&self, work: &mut Work<'_>, kept: &Path, json: &Map<String, Value>) -> Result<(), Exit> {
        let sources = Sources::from_env();
        let limit = work.until.saturating_duration_since(Instant::now()).max(sources.limit);
        let asked = CfgClient::connect(&sources.place, sources.limit).and_then(|mut cfg| {
            cfg.connection().set_limit(limit);
            cfg.reload()
        });
        let file = self.conf.name.display();
        let (why, exit) = match asked {
            Ok(()) => return Ok(()),
            Err(Error::Refused(CsError::InvalidParam)) => {
                // What is in force goes on, and the file should say that.
                let restored = match self.conf.restore(kept) {
                    Ok(()) => "the file is as it was".to_owned(),
                    Err(why) => why,
                };
                let why = format!(
                    "cmmd has refused the changed {file}, and its log says why; {restored}. One life of cmmd uses one device: for another \
                     one type the same with --file-only on every node, and restart cmmd, one node after the other"
                );
                (why, Exit::CannotCreate)
            }
            Err(Error::Refused(CsError::Access)) => (
                "cmmd reads its file again for root only; type as root: corosync-cfgtool -R".to_owned(),
                Exit::NoPermission,
            ),
            Err(e) => (
                format!(
                    "{file} is changed, but cmmd was not asked to read it: {e}; type: corosync-cfgtool -R"
                ),
                Exit::TryAgain,
            ),
        };
        work.complain(&why);
        work.tell(
            json.clone(),
            &[("in_force", false.into()), ("asked", false.into()), ("error", why.into())],
        );
        Err(exit)
    }

    fn is_in_force(&self, seen: &Seen) -> bool {
        seen.next.is_empty() && seen.waits.is_empty() && seen.votes.is_so(&self.change)
    }

    /// Says what it waits for.
    fn not_yet(&self, seen: &Seen, others: &str, json: Map<String, Value>, work: &mut Work<'_>) -> Exit {
        let why = if seen.waits.is_empty() {
            "this node has read its file, and does not say what it waits for: where cmmd is of a release that takes a quorum device at \
             its start only, restart it, one node after the other"
                .to_owned()
        } else {
            seen.waits.clone()
        };
        work.say(&format!("Not in force yet: {why}\n"));
        if !others.is_empty() {
            work.say(&format!("Type the same on {others}, where it was not typed yet:\n  {}\n", self.typed));
        }
        work.say("It comes into force by itself when the files of all members say the same: holdfast quorum status\n");
        work.tell(json, &[("in_force", false.into()), ("asked", true.into()), ("waits", why.into())]);
        Exit::TryAgain
    }
}

/// Whether the daemon has said for a while that it waits, and for what: nothing will come of more patience.
#[derive(Default)]
struct Still {
    since: Option<(String, Instant)>,
}

impl Still {
    fn is_stuck(&mut self, seen: &Seen) -> bool {
        if seen.waits.is_empty() || !seen.next.is_empty() {
            self.since = None;
            return false;
        }
        match &self.since {
            Some((said, since)) if *said == seen.waits => since.elapsed() >= STUCK,
            _ => {
                self.since = Some((seen.waits.clone(), Instant::now()));
                false
            }
        }
    }
}

const STUCK: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  holdfast quorum device add disk /dev/disk/by-id/scsi-36001405     on every node
  holdfast quorum device add net qnetd.example.com --dry-run        what would follow
  holdfast quorum device disable             the disk is replaced: do without its votes
  holdfast quorum device enable
  holdfast quorum device remove              on every node

Exit status: 0 in force; 1 refused, nothing was changed; 64 wrong usage; 69 cmmd does not answer;
             70 cmmd refused it; 73 the file cannot be used; 75 not in force yet; 77 not permitted";
const ADD_EXAMPLES: &str = "\
Examples:
  holdfast qdisk create /dev/disk/by-id/scsi-36001405 --label web --cluster web    once, and then
  holdfast quorum device add disk /dev/disk/by-id/scsi-36001405                    on every node
  holdfast quorum device add disk --label web --votes 1
  holdfast quorum device add scsi /dev/disk/by-id/scsi-36001405
  holdfast quorum device add net qnetd.example.com --algorithm lms
  holdfast quorum device add disk --label web --file-only      on a node whose cmmd does not run

Everything else in the file stays as it is, and the file of before is kept beside it. Until it was
typed on every node the device does not count: this command ends with 75 and says what is waited for.

Exit status: 0 in force; 1 refused, nothing was changed; 64 wrong usage; 69 cmmd does not answer;
             73 the file cannot be used, or it is no quorum disk; 75 not in force yet;
             77 not permitted";
const REMOVE_EXAMPLES: &str = "\
Examples:
  holdfast quorum device remove --dry-run
  holdfast quorum device remove

Exit status: 0 in force; 1 refused, nothing was changed; 64 wrong usage; 69 cmmd does not answer;
             73 the file cannot be used; 75 not in force yet; 77 not permitted";
const SWITCH_EXAMPLES: &str = "\
Examples:
  holdfast quorum device disable
  holdfast quorum device enable --wait 60

Exit status: 0 in force; 1 refused, nothing was changed; 64 wrong usage; 69 cmmd does not answer;
             70 cmmd refused it; 75 not in force yet; 77 not permitted";

#[cfg(test)]
mod tests {
    use clap::Parser;
    use cmm_conf::{Diagnostics, DiskName, Host, ServerTieBreaker, ServerTls, Severity};

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }

    const TEXT: &str = "totem {\n  version: 2\n  cluster_name: web\n  nodeid: 1\n}\nnodelist {\n  node {\n    nodeid: 1\n    ring0_addr: 10.0.0.1\n  }\n  \
                        node {\n    nodeid: 2\n    ring0_addr: 10.0.0.2\n  }\n  node {\n    nodeid: 3\n    ring0_addr: 10.0.0.3\n  }\n}\nquorum {\n  provider: corosync_votequorum\n}\n";

    fn parse(words: &[&str]) -> (Add, String) {
        let typed =
            Typed::try_parse_from([&["device", "add"], words].concat()).unwrap_or_else(|e| panic!("{e}"));
        let What::Add(add) = typed.args.what else { panic!("{words:?}") };
        let file = match &add {
            Add::Disk(disk) => &disk.file,
            Add::Scsi(scsi) => &scsi.file,
            Add::Net(net) => &net.file,
        };
        let again = add.typed(file);
        let text = edit::add("f", TEXT, &add.section(file)).unwrap();
        (add, format!("{again}\n{text}"))
    }

    /// What the configuration says when these words were typed, without any finding of weight.
    fn device(words: &[&str]) -> (QuorumDevice, String) {
        let (_, text) = parse(words);
        let (again, text) = text.split_once('\n').unwrap();
        let host = Host { hostname: "n1", resolve: &|_| Vec::new(), is_local: &|_| false };
        let (config, found): (_, Diagnostics) = cmm_conf::parse("f", text.as_bytes(), &host);
        assert!(found.worst() < Some(Severity::Error), "{found}");
        (config.unwrap().quorum.device.unwrap(), again.to_owned())
    }

    #[test]
    fn what_is_typed_is_what_the_file_says_and_what_the_other_nodes_are_told() {
        let words = [
            "disk",
            "/dev/sdb1",
            "--label",
            "web",
            "--label",
            "web2",
            "--votes",
            "4",
            "--interval",
            "250",
            "--tko",
            "8",
        ];
        let (typed, again) = device(&words);
        let DeviceModel::Disk(disk) = typed.model else { panic!("{typed:?}") };
        let label = |l: &str| DiskName::Label(l.to_owned());
        assert_eq!(disk.disks, [DiskName::Path("/dev/sdb1".to_owned()), label("web"), label("web2")]);
        assert_eq!((typed.votes.get(), disk.interval.as_millis(), disk.tko), (4, 250, 8));
        assert_eq!(
            again,
            "holdfast quorum device add disk /dev/sdb1 --label web --label web2 --interval 250 --tko 8 --votes 4"
        );

        let (typed, again) = device(&["scsi", "/dev/disk/by-id/scsi-1"]);
        assert_eq!(
            (typed.votes.get(), again.as_str()),
            (2, "holdfast quorum device add scsi /dev/disk/by-id/scsi-1")
        );
        assert!(matches!(typed.model, DeviceModel::Scsi(scsi) if scsi.path == "/dev/disk/by-id/scsi-1"));

        let words = [
            "net",
            "q.example.com",
            "--algorithm",
            "lms",
            "--port",
            "5500",
            "--tls",
            "required",
            "--tie-breaker",
            "2",
            "--timeout",
            "8000",
        ];
        let (typed, again) = device(&words);
        let DeviceModel::Net(net) = typed.model else { panic!("{typed:?}") };
        assert_eq!(
            (net.host.as_str(), net.port, net.last_man_standing, net.tls),
            ("q.example.com", 5500, true, ServerTls::Required)
        );
        assert_eq!(
            (net.timeout.as_millis(), net.tie_breaker),
            (8_000, ServerTieBreaker::Node(holdfast_types::NodeId::new(2)))
        );
        assert_eq!(again, format!("holdfast quorum device add {}", words.join(" ")));
        let (typed, _) = device(&["net", "q"]);
        assert_eq!(typed.votes.get(), 1, "ffsplit");
    }

    #[test]
    fn words_that_are_none_are_refused() {
        for words in [
            &["disk"][..],
            &["net"],
            &["scsi"],
            &["disk", "/dev/sdb1", "--votes", "0"],
            &["net", "q", "--algorithm", "2nodelms"],
            &["tape", "/dev/st0"],
        ] {
            assert!(Typed::try_parse_from([&["device", "add"], words].concat()).is_err(), "{words:?}");
        }
    }
}
