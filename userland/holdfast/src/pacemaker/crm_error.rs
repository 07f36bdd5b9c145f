//! `crm_error`: what a number means.

use super::options::{Given, Grammar, flag};
use super::output::{Node, Out};
use super::results::{Family, describe};
use super::{Stop, conduct};
use crate::exit::Exit;
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_error",
    about: "crm_error - the name and meaning of a result",
    rest: "[-- <rc> [<rc>...]]",
    output: true,
    help: 'h',
    main: &[
        flag("name", 'n', "Show the name that the source code has for it, too"),
        flag("list", 'l', "Show all (default without a number)"),
        flag("exit", 'X', "It is an exit status"),
        flag("rc", 'r', "It is the result of a function"),
    ],
    groups: &[],
    examples: "\
Examples:
  crm_error -X 105       what did the command mean by its exit status?
  crm_error -X -l        what may they mean?

Exit status: 0",
};

pub(super) fn run(grammar: &Grammar, words: &[String], io: &mut Io) -> Exit {
    conduct(grammar, words, io, work)
}

fn work(given: &Given, out: &mut Out<'_>) -> Result<u8, Stop> {
    let family = match given.last_of(&["exit", "rc"]) {
        Some("exit") => Family::Exit,
        Some(_) => Family::Code,
        None => Family::Legacy,
    };
    if given.has("list") || given.rest.is_empty() {
        for number in family.numbers() {
            show(family, number, given.has("name"), true, out);
        }
        return Ok(0);
    }
    for word in &given.rest {
        // What is no number is the smallest one: so it is told from all that mean something.
        show(family, word.trim().parse().unwrap_or(i32::MIN), given.has("name"), given.has("verbose"), out);
    }
    Ok(0)
}

fn show(family: Family, number: i32, with_name: bool, with_number: bool, out: &mut Out<'_>) {
    let (name, words) = describe(family, number);
    let name = with_name.then_some(name);
    if out.is_xml() {
        let node = Node::new("result-code").with("code", number.to_string());
        out.add(node.maybe("name", name).with("description", words));
        return;
    }
    match (name, with_number) {
        (Some(name), true) => out.print(format_args!("{number:>5}: {name:<26}  {words}\n")),
        (None, true) => out.print(format_args!("{number:>5}: {words}\n")),
        (Some(name), false) => out.print(format_args!("{name} - {words}\n")),
        (None, false) => out.print(format_args!("{words}\n")),
    }
}
