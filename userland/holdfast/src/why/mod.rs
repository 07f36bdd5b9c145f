//! `holdfast why` and `holdfast doctor`: why something is where it is, and what to do next, from a cluster's document.

mod ask;
mod doctor;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ::advice::{Answer, View};

use self::ask::{Document, Source, Stop};
pub(crate) use self::doctor::{Args as DoctorArgs, run as run_doctor};
use crate::exit::Exit;
use crate::io::Io;

/// Say why a resource or a node is where it is, or as it is, and why the last fail-over was.
///
/// One sentence, then what it rests on: history of operations, fail counts, attributes, constraints, fencing, scores, and the operator's log.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A resource or a node
    #[arg(value_name = "RESOURCE|NODE")]
    name: String,
    #[command(flatten)]
    source: Source,
    /// The operator's log, for what the status has forgotten [default: that of this node, of a running cluster]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    whole(args, io).unwrap_or_else(|stop| {
        io.complain(format_args!("holdfast why: {}\n", stop.text));
        stop.exit
    })
}

fn whole(args: &Args, io: &mut Io) -> Result<Exit, Stop> {
    let document = Document::read(&args.source, io)?;
    let view = document.view()?;
    let Some(answer) = view.why(&args.name) else {
        let known = view.subjects().join(", ");
        let text = format!("there is no resource or node {}; there are {known}", args.name);
        return Err(Stop { text, exit: Exit::Usage });
    };
    let log = args.log.clone().or_else(|| document.live.then(ask::operator_log));
    let told = match (&args.log, log) {
        (Some(path), _) => told(path, &answer, &view).map_err(|e| Stop::file(path.display(), e))?,
        (None, Some(path)) => told(&path, &answer, &view).unwrap_or_default(),
        (None, None) => Vec::new(),
    };
    if args.json {
        let mut value = serde_json::to_value(&answer).unwrap_or_default();
        value["log"] = told.into();
        io.say(format_args!("{value:#}\n"));
        return Ok(Exit::Ok);
    }
    io.say(format_args!("{}\n", answer.sentence));
    for piece in &answer.evidence {
        io.say(format_args!("  {:<12} {}\n", piece.source, piece.what));
    }
    for line in &told {
        io.say(format_args!("  {:<12} {line}\n", "log"));
    }
    for (at, command) in answer.commands.iter().enumerate() {
        io.say(format_args!(
            "{} {command}\n",
            if at == 0 { "To lift what is in the way:" } else { "and:                       " }
        ));
    }
    Ok(Exit::Ok)
}

/// How much of the end of a log is looked at.
const LOG_TAIL: u64 = 1 << 20;
/// Most lines of it that are shown.
const LOG_LINES: usize = 12;

/// What the operator's log says of the last fail-over of it: how it began, why, and how it ended.
fn told(path: &Path, answer: &Answer, view: &View<'_>) -> std::io::Result<Vec<String>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let names = view.names_of(&answer.about);
    let speaks = |line: &str| {
        line.split(|c: char| c.is_whitespace() || matches!(c, '"' | ':' | '.' | ','))
            .any(|w| names.iter().any(|n| n == w))
    };
    // Each fail-over from its beginning to its end; the last that speaks of it counts.
    let (mut last, mut open): (Vec<String>, Option<VecDeque<String>>) = (Vec::new(), None);
    for line in text.lines() {
        let begins = line.ends_with(": Start to fail-over.");
        let ends = line.ends_with(": fail-over succeeded.") || line.ends_with(": fail-over failed.");
        if begins {
            open = Some(VecDeque::new());
        }
        let Some(lines) = &mut open else { continue };
        if begins || ends || line.contains(": Reason: ") || speaks(line) {
            lines.push_back(line.trim().to_owned());
        }
        if ends {
            let lines = open.take().unwrap_or_default();
            if lines.iter().any(|line| speaks(line)) {
                last = lines.into();
            }
        }
    }
    if let Some(lines) = open.filter(|lines| lines.iter().any(|line| speaks(line))) {
        last = lines.into();
    }
    last.truncate(LOG_LINES);
    Ok(last)
}

const EXAMPLES: &str = "\
Examples:
  holdfast why db                  why is db where it is? why did it move?
  holdfast why n1                  why is n1 offline, UNCLEAN, in standby?
  holdfast why -x cib.xml db       of a document that was saved
  cibadmin -Q | holdfast why -p db
  holdfast why db --json           for programs

Every score in detail: holdfast explain. What to do next: holdfast doctor. Why a machine went down: holdfast why-down.

Exit status:
  0   done
  64  wrong usage, or there is no such resource or node
  69  no cluster answers
  73  a file cannot be read

Environment:
  CIB_file, CIB_shadow  a document in place of the running cluster";
