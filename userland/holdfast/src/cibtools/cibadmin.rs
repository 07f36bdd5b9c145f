//! `cibadmin`: reads and changes the document.

use cib::Element;
use cib::operation::{EMPTY, Operation, OperationKind, Options, Refusal};

use super::getopt::{Given, Grammar, Opt, Takes};
use super::{DANGEROUS, Stop, parse, status};
use crate::io::Io;

pub(super) const GRAMMAR: Grammar = Grammar {
    name: "cibadmin",
    about: "read and change the cluster's configuration and status as XML",
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
            "Commands (the last one counts)",
            &[
                Opt('u', "upgrade", Takes::No, "Bring the configuration to the newest schema"),
                Opt('Q', "query", Takes::No, "Show it, or the part that --scope or --xpath names"),
                Opt('E', "erase", Takes::No, "Empty it"),
                Opt('B', "bump", Takes::No, "Raise its epoch by 1"),
                Opt('C', "create", Takes::No, "Add an element; refused if it is there"),
                Opt('M', "modify", Takes::No, "Merge into an element; refused if it is not there, unless -c is given"),
                Opt('P', "patch", Takes::No, "Apply a patch, as crm_diff makes it"),
                Opt('R', "replace", Takes::No, "Put an element, with all below, in the place of one"),
                Opt('D', "delete", Takes::No, "Take out the first element with this name and all these attributes"),
                Opt('d', "delete-all", Takes::No, "Take out all that --xpath selects"),
                Opt('a', "empty", Takes::Bound("SCHEMA"), "Print an empty document"),
                Opt('5', "md5-sum", Takes::No, "Print the digest of a document in a file"),
                Opt('6', "md5-sum-versioned", Takes::No, "Print the digest of a document that peers compare"),
                Opt('!', "features", Takes::No, ""),
                Opt('b', "dangerous-cmd", Takes::No, ""),
            ],
        ),
        (
            "Additional options",
            &[
                Opt('f', "force", Takes::No, "Yes, I mean it"),
                Opt('t', "timeout", Takes::Value("SECONDS"), "Taken; rgmd's own limits count"),
                Opt('U', "user", Takes::Value("NAME"), "With the permissions of this user (only root and hacluster may say so)"),
                Opt('s', "sync-call", Takes::No, "Wait for the answer (always so)"),
                Opt('l', "local", Takes::No, "Ask this node (always so)"),
                Opt('c', "allow-create", Takes::No, "With --modify: add what is not there"),
                Opt('n', "no-children", Takes::No, "With --query: without what is below"),
                Opt('N', "node", Takes::Value("NODE"), "Taken; every node has the same"),
                Opt('w', "no-bcast", Takes::No, ""),
            ],
        ),
        (
            "Data",
            &[
                Opt('X', "xml-text", Takes::Value("XML"), "XML to work with"),
                Opt('x', "xml-file", Takes::Value("FILE"), "A file with it"),
                Opt('p', "xml-pipe", Takes::No, "It comes on standard input"),
                Opt('o', "scope", Takes::Value("SECTION"), "Only in this section: configuration, nodes, resources, constraints, crm_config, rsc_defaults, op_defaults, acls, fencing-topology, tags, alerts, status"),
                Opt('A', "xpath", Takes::Value("XPATH"), "What an XPath selects, in place of --scope"),
                Opt('e', "node-path", Takes::No, "With --query --xpath: the paths of what is found"),
            ],
        ),
    ],
    after: "\
Examples:
  cibadmin --query --scope crm_config
  cibadmin --query --xpath \"//nvpair[@name='target-role']\"
  cibadmin --create --scope resources --xml-text '<primitive id=\"ip\" class=\"ocf\" provider=\"heartbeat\" type=\"IPaddr2\"/>'
  cibadmin --modify --xml-text '<nvpair id=\"ip-role\" value=\"Stopped\"/>'
  cibadmin --delete --xml-text '<primitive id=\"old\"/>'
  cibadmin --query > new.xml; $EDITOR new.xml; cibadmin --replace --xml-file new.xml
  CIB_file=test.xml cibadmin --bump      on a document in a file

Exit status: 0 done; 4 not permitted; 64 wrong usage; 78 not valid; 102 the cluster does not run here; 103 older than what is there;
105 not there; 107 needs --force; 108 there already

Environment:
  CIB_file, CIB_shadow    a document in place of the running cluster's
  CIB_user                as --user",
};

pub(super) fn run(given: &Given, io: &mut Io) -> Result<u8, Stop> {
    if given.has('!') {
        io.say(format_args!("Pacemaker 2.1.5 (Holdfast {})\n", env!("CARGO_PKG_VERSION")));
        return Ok(0);
    }
    // These are asked for twice wherever they stand.
    if !given.has('f') && (given.has('u') || given.has('E') || given.has('d') || given.has('b')) {
        return Err(Stop::new(107, DANGEROUS));
    }
    let input = input(given, io)?;
    let Some((command, value)) = given.last("uQEBCMPRDda56") else { return Err(Stop::usage("")) };
    match command {
        'a' => {
            let mut empty = parse(EMPTY, "empty CIB").map_err(|e| Stop::new(70, e))?;
            if let Some(schema) = value {
                empty.attributes.insert("validate-with", schema);
            }
            io.say(format_args!("{}", empty.to_xml()));
            return Ok(0);
        }
        '5' | '6' => return digest(command, input.as_deref(), io),
        _ => {}
    }
    let operation = Operation {
        section: given.get('o').map(str::to_owned),
        xpath: given.get('A').map(str::to_owned),
        xml: input,
        user: given.get('U').map(str::to_owned),
        options: Options {
            allow_create: given.has('c'),
            no_children: given.has('n'),
            node_path: given.has('e'),
        },
        ..Operation::new(kind(command))
    };
    let mut cluster = admin::open().map_err(|refusal| unreachable(&refusal))?;
    match cluster.cib(&operation) {
        Ok(found) => {
            if let Some(found) = found {
                show(&found, operation.options.node_path, io);
            }
            Ok(0)
        }
        // The peer takes a cluster that does not answer for one that is not there.
        Err(refusal) if cluster.is_live() && matches!(refusal.rc, 102 | 124) => Err(unreachable(&refusal)),
        Err(refusal) => {
            if let Some(failed) = &refusal.failed {
                io.say(format_args!("{failed}"));
            }
            Err(Stop::refused("Call failed", &refusal))
        }
    }
}

fn kind(command: char) -> OperationKind {
    match command {
        'u' => OperationKind::Upgrade,
        'E' => OperationKind::Erase,
        'B' => OperationKind::Bump,
        'C' => OperationKind::Create,
        'M' => OperationKind::Modify,
        'P' => OperationKind::Patch,
        'R' => OperationKind::Replace,
        'D' => OperationKind::Delete,
        'd' => OperationKind::DeleteAll,
        _ => OperationKind::Query,
    }
}

fn unreachable(refusal: &Refusal) -> Stop {
    let Stop { text, .. } = Stop::refused("Could not connect to the CIB", refusal);
    let text = format!("{text}Init failed, could not perform requested operations\n");
    Stop { status: status(refusal), text, usage: false }
}

/// The XML to work with, seen to be some.
fn input(given: &Given, io: &mut Io) -> Result<Option<String>, Stop> {
    let (text, name) = match given.last("Xxp") {
        None => return Ok(None),
        Some(('X', text)) => (Ok(text.unwrap_or_default().to_owned()), "input string"),
        Some(('x', file)) => {
            let file = file.unwrap_or_default();
            (std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}")), file)
        }
        Some(_) => (io.read_document().map_err(|e| e.to_string()), "STDIN"),
    };
    let checked = text.and_then(|text| parse(&text, name).map(|_| text));
    checked.map(Some).map_err(|e| Stop::new(78, format_args!("  {e}\nCouldn't parse input from {name}.")))
}

fn digest(command: char, input: Option<&str>, io: &mut Io) -> Result<u8, Stop> {
    let Some(text) = input else {
        return Err(Stop::new(64, "Please supply XML to process with -X, -x or -p"));
    };
    let root = parse(text, "input").map_err(|e| Stop::new(78, e))?;
    if command == '5' {
        io.complain(format_args!("Digest: "));
        io.say(format_args!("{}\n", cib::digest_on_disk(&root)));
    } else {
        let version = root.get("crm_feature_set");
        io.complain(format_args!("Versioned ({}) digest: ", version.unwrap_or("(null)")));
        io.say(format_args!("{}\n", cib::digest_versioned(&root, version)));
    }
    Ok(0)
}

fn show(found: &Element, paths: bool, io: &mut Io) {
    if !paths {
        io.say(format_args!("{}", found.to_xml()));
        return;
    }
    let all = if found.name == "xpath-query" { &found.children[..] } else { std::slice::from_ref(found) };
    for id in all.iter().filter_map(Element::id) {
        io.say(format_args!("{id}\n"));
    }
}
