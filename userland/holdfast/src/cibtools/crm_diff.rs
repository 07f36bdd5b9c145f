//! `crm_diff`: what lies between two documents, and a document after that.

use std::fmt::Write;

use cib::operation::Refusal;
use cib::patch::{self, VERSION};
use cib::{Element, digest_versioned};

use super::getopt::{Given, Grammar, Opt, Takes};
use super::{Stop, parse, patch_text};
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_diff",
    about: "compare two documents, giving a patch, or apply one",
    groups: &[
        (
            "Options",
            &[
                Opt('?', "help", Takes::No, "This text"),
                Opt('h', "help-all", Takes::No, ""),
                Opt('$', "version", Takes::No, "Which version this stands in for"),
                Opt('V', "verbose", Takes::No, "Say more"),
            ],
        ),
        (
            "Original XML",
            &[
                Opt('o', "original", Takes::Value("FILE"), "It is in this file"),
                Opt('O', "original-string", Takes::Value("XML"), "It is this text"),
            ],
        ),
        (
            "Operation",
            &[
                Opt('n', "new", Takes::Value("FILE"), "Compare it with what is in this file; \"-\" is standard input"),
                Opt('N', "new-string", Takes::Value("XML"), "Compare it with this text"),
                Opt('p', "patch", Takes::Value("FILE"), "Apply the patch that is in this file"),
            ],
        ),
        (
            "Additional options",
            &[
                Opt('c', "cib", Takes::No, "They are whole documents: the patch has a digest, and fits its version only"),
                Opt('s', "stdin", Takes::No, "The original comes on standard input"),
                Opt('u', "no-version", Takes::No, "Without what a patch says of versions"),
            ],
        ),
    ],
    after: "\
Examples:
  crm_diff --original old.xml --new new.xml > patch.xml
  crm_diff --original old.xml --patch patch.xml > updated.xml
  cibadmin --patch --xml-file patch.xml

Exit status: 0 the same, or applied; 1 they differ, or the patch does not fit; 64 wrong usage; 65 no XML; 103 applied already",
};

pub(super) fn run(given: &Given, io: &mut Io) -> Result<u8, Stop> {
    if given.has('h') {
        io.say(format_args!("{}", GRAMMAR.usage()));
        return Ok(0);
    }
    if given.has('u') && given.has('c') {
        return Err(Stop::new(64, "error: -u/--no-version incompatible with -c/--cib"));
    }
    let from = given.last("oO").or_else(|| given.has('s').then_some(('o', Some("-"))));
    let from = read(from, "first", io)?;
    let with = given.last("nNp");
    let other = read(with, "second", io)?;
    if with.is_some_and(|(letter, _)| letter == 'p') {
        // The peer takes what is no patch for an empty one.
        if other.name != "diff" {
            io.say(format_args!("{}", from.to_xml()));
            return Ok(0);
        }
        let new = patch::apply(&from, &other, given.has('c'))
            .map_err(|e| Stop::refused("Could not apply patch", &Refusal::from(e)))?;
        io.say(format_args!("{}", new.to_xml()));
        return Ok(0);
    }
    compare(from, &other, given.has('c'), given.has('u'), io)
}

fn compare(mut from: Element, to: &Element, whole: bool, no_version: bool, io: &mut Io) -> Result<u8, Stop> {
    if no_version {
        for name in VERSION {
            match to.get(name) {
                Some(value) => from.attributes.insert(name, value),
                None => drop(from.attributes.remove(name)),
            }
        }
    }
    let made = patch::diff(&from, to).map_err(|e| Stop::new(65, e))?;
    let Some(mut made) = made else { return Ok(0) };
    if whole {
        made.attributes.insert("digest", digest_versioned(to, from.get("crm_feature_set")));
    }
    if no_version {
        patch::strip_version(&mut made);
    }
    io.say(format_args!("{}", patch_text(&made)));
    Ok(1)
}

fn read(source: Option<(char, Option<&str>)>, which: &str, io: &mut Io) -> Result<Element, Stop> {
    let wrong =
        |why: String| Stop::new(65, format_args!("  {why}\nCould not parse the {which} XML fragment"));
    match source {
        None => Err(wrong("no file was named; see crm_diff --help".into())),
        Some(('O' | 'N', text)) => parse(text.unwrap_or_default(), "text").map_err(wrong),
        Some((_, Some("-"))) => {
            let text = io.read_document().map_err(|e| wrong(e.to_string()))?;
            parse(&text, "standard input").map_err(wrong)
        }
        Some((_, file)) => {
            let file = file.unwrap_or_default();
            let text = std::fs::read_to_string(file).map_err(|e| wrong(format!("{file}: {e}")))?;
            parse(&text, file).map_err(wrong)
        }
    }
}

/// A patch for people: a line for each change.
pub(crate) fn lines(patch: &Element) -> String {
    let mut text = String::new();
    let get = |e: &Element, name: &str| e.get(name).unwrap_or_default().to_owned();
    // Writing to a String cannot fail.
    if let Some(version) = patch.child("version") {
        let of = |name| {
            let one = version.child(name);
            VERSION.map(|field| one.and_then(|v| v.get(field)).unwrap_or("0")).join(".")
        };
        let _ = writeln!(text, "Diff: --- {} 2", of("source"));
        let _ = writeln!(text, "Diff: +++ {} {}", of("target"), patch.get("digest").unwrap_or("(null)"));
    }
    for change in patch.children.iter().filter(|c| c.name == "change") {
        let path = get(change, "path");
        match change.get("operation") {
            Some("create") => {
                let prefix = format!("++ {path}:  ");
                let blank = format!("++{}", " ".repeat(prefix.chars().count() - 2));
                for new in &change.children {
                    for (i, line) in new.to_xml().lines().enumerate() {
                        let _ = writeln!(text, "{}{line}", if i == 0 { &prefix } else { &blank });
                    }
                }
            }
            Some("move") => {
                let _ = writeln!(text, "+~ {path} moved to offset {}", get(change, "position"));
            }
            Some("delete") => {
                let _ = writeln!(text, "-- {path}");
            }
            Some("modify") => {
                let entries = change.child("change-list").map_or(&[][..], |list| &list.children[..]);
                let of = |how: &str| -> Vec<String> {
                    let of = entries.iter().filter(|e| e.get("operation") == Some(how));
                    of.map(|e| match e.get("value") {
                        Some(value) => format!("@{}={value}", get(e, "name")),
                        None => format!("@{}", get(e, "name")),
                    })
                    .collect()
                };
                let (set, unset) = (of("set"), of("unset"));
                if !set.is_empty() {
                    let _ = writeln!(text, "+  {path}:  {}", set.join(", "));
                }
                if !unset.is_empty() {
                    let _ = writeln!(text, "-- {path}:  {}", unset.join(", "));
                }
            }
            _ => {}
        }
    }
    text
}
