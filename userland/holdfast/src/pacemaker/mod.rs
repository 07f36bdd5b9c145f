//! Pacemaker's commands: what operators, agents and crmsh call, by the names, with the options, words and exit statuses that they
//! know from Pacemaker 2.1.5.
//!
//! A command is a [`Grammar`] and a function; [`STAND_INS`] lists them. They work on the cluster's document, wherever that is
//! ([`session`]), and ask rgmd for what no document has.

mod agents;
mod attrd_updater;
mod attributes;
mod crm_attribute;
mod crm_error;
mod crm_node;
mod crm_resource;
mod crm_rule;
mod crm_ticket;
mod crmadmin;
mod dates;
mod iso8601;
pub(crate) mod metadata;
mod options;
mod output;
mod pacemakerd;
mod results;
mod session;
mod stonith_admin;
mod wrappers;

use std::ffi::OsString;
use std::fmt::Display;

use cib::operation::Refusal;
use options::{Given, Grammar, Unread};
use output::Out;
use results::Code;

use crate::exit::Exit;
use crate::io::Io;

/// A command of Pacemaker's.
pub(crate) struct StandIn {
    grammar: &'static Grammar,
    /// Runs it with what stands behind its name.
    run: fn(&Grammar, &[String], &mut Io) -> Exit,
}

/// All of them.
pub(crate) const STAND_INS: &[StandIn] = &[
    StandIn { grammar: &attrd_updater::GRAMMAR, run: attrd_updater::run },
    StandIn { grammar: &crm_attribute::GRAMMAR, run: crm_attribute::run },
    StandIn { grammar: &crm_error::GRAMMAR, run: crm_error::run },
    StandIn { grammar: &wrappers::FAILCOUNT, run: wrappers::failcount },
    StandIn { grammar: &wrappers::MASTER, run: wrappers::master },
    StandIn { grammar: &crm_node::GRAMMAR, run: crm_node::run },
    StandIn { grammar: &crm_resource::GRAMMAR, run: crm_resource::run },
    StandIn { grammar: &crm_rule::GRAMMAR, run: crm_rule::run },
    StandIn { grammar: &wrappers::STANDBY, run: wrappers::standby },
    StandIn { grammar: &crm_ticket::GRAMMAR, run: crm_ticket::run },
    StandIn { grammar: &crmadmin::GRAMMAR, run: crmadmin::run },
    StandIn { grammar: &iso8601::GRAMMAR, run: iso8601::run },
    StandIn { grammar: &pacemakerd::GRAMMAR, run: pacemakerd::run },
    StandIn { grammar: &stonith_admin::GRAMMAR, run: stonith_admin::run },
];

impl StandIn {
    /// The name that it is called by.
    pub(crate) fn name(&self) -> &'static str {
        self.grammar.name
    }

    /// For manual pages and completions.
    pub(crate) fn command(&self) -> clap::Command {
        self.grammar.command()
    }

    /// Runs it. Words that are no UTF-8 lose what is not.
    pub(crate) fn run(&self, words: &[OsString], io: &mut Io) -> Exit {
        let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        (self.run)(self.grammar, &words, io)
    }
}

/// The command of this name.
pub(crate) fn named(name: &str) -> Option<&'static StandIn> {
    STAND_INS.iter().find(|s| s.grammar.name == name)
}

/// Why a command ends before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stop {
    exit: u8,
    /// What is said of it; empty: enough was said.
    text: String,
}

impl Stop {
    fn new(exit: u8, text: impl Display) -> Self {
        Self { exit, text: text.to_string() }
    }

    /// With nothing to add.
    const fn silent(exit: u8) -> Self {
        Self { exit, text: String::new() }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        let exit = u8::try_from(refusal.rc).ok().filter(|rc| *rc > 0).unwrap_or(1);
        Self::new(exit, refusal.text)
    }
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Self::new(code.exit(), format!("Error performing operation: {}", code.text()))
    }
}

const USAGE: u8 = 64;
const NO_SUCH: u8 = 105;

/// What the commands say that they are: scripts and crmsh look for what Pacemaker's have.
const VERSION: &str = "2.1.5";
const BUILD: &str = "a3f44794f94";
const FEATURE_SET: &str = "3.16.1";
const FEATURES: &[&str] = &["corosync-ge-2", "lha", "systemd"];

/// Reads the options, does the work, and says how it ended.
fn conduct(
    grammar: &Grammar,
    words: &[String],
    io: &mut Io,
    work: impl FnOnce(&Given, &mut Out<'_>) -> Result<u8, Stop>,
) -> Exit {
    let given = match grammar.read(words) {
        Ok(given) => given,
        Err(Unread::Help(text)) => {
            io.say(format_args!("{text}"));
            return Exit::Ok;
        }
        Err(Unread::Wrong(text)) => {
            io.complain(format_args!("{}: {text}\n", grammar.name));
            return Exit::Of(USAGE);
        }
    };
    let called: Vec<String> = std::iter::once(grammar.name.to_owned()).chain(words.iter().cloned()).collect();
    let format = given.get("output-as").unwrap_or("text");
    if !matches!(format, "text" | "xml") {
        let unknown = Code(-1002).text();
        io.complain(format_args!("{}: Error creating output format {format}: {unknown}\n", grammar.name));
        if grammar.name == "crm_resource" {
            io.complain(format_args!("Error performing operation: {}\n", results::exit_text(1)));
        }
        return Exit::Of(1);
    }
    let file = match given.get("output-to").filter(|to| *to != "-").map(|to| (to, std::fs::File::create(to)))
    {
        None => None,
        Some((_, Ok(file))) => Some(file),
        Some((to, Err(e))) => {
            io.complain(format_args!("{}: {to}: {e}\n", grammar.name));
            return Exit::CannotCreate;
        }
    };
    let mut out = Out::new((format == "xml").then_some(&called[..]), file, io);
    out.quiet = given.has("quiet");
    out.fancy = given.has("text-fancy");
    if given.has("version") {
        version(&mut out);
        return out.finish(0);
    }
    let status = match work(&given, &mut out) {
        Ok(status) => status,
        Err(stop) => {
            if !stop.text.is_empty() {
                out.error(format_args!("{}: {}", grammar.name, stop.text));
            }
            stop.exit
        }
    };
    out.finish(status)
}

fn version(out: &mut Out<'_>) {
    out.print(format_args!(
        "Pacemaker {VERSION}\nWritten by Andrew Beekhof and the Pacemaker project contributors\n"
    ));
    let node = output::Node::new("version")
        .with("program", "Pacemaker")
        .with("version", VERSION)
        .with("author", "Andrew Beekhof and the Pacemaker project contributors")
        .with("build", BUILD)
        .with("features", FEATURES.join(" "));
    out.add(node);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_manual_page_and_answers_help() {
        for stand_in in STAND_INS {
            stand_in.command().debug_assert();
            let (mut io, said) = Io::captured("");
            assert_eq!(stand_in.run(&["--help-all".into()], &mut io), Exit::Ok, "{}", stand_in.name());
            let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
            assert!(said.starts_with(&format!("Usage:\n  {}", stand_in.name())), "{said}");
        }
    }
}
