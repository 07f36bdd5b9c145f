//! `crm_shadow`: copies of the configuration to try changes on.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use admin::{Cluster, File, shadow_file, write_document};
use cib::operation::{EMPTY, Operation, OperationKind, Refusal};
use cib::{Element, patch};

use super::getopt::{Given, Grammar, Opt, Takes};
use super::{Stop, crm_diff, parse};
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "crm_shadow",
    about: "try changes of the configuration on a copy, then commit them",
    groups: &[
        (
            "Options",
            &[
                Opt('?', "help", Takes::No, "This text"),
                Opt('$', "version", Takes::No, "Which version this stands in for"),
                Opt('V', "verbose", Takes::No, "Say more"),
            ],
        ),
        (
            "Queries",
            &[
                Opt('w', "which", Takes::No, "Which copy is in use (CIB_shadow)"),
                Opt('p', "display", Takes::No, "Show it"),
                Opt('E', "edit", Takes::No, "Edit it with $EDITOR"),
                Opt('d', "diff", Takes::No, "Show what was changed in it"),
                Opt('F', "file", Takes::No, "Show where it is"),
            ],
        ),
        (
            "Commands",
            &[
                Opt('c', "create", Takes::Value("NAME"), "Copy the configuration"),
                Opt('e', "create-empty", Takes::Value("NAME"), "Begin with an empty one"),
                Opt('C', "commit", Takes::Value("NAME"), "Put the copy in the place of the configuration"),
                Opt('D', "delete", Takes::Value("NAME"), "Remove the copy"),
                Opt('r', "reset", Takes::Value("NAME"), "Copy the configuration anew"),
                Opt('s', "switch", Takes::Value("NAME"), "Use another copy"),
            ],
        ),
        (
            "Additional options",
            &[
                Opt('f', "force", Takes::No, "Yes, I mean it"),
                Opt('b', "batch", Takes::No, "Start no shell"),
                Opt('a', "all", Takes::No, "With --commit: the status too"),
                Opt('v', "validate-with", Takes::Value("SCHEMA"), "With --create-empty: of this schema"),
            ],
        ),
    ],
    after: "\
Examples:
  crm_shadow --create try             copy the configuration, and start a shell that works on the copy
  crm_shadow --diff                   what was changed in it
  crm_shadow --commit try --force     the cluster takes it over
  crm_shadow --delete try --force     the copy is not needed any more

Exit status: 0 done; 1 --diff: something was changed; 64 wrong usage, or it needs --force; 73 there already; 105 not there

Environment:
  CIB_shadow        the copy in use
  CIB_shadow_dir    where copies are",
};

pub(super) fn run(given: &Given, io: &mut Io) -> Result<u8, Stop> {
    let Some((command, name)) = given.last("wpEdFceCDrs") else { return Err(Stop::usage("")) };
    let active = std::env::var("CIB_shadow").ok().filter(|name| !name.is_empty());
    let force = given.has('f');
    if matches!(command, 'C' | 'D') && !force {
        return Err(Stop::new(64, super::DANGEROUS));
    }
    let Some(name) = name else {
        let Some(active) = active else {
            return Err(Stop::new(105, "No active shadow configuration defined"));
        };
        return of_active(command, &active, io);
    };
    // A new copy beside the one in use would leave that one forgotten.
    if matches!(command, 'c' | 'e' | 'C' | 'D' | 'r')
        && let Some(active) = active.filter(|active| active != name && !force)
    {
        let what =
            format!("The supplied shadow instance ({name}) is not the same as the active one ({active}).");
        return Err(Stop::new(
            64,
            format_args!(
                "{what}\n  To prevent accidental destruction of the cluster, the --force flag is required in order to proceed."
            ),
        ));
    }
    let path = shadow_file(name).map_err(|e| Stop::new(64, e))?;
    match command {
        'c' | 'e' | 'r' => {
            if command != 'r' && path.exists() && !force {
                let what = format!(
                    "A shadow instance '{name}' already exists.\n  To prevent accidental destruction of the cluster, the --force flag is required in order to proceed."
                );
                return Err(Stop::new(73, what));
            }
            if command == 'r' && !path.exists() {
                return Err(missing(name));
            }
            let document = if command == 'e' { empty(given.get('v'), io)? } else { configuration()? };
            if let Some(folder) = path.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            write_document(&path, &document)
                .map_err(|e| Stop::new(73, format_args!("Couldn't create '{}': {e}", path.display())))?;
            enter(
                name,
                "A new shadow instance was created.  To begin using it paste the following into your shell:",
                given,
                io,
            )
        }
        's' => {
            if !path.exists() {
                return Err(missing(name));
            }
            enter(
                name,
                "To switch to the named shadow instance, paste the following into your shell:",
                given,
                io,
            )
        }
        'C' => {
            if !path.exists() {
                return Err(missing(name));
            }
            commit(&path, given.has('a'))?;
            leave(io);
            Ok(0)
        }
        _ => {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Stop::new(1, format_args!("Could not remove shadow instance '{name}': {e}")));
                }
                _ => {}
            }
            leave(io);
            Ok(0)
        }
    }
}

fn missing(name: &str) -> Stop {
    Stop::new(105, format_args!("Could not access shadow instance '{name}': No such file or directory"))
}

/// What needs no name: it is about the copy in use.
fn of_active(command: char, active: &str, io: &mut Io) -> Result<u8, Stop> {
    let path = shadow_file(active).map_err(|e| Stop::new(64, e))?;
    let read = || match path.exists() {
        true => File::open(&path).map_err(|r| Stop::refused("Could not query the CIB", &r)),
        false => Err(missing(active)),
    };
    match command {
        'w' => io.say(format_args!("{active}\n")),
        'F' => io.say(format_args!("{}\n", path.display())),
        'p' => io.say(format_args!("{}", read()?.document().to_xml())),
        'E' => return edit(&path),
        _ => {
            let old = configuration()?;
            let made = patch::diff(&old, read()?.document()).map_err(|e| Stop::new(65, e))?;
            let Some(made) = made else { return Ok(0) };
            io.say(format_args!("{}", crm_diff::lines(&made)));
            return Ok(1);
        }
    }
    Ok(0)
}

fn edit(path: &Path) -> Result<u8, Stop> {
    let Some(editor) = std::env::var_os("EDITOR") else {
        return Err(Stop::new(78, "No value for EDITOR defined; say which: export EDITOR=vi"));
    };
    let done = Command::new(editor).arg(path).status();
    match done {
        Ok(status) => Ok(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
        Err(e) => Err(Stop::new(71, format_args!("Could not invoke EDITOR ({e})"))),
    }
}

/// The cluster behind the copies.
fn cluster() -> Result<Box<dyn Cluster>, Refusal> {
    match std::env::var_os("CIB_file").filter(|file| !file.is_empty()) {
        Some(file) => Ok(Box::new(File::open(PathBuf::from(file))?)),
        None => Ok(admin::live()),
    }
}

fn configuration() -> Result<Element, Stop> {
    let found = cluster().and_then(|mut cluster| cluster.cib(&Operation::query(None)));
    match found {
        Ok(Some(document)) => Ok(document),
        Ok(None) => Err(Stop::new(105, "Could not connect to CIB: it is empty")),
        Err(refusal) => Err(Stop::refused("Could not connect to CIB", &refusal)),
    }
}

fn empty(schema: Option<&str>, io: &mut Io) -> Result<Element, Stop> {
    let mut document = parse(EMPTY, "empty CIB").map_err(|e| Stop::new(70, e))?;
    // So that whatever it is compared with is newer.
    document.attributes.insert("epoch", "0");
    if let Some(schema) = schema {
        document.attributes.insert("validate-with", schema);
    }
    io.say(format_args!("Created new {} configuration\n", document.get("validate-with").unwrap_or_default()));
    Ok(document)
}

fn commit(path: &Path, all: bool) -> Result<(), Stop> {
    let copy = File::open(path).map_err(|r| Stop::refused("Could not read the shadow instance", &r))?;
    let (section, what) = match all {
        true => (None, Some(copy.document())),
        false => (Some("configuration"), copy.document().child("configuration")),
    };
    let Some(what) = what else {
        return Err(Stop::new(
            78,
            "The shadow instance has no configuration; look at it: crm_shadow --display",
        ));
    };
    let replace = Operation {
        section: section.map(str::to_owned),
        xml: Some(what.to_xml()),
        ..Operation::new(OperationKind::Replace)
    };
    let done = cluster().and_then(|mut cluster| cluster.cib(&replace));
    done.map(drop).map_err(|r| Stop::refused("Could not commit shadow instance to the CIB", &r))
}

/// Into a shell that works on the copy, or says how to.
fn enter(name: &str, how: &str, given: &Given, io: &mut Io) -> Result<u8, Stop> {
    io.say(format_args!("Setting up shadow instance\n"));
    let shell = std::env::var_os("SHELL").filter(|_| !given.has('b'));
    let Some(shell) = shell else {
        io.say(format_args!("{how}\n  CIB_shadow={name} ; export CIB_shadow\n"));
        return Ok(0);
    };
    io.say(format_args!("Type Ctrl-D to exit the crm_shadow shell\n"));
    let mut command = Command::new(&shell);
    if Path::new(&shell).file_name().is_some_and(|n| n == "bash") {
        // Otherwise its files would set the prompt.
        command.args(["--norc", "--noprofile"]);
    }
    let error = command.env("CIB_shadow", name).env("PS1", format!("shadow[{name}] # ")).exec();
    Err(Stop::new(71, format_args!("Could not start {}: {error}", Path::new(&shell).display())))
}

fn leave(io: &mut Io) {
    io.say(format_args!("Please remember to unset the CIB_shadow variable by pasting the following into your shell:\n  unset CIB_shadow\n"));
}
