//! `holdfast verify` and `crm_verify`: what is wrong with a CIB, each with line, element and remedy.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use cib::{Element, Finding, Moment, Severity, Validated};
use clap::{ArgAction, Parser};
use scheduler::WorkingSet;
use serde::Serialize;

use crate::exit::Exit;
use crate::io::Io;

/// Called by the name of Pacemaker's command.
#[derive(Parser, Debug)]
#[command(name = "crm_verify", version, disable_version_flag = true)]
pub(crate) struct Called {
    /// Print version
    // Without its usual letter, which means something else in this command.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) args: Args,
}

/// Finds what is wrong with a CIB: its grammar, what its parts say of each other, what its status shows.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
What is found is said on standard error, a line each: file, line, column, severity, element, what is wrong, and the remedy.

Examples:
  holdfast verify -x cib.xml          errors and warnings
  holdfast verify -x cib.xml -V       and what is only worth to know
  cibadmin -Q | holdfast verify -p    the same of a running cluster
  holdfast verify -x cib.xml --json   for programs
  holdfast verify -x cib.xml -Q && cibadmin --replace --xml-file cib.xml

Exit status:
  0   valid
  1   no document was named, or it cannot be read
  64  wrong usage
  73  the copy cannot be written
  76  it is no CIB
  78  there are errors or warnings
  102 the cluster cannot be reached, as for other commands
  105 the document that the environment names is not there

Environment:
  CIB_file, CIB_shadow   the document that --live-check reads in place of the running cluster's")]
pub(crate) struct Args {
    /// The document to check
    #[arg(short = 'x', long, value_name = "FILE", group = "source")]
    xml_file: Option<PathBuf>,
    /// Read it from standard input
    #[arg(short = 'p', long, group = "source")]
    xml_pipe: bool,
    /// The document itself
    #[arg(short = 'X', long, value_name = "XML", group = "source")]
    xml_text: Option<String>,
    /// Check the running cluster's document, or that of CIB_file or CIB_shadow
    #[arg(short = 'L', long, group = "source")]
    live_check: bool,
    /// Write the document to a file
    #[arg(short = 'S', long, value_name = "FILE")]
    save_xml: Option<PathBuf>,
    /// Say also what is only worth to know
    #[arg(short = 'V', long, action = ArgAction::Count)]
    verbose: u8,
    /// Say nothing
    #[arg(short = 'Q', long)]
    quiet: bool,
    /// Say it for programs
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

/// Why it cannot go on.
struct Stop {
    text: String,
    exit: Exit,
}

pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    whole(args, io).unwrap_or_else(|stop| {
        io.complain(format_args!("crm_verify: {}\n", stop.text));
        stop.exit
    })
}

fn whole(args: &Args, io: &mut Io) -> Result<Exit, Stop> {
    let (name, text, broken) = source(args, io)?;
    let root = Element::parse(&text, &name).map_err(|e| Stop { text: e.to_string(), exit: broken })?;
    if root.name != "cib" {
        let what = "This tool can only check complete configurations (i.e. those starting with <cib>)";
        return Err(Stop { text: format!("{name}: {what}: cibadmin -Q shows one"), exit: Exit::Of(76) });
    }
    if let Some(file) = &args.save_xml {
        std::fs::write(file, root.to_xml())
            .map_err(|e| Stop { text: format!("{}: {e}", file.display()), exit: Exit::CannotCreate })?;
    }
    let Validated { root, mut findings, usable } = cib::validate(root);
    if usable {
        findings.extend(of_status(&root));
    }
    let worst = findings.iter().map(|f| f.severity).min().unwrap_or(Severity::Note);
    let exit = if worst == Severity::Note { Exit::Ok } else { Exit::Of(78) };
    if args.json {
        let answer =
            Answer { valid: worst == Severity::Note, findings: findings.iter().map(Line::from).collect() };
        let text = serde_json::to_string_pretty(&answer)
            .map_err(|e| Stop { text: e.to_string(), exit: Exit::Software })?;
        io.say(format_args!("{text}\n"));
        return Ok(exit);
    }
    if args.quiet {
        return Ok(exit);
    }
    for finding in findings.iter().filter(|f| args.verbose > 0 || f.severity != Severity::Note) {
        io.complain(format_args!("{name}:{finding}\n"));
    }
    match worst {
        Severity::Error => {
            io.complain(format_args!("crm_verify: Errors found during check: config not valid\n"));
        }
        Severity::Warning => {
            io.complain(format_args!("crm_verify: Warnings found during check: config may not be valid\n"));
        }
        Severity::Note => {}
    }
    Ok(exit)
}

/// The document's name and text, and the exit status if that is no XML.
fn source(args: &Args, io: &mut Io) -> Result<(String, String, Exit), Stop> {
    if let Some(text) = &args.xml_text {
        return Ok(("text".into(), text.clone(), Exit::Of(78)));
    }
    if args.xml_pipe {
        let text = io
            .read_document()
            .map_err(|e| Stop { text: format!("standard input: {e}"), exit: Exit::Of(1) })?;
        return Ok(("standard input".into(), text, Exit::Of(78)));
    }
    if args.live_check {
        let read = crate::cluster_document::read();
        let (name, text) = read.map_err(|(rc, text)| Stop { text, exit: Exit::Of(rc) })?;
        return Ok((name, text, Exit::Of(1)));
    }
    let Some(path) = &args.xml_file else {
        let text = "name a document with -x FILE, or bring it on standard input with -p".into();
        return Err(Stop { text, exit: Exit::Of(1) });
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Stop { text: format!("{name}: {e}"), exit: Exit::Of(1) })?;
    Ok((name, text, Exit::Of(1)))
}

/// What the status shows once the scheduler has gone through it.
fn of_status(root: &Element) -> Vec<Finding> {
    let Some(status) = root.child("status") else { return Vec::new() };
    let clock = || Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().cast_signed()));
    let now = WorkingSet::recorded_time(root).unwrap_or_else(clock);
    let Ok(mut set) = WorkingSet::new(root, now) else { return Vec::new() };
    set.without_secrets = true;
    set.place();
    set.schedule();
    let finding = |concern: scheduler::Concern| Finding {
        severity: Severity::Warning,
        position: status.position,
        path: "cib/status".into(),
        what: concern.what,
        remedy: concern.remedy.into(),
    };
    scheduler::concerns(&set).into_iter().map(finding).collect()
}

/// What programs get.
#[derive(Serialize)]
struct Answer<'a> {
    /// There is nothing worse than notes.
    valid: bool,
    findings: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    severity: String,
    line: u32,
    column: u32,
    element: &'a str,
    what: &'a str,
    remedy: &'a str,
}

impl<'a> From<&'a Finding> for Line<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            severity: finding.severity.to_string(),
            line: finding.position.line,
            column: finding.position.column,
            element: &finding.path,
            what: &finding.what,
            remedy: &finding.remedy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"<cib validate-with="pacemaker-3.7" epoch="1" num_updates="0" admin_epoch="0"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes>
"#;

    fn say(args: &[&str], resources: &str) -> (Exit, String) {
        let text = format!("{HEAD}<resources>{resources}</resources>\n<constraints/></configuration></cib>");
        let (mut io, said) = Io::captured(&text);
        let called = Called::try_parse_from(["crm_verify"].iter().chain(args)).unwrap();
        let exit = run(&called.args, &mut io);
        (exit, String::from_utf8(said.lock().unwrap().clone()).unwrap())
    }

    #[test]
    fn errors_are_named_by_line_and_element_with_the_remedy() {
        let (exit, text) = say(&["-p"], r#"<primitive id="db" class="ocf" type="Dummy"/>"#);
        assert_eq!(exit, Exit::Of(78));
        assert!(
            text.starts_with(
                "standard input:4:12: error: cib/configuration/resources/primitive[@id=\"db\"]: agents of class ocf have a provider; add provider="
            ),
            "{text}"
        );
        assert!(text.ends_with("crm_verify: Errors found during check: config not valid\n"), "{text}");
        let (exit, text) =
            say(&["-p", "--json"], r#"<primitive id="db" class="ocf" provider="x" typ="Dummy"/>"#);
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((exit, &answer["valid"]), (Exit::Of(78), &serde_json::Value::Bool(false)));
        assert_eq!(answer["findings"][0]["line"], 4);
        assert_eq!(answer["findings"][0]["remedy"], "is type meant?");
        assert_eq!(say(&["-p", "-Q"], "<nothing/>"), (Exit::Of(78), String::new()));
    }

    #[test]
    fn a_valid_document_says_nothing_and_what_is_none_is_refused() {
        let good = r#"<primitive id="db" class="ocf" provider="heartbeat" type="Dummy"/>"#;
        assert_eq!(say(&["-p"], good), (Exit::Ok, String::new()));
        assert_eq!(say(&["-X", "<cluster/>"], "").0, Exit::Of(76));
        assert_eq!(say(&["-X", "<cib"], "").0, Exit::Of(78));
        assert_eq!(say(&["-x", "/no/such/file"], "").0, Exit::Of(1));
        assert_eq!(say(&[], "").0, Exit::Of(1));
        assert!(Called::try_parse_from(["crm_verify", "-p", "-L"]).is_err(), "one document at a time");
    }
}
