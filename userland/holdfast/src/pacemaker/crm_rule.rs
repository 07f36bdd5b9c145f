//! `crm_rule`: whether a rule is in effect at a date.

use cib::Element;

use super::dates::{self, Date};
use super::options::{Given, Grammar, Group, flag, value};
use super::output::{Node, Out};
use super::results::Code;
use super::session::Session;
use super::{Stop, USAGE, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_rule",
    about: "crm_rule - see whether rules of the configuration are in effect",
    rest: "",
    output: true,
    help: 'h',
    main: &[],
    groups: &[
        Group {
            name: "modes",
            title: "Modes (mutually exclusive):",
            about: "Show modes of operation",
            options: &[flag("check", 'c', "See whether a rule is in effect")],
        },
        Group {
            name: "data",
            title: "Data:",
            about: "Show data options",
            options: &[value("xml-text", 'X', "XML", "In this document, or that on standard input (-)")],
        },
        Group {
            name: "additional",
            title: "Additional Options:",
            about: "Show additional options",
            options: &[
                value("date", 'd', "DATE", "At this date, and not now"),
                value("rule", 'r', "ID", "The rule; several can be given"),
            ],
        },
    ],
    examples: "\
Examples:
  crm_rule --check --rule office-hours-rule
  crm_rule --check --rule office-hours-rule --date '2026-12-24 18:00'

Only rules with one date_expression can be checked, and date_spec only with years= and without moon=.

Exit status: 0 in effect; 3 cannot be checked; 64 wrong usage; 65 no such date; 105 no such rule; 110 over; 111 not yet; 112 not clear",
};

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, work)
}

fn work(given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    if !given.has("check") {
        return Err(Stop::new(USAGE, "No mode operation given"));
    }
    if !given.has("rule") {
        return Err(Stop::new(USAGE, "--check requires use of --rule="));
    }
    let date = match given.get("date") {
        None => dates::now(),
        Some(text) => {
            dates::parse(text).ok_or_else(|| Stop::new(65, format!("Invalid date specified: '{text}'")))?
        }
    };
    let parse = |text: &str, whose: &str| {
        Element::parse(text, whose).map_err(|e| Stop::new(65, format!("Couldn't parse input: {e}")))
    };
    let document = match given.get("xml-text") {
        Some("-") => {
            let text = out.io().read_document().map_err(|e| Stop::new(65, format!("standard input: {e}")))?;
            parse(&text, "standard input")?
        }
        Some(text) => parse(text, "text")?,
        None => Session::open()?.document()?,
    };
    let mut status = 0;
    for id in given.all("rule") {
        let result = check(&document, id, date);
        let code = result.as_ref().err().map_or(0, |(code, _)| code.exit());
        if out.is_xml() {
            out.add(Node::new("rule-check").with("rule-id", id).with("rc", code.to_string()));
            if let Err((_, why)) = &result
                && !why.is_empty()
            {
                out.error(format_args!("Could not determine whether rule {id} is in effect: {why}"));
            }
        } else {
            match &result {
                Ok(()) => out.print(format_args!("Rule {id} is still in effect\n")),
                Err((Code::AFTER_RANGE, _)) => out.print(format_args!("Rule {id} is expired\n")),
                Err((Code::BEFORE_RANGE, _)) => {
                    out.print(format_args!("Rule {id} has not yet taken effect\n"))
                }
                Err((Code(-1021), _)) => {
                    out.print(format_args!("Rule {id} is not satisfied by the current date\n"));
                }
                Err((_, why)) => {
                    out.error(format_args!("Could not determine whether rule {id} is in effect: {why}"));
                }
            }
        }
        status = code;
        if code != 0 {
            break;
        }
    }
    Ok(status)
}

/// Whether a rule is in effect, or how it is not.
fn check(document: &Element, id: &str, at: Date) -> Result<(), (Code, &'static str)> {
    let constraints = document.child("configuration").and_then(|c| c.child("constraints"));
    let mut found = Vec::new();
    if let Some(constraints) = constraints {
        constraints.walk(&mut |e| found.extend((e.name == "rule" && e.id() == Some(id)).then_some(e)));
    }
    let rule = match found[..] {
        [] => return Err((Code::NXIO, "Rule not found")),
        [rule] => rule,
        _ => return Err((Code::DUPLICATE_ID, "Found more than one rule with matching ID")),
    };
    let mut dates = Vec::new();
    rule.walk(&mut |e| dates.extend((e.name == "date_expression").then_some(e)));
    let expression = match dates[..] {
        [] => return Err((Code::NOTSUP, "Rule does not have a date expression")),
        [one] => one,
        _ => return Err((Code::NOTSUP, "Rule has more than one date expression")),
    };
    let spec = expression.child("date_spec");
    let operation = expression.get("operation").unwrap_or("in_range");
    if operation == "date_spec" && !spec.is_some_and(|s| s.get("years").is_some() && s.get("moon").is_none())
    {
        let text = "Rule must either not use date_spec, or use date_spec with years= but not moon=";
        return Err((Code::NOTSUP, text));
    }
    let unclear = (Code::UNDETERMINED, "Error parsing rule");
    let date = |name: &str| expression.get(name).map(|text| dates::parse(text).ok_or(unclear)).transpose();
    let (start, mut end) = (date("start")?, date("end")?);
    if let (Some(begin), None, Some(duration)) = (start, end, expression.child("duration")) {
        end = begin.moment.plus(duration).map(|moment| dates::at(moment.0, 0));
    }
    let now = at.moment;
    match operation {
        "in_range" if start.is_none() && end.is_none() => Err(unclear),
        "in_range" => {
            if start.is_some_and(|s| now < s.moment) {
                Err((Code::BEFORE_RANGE, ""))
            } else if end.is_some_and(|e| now > e.moment) {
                Err((Code::AFTER_RANGE, ""))
            } else {
                Ok(())
            }
        }
        "date_spec" => match spec {
            // What has a year is over when that is, and not to come any more.
            Some(spec) if now.is_in(spec) => Ok(()),
            Some(spec) => Err(year_of(spec, at)),
            None => Err(unclear),
        },
        "gt" => {
            let start = start.ok_or(unclear)?;
            if now > start.moment { Ok(()) } else { Err((Code::BEFORE_RANGE, "")) }
        }
        "lt" => {
            let end = end.ok_or(unclear)?;
            if now < end.moment { Ok(()) } else { Err((Code::AFTER_RANGE, "")) }
        }
        _ => Err(unclear),
    }
}

/// How a `date_spec` that is not met is not: by its years, or by less.
fn year_of(spec: &Element, at: Date) -> (Code, &'static str) {
    let shown = at.moment.display();
    let year = shown.get(..4).and_then(|y| y.parse::<i64>().ok()).unwrap_or(0);
    let (low, high) = match spec.get("years").unwrap_or_default().split_once('-') {
        Some((low, high)) => (low.trim().parse::<i64>().ok(), high.trim().parse::<i64>().ok()),
        None => {
            let one = spec.get("years").and_then(|y| y.trim().parse().ok());
            (one, one)
        }
    };
    if low.is_some_and(|low| year < low) {
        (Code::BEFORE_RANGE, "")
    } else if high.is_some_and(|high| year > high) {
        (Code::AFTER_RANGE, "")
    } else {
        (Code(-1021), "")
    }
}
