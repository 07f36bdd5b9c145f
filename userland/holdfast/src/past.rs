//! `holdfast cib`: what the configuration was, who changed it, and how to go back.

use admin::history::{Entry, History};
use cib::operation::{Operation, OperationKind, Refusal};
use cib::{Element, patch};
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::cibtools::lines;
use crate::exit::Exit;
use crate::io::Io;

/// Show what the configuration was and who changed it, and go back to an earlier one.
///
/// Every node keeps the last hundred configurations in its state directory. Going back is a change like any other: it is refused
/// where it is not valid, and can itself be taken back.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List them, the oldest first: number, version, when, who, and how many parts changed.
    History {
        /// Print JSON: an array, an object each.
        #[arg(long)]
        json: bool,
    },
    /// Print one of them as XML.
    Show {
        /// Its number in the history; the last one if none is given.
        number: Option<u64>,
    },
    /// Show what was changed between two of them.
    Diff {
        /// From this one; the one before the last if none is given.
        from: Option<u64>,
        /// To this one; the last one if none is given.
        to: Option<u64>,
        /// Print a patch, as cibadmin --patch takes it.
        #[arg(long)]
        patch: bool,
    },
    /// Put an earlier configuration back, as a new change. The status stays.
    Rollback {
        /// Its number in the history.
        number: u64,
        /// Only show what would be changed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// A line of the history.
#[derive(Serialize)]
struct Row {
    number: u64,
    version: String,
    written: Option<String>,
    origin: Option<String>,
    client: Option<String>,
    user: Option<String>,
    changes: Option<usize>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
}

/// Why a command ends.
struct Stop {
    exit: Exit,
    text: String,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        let status = u8::try_from(refusal.rc).ok().filter(|rc| *rc > 0).unwrap_or(1);
        Self { exit: Exit::Of(status), text: refusal.to_string() }
    }
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let done = match &args.what {
        What::History { json } => history(*json, io),
        What::Show { number } => entry(*number, 0).and_then(|e| {
            io.say(format_args!("{}", read(&e)?.to_xml()));
            Ok(Exit::Ok)
        }),
        What::Diff { from, to, patch } => diff(*from, *to, *patch, io),
        What::Rollback { number, dry_run } => rollback(*number, *dry_run, io),
    };
    done.unwrap_or_else(|stop| {
        io.complain(format_args!("holdfast cib: {}\n", stop.text));
        stop.exit
    })
}

fn entries() -> Result<Vec<Entry>, Stop> {
    let stop = |e: std::io::Error| {
        let text = format!("the history cannot be read: {e}; only root may: try again with sudo");
        Stop { exit: Exit::NoPermission, text }
    };
    History::from_env().entries().map_err(stop)
}

/// The one of this number, else the last but `back`.
fn entry(number: Option<u64>, back: usize) -> Result<Entry, Stop> {
    let all = entries()?;
    let found = match number {
        Some(number) => all.into_iter().find(|e| e.number == number),
        None => all.into_iter().rev().nth(back),
    };
    found.ok_or_else(|| {
        let which = number.map_or_else(|| "none".to_owned(), |n| format!("no number {n}"));
        Stop {
            exit: Exit::Of(105),
            text: format!("{which} is in the history of this node; see: holdfast cib history"),
        }
    })
}

fn read(entry: &Entry) -> Result<Element, Stop> {
    entry.document().map_err(|e| Stop { exit: Exit::Of(65), text: e.to_string() })
}

fn history(json: bool, io: &mut Io) -> Result<Exit, Stop> {
    let mut rows = Vec::new();
    let mut before: Option<Element> = None;
    for entry in entries()? {
        let document = entry.document();
        let get = |name: &str| document.as_ref().ok().and_then(|d| d.get(name)).map(str::to_owned);
        let version = patch::VERSION.map(|name| get(name).unwrap_or_else(|| "?".into())).join(".");
        let changes = match (&before, &document) {
            (Some(before), Ok(now)) => between(before, now).ok().flatten().map(|p| count(&p)),
            _ => None,
        };
        rows.push(Row {
            number: entry.number,
            version,
            written: get("cib-last-written"),
            origin: get("update-origin"),
            client: get("update-client"),
            user: get("update-user"),
            changes,
            damaged: document.as_ref().err().map(ToString::to_string),
        });
        before = document.ok();
    }
    if json {
        let text = serde_json::to_string_pretty(&rows)
            .map_err(|e| Stop { exit: Exit::Software, text: e.to_string() })?;
        io.say(format_args!("{text}\n"));
        return Ok(Exit::Ok);
    }
    for row in &rows {
        if let Some(why) = &row.damaged {
            io.say(format_args!("{:>6}  {why}\n", row.number));
            continue;
        }
        let who = match (&row.user, &row.client, &row.origin) {
            (None, None, None) => String::new(),
            (user, client, origin) => {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
                format!("  by {} via {} on {}", or(user), or(client), or(origin))
            }
        };
        let changes = row.changes.map(|n| format!("  {n} changed")).unwrap_or_default();
        let written = row.written.as_deref().unwrap_or("-");
        io.say(format_args!("{:>6}  {:<10}  {written}{who}{changes}\n", row.number, row.version));
    }
    Ok(Exit::Ok)
}

/// What lies between two configurations, whatever their versions.
fn between(from: &Element, to: &Element) -> Result<Option<Element>, patch::PatchError> {
    let mut from = from.clone();
    from.attributes = to.attributes.clone();
    let mut made = patch::diff(&from, to)?;
    made.iter_mut().for_each(patch::strip_version);
    Ok(made)
}

fn count(patch: &Element) -> usize {
    patch.children.iter().filter(|c| c.name == "change").count()
}

fn diff(from: Option<u64>, to: Option<u64>, as_patch: bool, io: &mut Io) -> Result<Exit, Stop> {
    let (from, to) = (read(&entry(from, 1)?)?, read(&entry(to, 0)?)?);
    tell(&from, &to, as_patch, io)?;
    Ok(Exit::Ok)
}

/// Shows what lies between two; whether anything does.
fn tell(from: &Element, to: &Element, as_patch: bool, io: &mut Io) -> Result<bool, Stop> {
    let made = between(from, to).map_err(|e| Stop { exit: Exit::Of(65), text: e.to_string() })?;
    let Some(made) = made else { return Ok(false) };
    if as_patch {
        io.say(format_args!("{}", made.to_xml()));
    } else {
        io.say(format_args!("{}", lines(&made)));
    }
    Ok(true)
}

fn rollback(number: u64, dry_run: bool, io: &mut Io) -> Result<Exit, Stop> {
    let old = read(&entry(Some(number), 0)?)?;
    let Some(configuration) = old.child("configuration") else {
        return Err(Stop { exit: Exit::Of(65), text: format!("number {number} has no configuration") });
    };
    let mut cluster = admin::open()?;
    let now = cluster.cib(&Operation::query(None))?.unwrap_or_default();
    let only = |root: &Element| Element {
        children: root.child("configuration").cloned().into_iter().collect(),
        ..root.clone()
    };
    if !tell(&only(&now), &only(&old), false, io)? {
        io.say(format_args!("the configuration is that of number {number} already\n"));
        return Ok(Exit::Ok);
    }
    if dry_run {
        return Ok(Exit::Ok);
    }
    let replace = Operation {
        section: Some("configuration".into()),
        xml: Some(configuration.to_xml()),
        ..Operation::new(OperationKind::Replace)
    };
    cluster.cib(&replace)?;
    io.say(format_args!("the configuration is that of number {number} again\n"));
    Ok(Exit::Ok)
}

const EXAMPLES: &str = "\
Examples:
  holdfast cib history                who changed what, when
  holdfast cib diff                   what the last change was
  holdfast cib diff 17 19             what was changed from 17 to 19
  holdfast cib show 17 > old.xml
  holdfast cib rollback 17 --dry-run  what would be changed
  holdfast cib rollback 17

Exit status:
  0    done
  65   an entry is damaged
  77   only root may read the history
  78   the old configuration is not valid any more; nothing was changed
  102  the cluster does not run on this node
  105  there is no such entry

Environment:
  HOLDFAST_STATE_DIR    where the history is (default /var/lib/holdfast)
  CIB_file, CIB_shadow  a document that a rollback changes in place of the running cluster's";
