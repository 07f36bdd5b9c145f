//! `holdfast key`: makes the cluster's key file, changes the key of a running cluster, and shows how far that is. Also
//! under the name `corosync-keygen`, with its options.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use cmm_ipc::CsError;
use cmm_ipc::abi::cmap::Value;
use cmm_ipc::client::{CmapClient, Error};
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;

/// Make the cluster's key file, change the key of a running cluster, see how far that is.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write a new key file, readable by its owner only
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Change the running cluster to the key that is in the key files of its nodes
    ///
    /// Copy the new key file to every node first. Then type this on one node: the others hear of it and read their own
    /// files. Packets are sealed with the new key as soon as every member has it; no packet is lost.
    #[command(after_help = CHANGE_EXAMPLES)]
    Change(Change),
    /// Show which key is in use on this node, and how far a change has come
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Show),
}

#[derive(clap::Args)]
struct Generate {
    /// Where to
    #[arg(value_name = "FILE", default_value = KEY_FILE)]
    file: PathBuf,
    /// Length in bytes
    #[arg(short, long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u16).range(128..=4096))]
    size: u16,
    /// Replace a key file that is there
    #[arg(short, long)]
    force: bool,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Change {
    /// How long to wait for the other nodes, in seconds; the change goes on afterwards
    #[arg(short, long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Show {
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// Generate an authentication key for Corosync.
#[derive(Parser)]
#[command(name = "corosync-keygen", after_help = KEYGEN_EXAMPLES)]
pub(crate) struct Keygen {
    /// Write to the specified keyfile
    #[arg(short, long, value_name = "FILE", default_value = COROSYNC_KEY_FILE)]
    key_file: PathBuf,
    /// Length of key
    #[arg(short, long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u16).range(128..=4096))]
    size: u16,
    /// Random number source file
    #[arg(short, short_alias = 'm', long, value_name = "FILE", default_value = RANDOM)]
    random_file: PathBuf,
    /// Not used, kept for compatibility
    #[arg(short, long)]
    less_secure: bool,
}

/// Runs `holdfast key`.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    match &args.what {
        What::Generate(args) => generate(args, io),
        What::Change(args) => change(args, io),
        What::Status(args) => show(args, io),
    }
}

/// Runs `corosync-keygen`: it replaces what is there, as the original does.
pub(crate) fn keygen(args: &Keygen, io: &mut Io) -> Exit {
    io.say(format_args!("Corosync Cluster Engine Authentication key generator.\n"));
    io.say(format_args!(
        "Gathering {} bits for key from {}.\n",
        u32::from(args.size) * 8,
        args.random_file.display()
    ));
    match write_key(&args.key_file, &args.random_file, args.size.into(), true) {
        Ok(()) => {
            io.say(format_args!("Writing corosync key to {}.\n", args.key_file.display()));
            Exit::Ok
        }
        Err(e) => {
            io.complain(format_args!("corosync-keygen: {e}\n"));
            Exit::Of(1)
        }
    }
}

fn generate(args: &Generate, io: &mut Io) -> Exit {
    if let Err(e) = write_key(&args.file, Path::new(RANDOM), args.size.into(), args.force) {
        io.complain(format_args!("holdfast key generate: {e}\n"));
        return Exit::CannotCreate;
    }
    if args.json {
        let json = serde_json::json!({ "file": args.file, "bytes": args.size });
        io.say(format_args!("{json}\n"));
    } else {
        io.say(format_args!(
            "A key of {} bytes is in {}.\nNext: copy it to every node (mode 0400), then \"holdfast key change\" on one of them if \
             the cluster runs.\n",
            args.size,
            args.file.display()
        ));
    }
    Exit::Ok
}

/// Writes a key so that there is no instant at which others can read it or half of it is there.
fn write_key(path: &Path, random: &Path, size: usize, replace: bool) -> Result<(), String> {
    let name = path.display();
    let failed = |what: &str, e: &dyn Display| format!("{what}: {e}");
    if !replace && path.symlink_metadata().is_ok() {
        return Err(format!(
            "{name} is there already, and the nodes that have it would not understand one that has another; if the key is to be \
             replaced: holdfast key generate --force {name}"
        ));
    }
    let mut secret = Zeroizing::new(vec![0; size]);
    File::open(random)
        .and_then(|mut source| source.read_exact(&mut secret))
        .map_err(|e| failed(&format!("reading {size} bytes of {}", random.display()), &e))?;
    if secret.iter().all(|byte| *byte == secret[0]) {
        return Err(format!("{} gives one byte over and over: that is no randomness", random.display()));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!("{} is no folder; make it first: mkdir -p {0}", folder.display()));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(0o400))?;
        file.write_all(&secret)?;
        file.sync_all()?;
        if replace {
            fs::rename(&temporary, path)?;
        } else {
            // Unlike a rename it never replaces what came in between.
            fs::hard_link(&temporary, path)?;
            fs::remove_file(&temporary)?;
        }
        File::open(folder)?.sync_all()
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&temporary); // it may not have come to that
        failed(&format!("writing {name}"), &e)
    })
}

/// What this node's daemon says of keys.
struct Keys {
    /// Packets are sealed with it.
    key: String,
    /// Where it came from at start.
    source: String,
    /// The cluster changes to this one; empty when it does not.
    next: String,
    /// `settled`, `accepting`, `changed`.
    state: String,
    /// Members that are not as far as this node.
    waits_for: Vec<u32>,
    /// Why the key file could not be used when it was read last; empty if it could.
    error: String,
    loads: u64,
}

impl Keys {
    fn ask(cmap: &mut CmapClient) -> Result<Self, Error> {
        let loads = cmap.get_u64("holdfast.key.loads")?.unwrap_or(0);
        let mut text =
            |key: &str| cmap.get_str(&format!("holdfast.key.{key}")).map(Option::unwrap_or_default);
        Ok(Self {
            key: text("fingerprint")?,
            source: text("source")?,
            next: text("next")?,
            state: text("state")?,
            waits_for: text("waits_for")?.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
            error: text("error")?,
            loads,
        })
    }

    fn tell(&self, json: bool, io: &mut Io) {
        if json {
            let Self { key, source, next, state, waits_for, error, .. } = self;
            let json = serde_json::json!({
                "key": key, "source": source, "next": next, "state": state, "waits_for": waits_for, "error": error
            });
            return io.say(format_args!("{json:#}\n"));
        }
        io.say(format_args!("Key in use:   {} ({})\n", self.key, self.source));
        let nodes: Vec<String> = self.waits_for.iter().map(u32::to_string).collect();
        let nodes = nodes.join(" ");
        match self.state.as_str() {
            "accepting" => {
                io.say(format_args!("Changing to:  {} (accepted too; step 1 of 2)\n", self.next));
                io.say(format_args!(
                    "Waiting for:  node {nodes}: copy the new key file there; it is read again by itself\n"
                ));
            }
            "changed" if nodes.is_empty() => {
                io.say(format_args!(
                    "Old key:      still accepted for packets that are late, forgotten in a moment\n"
                ));
            }
            "changed" => {
                io.say(format_args!("Old key:      still accepted, node {nodes} seals with it\n"));
            }
            _ => {}
        }
        if !self.error.is_empty() {
            io.say(format_args!("! the key file cannot be used: {}\n", self.error));
        }
    }
}

fn show(args: &Show, io: &mut Io) -> Exit {
    let sources = Sources::from_env();
    match CmapClient::connect(&sources.place, sources.limit).and_then(|mut cmap| Keys::ask(&mut cmap)) {
        Ok(keys) => {
            keys.tell(args.json, io);
            Exit::Ok
        }
        Err(e) => unavailable("status", &e, io),
    }
}

fn change(args: &Change, io: &mut Io) -> Exit {
    let sources = Sources::from_env();
    let changed = CmapClient::connect(&sources.place, sources.limit).and_then(|mut cmap| {
        let before = Keys::ask(&mut cmap)?;
        cmap.set("holdfast.key.change", &Value::u64(1))?;
        let until = Instant::now() + Duration::from_secs(args.wait);
        loop {
            let now = Keys::ask(&mut cmap)?;
            let read = now.loads > before.loads;
            let over = read && (now.state != "accepting" || !now.error.is_empty());
            if over || Instant::now() >= until {
                return Ok((before, now, read));
            }
            thread::sleep(LOOK_AGAIN);
        }
    });
    let (before, now, read) = match changed {
        Ok(all) => all,
        Err(Error::Refused(CsError::Access)) => {
            io.complain(format_args!("holdfast key change: only root may do that; type it as root\n"));
            return Exit::NoPermission;
        }
        Err(e) => return unavailable("change", &e, io),
    };
    now.tell(args.json, io);
    let mut complain = |text: &str| io.complain(format_args!("holdfast key change: {text}\n"));
    if !read {
        complain("cmmd has not read the key file in time; look again with \"holdfast key status\"");
        Exit::TryAgain
    } else if !now.error.is_empty() {
        complain("nothing has changed; correct the key file and type \"holdfast key change\" again");
        Exit::CannotCreate
    } else if now.state == "accepting" {
        complain(
            "the change goes on as soon as those nodes have the new key file; look again with \"holdfast key status\"",
        );
        Exit::TryAgain
    } else {
        if now.key == before.key && before.state == "settled" {
            complain(
                "the key file of this node holds the key that is in use: put the new one there first, on all nodes",
            );
        }
        Exit::Ok
    }
}

fn unavailable(what: &str, e: &Error, io: &mut Io) -> Exit {
    io.complain(format_args!(
        "holdfast key {what}: cmmd of this node does not answer: {e}; start it: cmmd\n"
    ));
    Exit::Unavailable
}

const KEY_FILE: &str = "/etc/holdfast/authkey";
const COROSYNC_KEY_FILE: &str = "/etc/corosync/authkey";
const RANDOM: &str = "/dev/urandom";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "\
Examples:
  holdfast key generate                    a key for a new cluster, in /etc/holdfast/authkey
  holdfast key generate --force            a new key; then copy it to every node, then:
  holdfast key change                      on one node: all change to it, and no packet is lost
  holdfast key status                      which key is in use here, and whom a change waits for

Exit status: 0 done; 64 wrong usage; 69 cmmd does not answer; 73 a key file cannot be made or used;
             75 not over yet; 77 not permitted";
const GENERATE_EXAMPLES: &str = "\
Examples:
  holdfast key generate
  holdfast key generate --size 1024 /root/authkey
  holdfast key generate --force && for n in n2 n3; do scp -p /etc/holdfast/authkey $n:/etc/holdfast/; done

Exit status: 0 done; 73 the file is there already, or cannot be made";
const CHANGE_EXAMPLES: &str = "\
Examples:
  holdfast key change
  holdfast key change --wait 0             begin, and look later with \"holdfast key status\"

Exit status: 0 the members seal with the new key; 69 cmmd does not answer; 73 the key file cannot be used;
             75 some members do not have it yet; 77 not permitted";
const STATUS_EXAMPLES: &str = "\
Examples:
  holdfast key status
  holdfast key status --json | jq -r .key

Exit status: 0 done; 69 cmmd does not answer";
const KEYGEN_EXAMPLES: &str = "\
Examples:
  corosync-keygen
  corosync-keygen -s 1024 -k /etc/holdfast/authkey

Exit status: 0 done; 1 the file cannot be made";
