//! Pacemaker's commands on the document as such: `cibadmin`, `crm_diff`, `crm_shadow`, with the options, words and exit statuses of
//! 2.1.5. What is wrong is said in its words first, then in ours, with the remedy.

mod cibadmin;
mod crm_diff;
mod crm_shadow;
mod getopt;

use std::ffi::OsString;

use cib::Element;
use cib::operation::Refusal;

pub(crate) use self::crm_diff::lines;
use self::getopt::{Given, Grammar};
use crate::exit::Exit;
use crate::io::Io;

type Run = fn(&Given, &mut Io) -> Result<u8, Stop>;

const ALL: [(&Grammar, Run); 3] = [
    (&cibadmin::GRAMMAR, cibadmin::run),
    (&crm_diff::GRAMMAR, crm_diff::run),
    (&crm_shadow::GRAMMAR, crm_shadow::run),
];

/// For manual pages and completions.
pub(crate) fn commands() -> impl Iterator<Item = clap::Command> {
    ALL.iter().map(|(grammar, _)| grammar.command())
}

/// Runs the command of this name with what stands behind it; `None`: it is another one's name.
pub(crate) fn called(name: &str, words: &[OsString], io: &mut Io) -> Option<Exit> {
    let (grammar, run) = ALL.iter().find(|(grammar, _)| grammar.name == name)?;
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let given = match grammar.read(&words) {
        Ok(given) => given,
        Err(wrong) => {
            io.complain(format_args!("{name}: {wrong}\n{}", grammar.usage()));
            return Some(Exit::Usage);
        }
    };
    if given.has('?') {
        io.say(format_args!("{}", grammar.usage()));
        return Some(Exit::Ok);
    }
    if given.has('$') {
        let who = "Written by Andrew Beekhof and the Pacemaker project contributors";
        io.say(format_args!("Pacemaker 2.1.5\n{who}\n"));
        return Some(Exit::Ok);
    }
    if !given.rest.is_empty() {
        io.complain(format_args!("{name}: not understood: {}\n{}", given.rest.join(" "), grammar.usage()));
        return Some(Exit::Usage);
    }
    Some(match run(&given, io) {
        Ok(status) => Exit::Of(status),
        Err(stop) => {
            io.complain(format_args!("{}", stop.text));
            if stop.usage {
                io.complain(format_args!("{}", grammar.usage()));
            }
            Exit::Of(stop.status)
        }
    })
}

/// Why a command ends before it is done: what is said of it, with its line ends.
struct Stop {
    status: u8,
    text: String,
    /// The help follows.
    usage: bool,
}

impl Stop {
    fn new(status: u8, text: impl std::fmt::Display) -> Self {
        Self { status, text: format!("{text}\n"), usage: false }
    }

    fn usage(text: &str) -> Self {
        let text = if text.is_empty() { String::new() } else { format!("{text}\n") };
        Self { status: 64, text, usage: true }
    }

    /// In the peer's words, `{before}: {text}`, then what is wrong in detail.
    fn refused(before: &str, refusal: &Refusal) -> Self {
        let mut text: String = refusal.details.iter().map(|line| format!("  {line}\n")).collect();
        text += &format!("{before}: {}\n", refusal.text);
        Self { status: status(refusal), text, usage: false }
    }
}

fn status(refusal: &Refusal) -> u8 {
    u8::try_from(refusal.rc).ok().filter(|rc| *rc > 0).unwrap_or(1)
}

/// What would destroy something asks to be said twice.
const DANGEROUS: &str = "The supplied command is considered dangerous.  To prevent accidental destruction of the cluster, the --force flag is required in order to proceed.";

/// A document that a command was given: as text, in a file, or (`-`) on standard input.
fn parse(text: &str, name: &str) -> Result<Element, String> {
    Element::parse(text, name).map_err(|e| e.to_string())
}

/// As the peer writes patches: quotes of both kinds are references.
fn patch_text(patch: &Element) -> String {
    patch.to_xml().replace('\'', "&apos;")
}
