//! `crm_ticket`: what this site may run because another one does not.

use std::fmt::Write;

use cib::{Element, parse_bool};
use scheduler::WorkingSet;

use super::options::{Given, Grammar, Group, flag, value};
use super::output::Out;
use super::results::Code;
use super::session::{Session, clock, ctime};
use super::{NO_SUCH, Stop, USAGE, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_ticket",
    about: "crm_ticket - show, give and take a site's tickets",
    rest: "",
    output: false,
    help: 'h',
    main: &[],
    groups: &[
        Group {
            name: "queries",
            title: "Queries:",
            about: "Show queries",
            options: &[
                flag("info", 'l', "Show tickets"),
                flag("details", 'L', "Show all that is known of them"),
                flag("raw", 'w', "Show their names alone"),
                flag("query-xml", 'q', "Show them as the document has them"),
                flag("constraints", 'c', "Show the constraints that ask for them"),
            ],
        },
        Group {
            name: "commands",
            title: "Commands:",
            about: "Show command options",
            options: &[
                flag("grant", 'g', "This site has the ticket"),
                flag("revoke", 'r', "This site has it no more"),
                flag("standby", 's', "What needs it is to stop in good order"),
                flag("activate", 'a', "What needs it may run again"),
            ],
        },
        Group {
            name: "advanced",
            title: "Advanced Options:",
            about: "Show advanced options",
            options: &[
                value("get-attr", 'G', "ATTRIBUTE", "Show an attribute of a ticket"),
                value("set-attr", 'S', "ATTRIBUTE", "Set one to the value of -v"),
                value("delete-attr", 'D', "ATTRIBUTE", "Delete one"),
                flag("cleanup", 'C', "Forget the ticket on this site"),
            ],
        },
        Group {
            name: "additional",
            title: "Additional Options:",
            about: "Show additional options",
            options: &[
                value("attr-value", 'v', "VALUE", "The value for -S"),
                value("default", 'd', "VALUE", "What -G shows where there is none"),
                flag("force", 'f', "Give or take it without asking the other sites"),
                value("ticket", 't', "ID", "The ticket"),
                value("xml-file", 'x', "FILE", ""),
            ],
        },
        Group {
            name: "deprecated",
            title: "Deprecated Options:",
            about: "Show deprecated options",
            options: &[
                value("set-name", 'n', "ID", "Taken and not needed"),
                value("nvpair", 'i', "ID", "Taken and not needed"),
                flag("quiet", 'Q', "Taken and not needed"),
            ],
        },
    ],
    examples: "\
Examples:
  crm_ticket --info
  crm_ticket --ticket site-a --constraints        what happens when it is gone?
  crm_ticket --ticket site-a --standby            stop what needs it in good order
  crm_ticket --ticket site-a --grant --force      this site has it, and I know that no other has
  crm_ticket --ticket site-a --get-attr granted

Exit status: 0; 4 needs --force; 64 wrong usage; 105 no such ticket",
};

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, |given, out| {
        out.quiet = false;
        work(given, out)
    })
}

fn work(given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    let asked = Asked::read(given);
    let ticket = given.get("ticket");
    let mut session = Session::open().map_err(|r| {
        let stop = Stop::from(r);
        Stop { text: format!("Could not connect to the CIB: {}", stop.text), ..stop }
    })?;
    let document = match given.get("xml-file") {
        Some(file) => {
            let read = std::fs::read_to_string(file).map_err(|e| e.to_string());
            let parsed = read.and_then(|t| Element::parse(&t, file).map_err(|e| e.to_string()));
            cib::upgrade(parsed.map_err(|e| Stop::new(78, format!("{file}: {e}")))?).root
        }
        None => session.upgraded()?,
    };
    let mut set = WorkingSet::new(&document, clock()).map_err(|e| Stop::new(78, e))?;
    // A ticket that a constraint asks for is one, though nobody has had it yet.
    set.read_constraints_only();
    let known = |id: &str| set.ticket_states().find(|(name, ..)| *name == id);
    let no_such = |id: &str| Stop::new(NO_SUCH, format!("No such ticket '{id}'"));
    let named = || ticket.ok_or_else(|| Stop::new(USAGE, "Must supply ticket ID with -t"));
    let state = |id: &str| {
        let tickets = document.child("status").and_then(|s| s.child("tickets"));
        tickets.and_then(|t| t.children_named("ticket_state").find(|s| s.id() == Some(id)))
    };
    match asked.command {
        Some(command @ ("info" | "details" | "raw")) => {
            let one = ticket.map(|id| known(id).ok_or_else(|| no_such(id))).transpose()?;
            let all: Vec<_> = one.map_or_else(|| set.ticket_states().collect(), |one| vec![one]);
            for (name, granted, standby) in all {
                out.print(format_args!("{}\n", line(name, granted, standby, state(name), command)));
            }
        }
        Some("query-xml") => {
            let found = match ticket {
                Some(id) => state(id),
                None => document.child("status").and_then(|s| s.child("tickets")),
            };
            let found = found.ok_or_else(|| {
                Stop::new(NO_SUCH, format!("Could not query ticket XML: {}", Code::NXIO.text()))
            })?;
            out.print(format_args!("State XML:\n\n{}", found.to_xml()));
        }
        Some("constraints") => {
            let section = document.child("configuration").and_then(|c| c.child("constraints"));
            let wanted = |c: &&Element| ticket.is_none_or(|id| c.get("ticket") == Some(id));
            let found: Vec<&Element> =
                section.iter().flat_map(|s| s.children_named("rsc_ticket")).filter(wanted).collect();
            let shown = match found[..] {
                [] => {
                    let text = format!("Could not show ticket constraints: {}", Code::NXIO.text());
                    return Err(Stop::new(NO_SUCH, text));
                }
                [one] => one.to_xml(),
                _ => {
                    let mut all = Element::new("xpath-query");
                    all.children = found.into_iter().cloned().collect();
                    all.to_xml()
                }
            };
            out.print(format_args!("Constraints XML:\n\n{shown}"));
        }
        Some("get-attr") => {
            let id = ticket.ok_or_else(|| Stop::new(NO_SUCH, "Must supply ticket ID with -t"))?;
            let value = given.get("get-attr").and_then(|name| state(id)?.get(name)).or(given.get("default"));
            let Some(value) = value else { return Ok(NO_SUCH) };
            out.print(format_args!("{value}\n"));
        }
        Some("cleanup") => {
            let id = named()?;
            if !given.has("force") {
                let (_, granted, _) = known(id).ok_or_else(|| no_such(id))?;
                if granted {
                    warn(id, "revoke", out);
                    return Ok(4);
                }
            }
            if let Some(state) = state(id) {
                session.delete("status", state)?;
                out.print(format_args!("Cleaned up {id}\n"));
            }
        }
        _ if !asked.set.is_empty() || !asked.delete.is_empty() => {
            let id = named()?;
            if let Some((name, None)) = &asked.half {
                return Err(Stop::new(USAGE, format!("Must supply attribute value with -v for -S {name}")));
            }
            if let Some((_, Some(value))) = &asked.half {
                return Err(Stop::new(USAGE, format!("Must supply attribute name with -S for -v {value}")));
            }
            if let Some(action) = asked.unsafe_action().filter(|_| !given.has("force")) {
                warn(id, action, out);
                return Err(Stop::new(4, "Ticket modification not allowed"));
            }
            asked.change(id, state(id), &mut session)?;
        }
        _ => match &asked.half {
            Some((name, None)) => {
                named()?;
                return Err(Stop::new(USAGE, format!("Must supply value with -v for -S {name}")));
            }
            _ => return Err(Stop::new(USAGE, "Must supply a command")),
        },
    }
    Ok(0)
}

/// What the options come to, in their order.
#[derive(Default)]
struct Asked {
    command: Option<&'static str>,
    set: Vec<(String, String)>,
    delete: Vec<String>,
    /// A name without a value, or a value without a name.
    half: Option<(String, Option<String>)>,
}

impl Asked {
    fn read(given: &Given) -> Self {
        let mut asked = Self::default();
        let (mut name, mut value_of) = (None, None);
        for (option, value) in &given.options {
            let value = value.clone().unwrap_or_default();
            let mut set = |name: &str, value: &str| {
                asked.set.retain(|(n, _)| n != name);
                asked.set.push((name.to_owned(), value.to_owned()));
            };
            match *option {
                "grant" => set("granted", "true"),
                "revoke" => set("granted", "false"),
                "standby" => set("standby", "true"),
                "activate" => set("standby", "false"),
                "delete-attr" => asked.delete.push(value),
                "set-attr" => name = Some(value),
                "attr-value" => value_of = Some(value),
                "info" | "details" | "raw" | "query-xml" | "constraints" | "cleanup" | "get-attr" => {
                    asked.command = Some(option);
                }
                _ => {}
            }
            if let (Some(name), Some(value)) = (&name, &value_of) {
                asked.set.retain(|(n, _)| n != name);
                asked.set.push((name.clone(), value.clone()));
            }
            if name.is_some() && value_of.is_some() {
                (name, value_of) = (None, None);
            }
        }
        asked.half = match (name, value_of) {
            (Some(name), _) => Some((name, None)),
            (None, Some(value)) => Some((String::new(), Some(value))),
            (None, None) => None,
        };
        asked
    }

    /// What is asked for that another site may have to know.
    fn unsafe_action(&self) -> Option<&'static str> {
        let granted = self.set.iter().find(|(name, _)| name == "granted");
        match granted {
            Some((_, value)) if parse_bool(value) == Some(true) => Some("grant"),
            Some(_) => Some("revoke"),
            None => self.delete.iter().any(|d| d.eq_ignore_ascii_case("granted")).then_some("revoke"),
        }
    }

    fn change(&self, id: &str, state: Option<&Element>, session: &mut Session) -> Result<(), Stop> {
        if state.is_none() && self.set.is_empty() {
            return Ok(());
        }
        let mut changed = state.cloned().unwrap_or_else(|| Element::new("ticket_state").with("id", id));
        let had = changed.get("granted").and_then(parse_bool) == Some(true);
        for name in &self.delete {
            changed.attributes.remove(name);
        }
        for (name, value) in &self.set {
            changed.attributes.insert(name, value);
            if name == "granted" && !had && parse_bool(value) == Some(true) {
                changed.attributes.insert("last-granted", clock().0.to_string());
            }
        }
        if state.is_some() {
            // Taking attributes out is only possible by putting the whole in the place of what was there.
            let done = match self.delete.is_empty() {
                true => session.modify("status", &changed),
                false => session.replace("status", &changed),
            };
            return done.map_err(Stop::from);
        }
        let mut tickets = Element::new("tickets");
        tickets.children.push(changed);
        let mut status = Element::new("status");
        status.children.push(tickets);
        session.modify("status", &status).map_err(Stop::from)
    }
}

fn line(name: &str, granted: bool, standby: bool, state: Option<&Element>, command: &str) -> String {
    if command == "raw" {
        return name.to_owned();
    }
    let word = if granted { "granted" } else { "revoked" };
    let mut text = format!("{name}\t{word} {}", if standby { "[standby]" } else { "         " });
    let date = |value: &str| format!("'{}'", ctime(value.trim().parse().unwrap_or(0)));
    let pairs: Vec<_> = state.iter().flat_map(|s| s.attributes.iter()).filter(|(n, _)| *n != "id").collect();
    if command == "details" && !pairs.is_empty() {
        let shown: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| match name {
                "last-granted" | "expires" => format!("{name}={}", date(value)),
                _ => format!("{name}={value}"),
            })
            .collect();
        let _ = write!(text, " ({})", shown.join(", ")); // a String takes everything
    } else if let Some(last) = state.and_then(|s| s.get("last-granted")) {
        let _ = write!(text, " last-granted={}", date(last));
    }
    text
}

fn warn(id: &str, action: &str, out: &mut Out<'_>) {
    let word = if action == "grant" {
        out.print(format_args!(
            "This command cannot help you verify whether '{id}' has been already granted elsewhere.\n"
        ));
        "to"
    } else {
        out.print(format_args!(
            "Revoking '{id}' can trigger the specified 'loss-policy'(s) relating to '{id}'.\n\n\
             You can check that with:\ncrm_ticket --ticket {id} --constraints\n\n\
             Otherwise before revoking '{id}', you may want to make '{id}' standby with:\n\
             crm_ticket --ticket {id} --standby\n\n"
        ));
        "from"
    };
    out.print(format_args!(
        "If you really want to {action} '{id}' {word} this site now, and you know what you are doing,\nplease specify --force.\n"
    ));
}
