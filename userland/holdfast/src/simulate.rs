//! `holdfast simulate` and `crm_simulate`: what the scheduler reads of a cluster's configuration and status.
//!
//! So far the first two parts of it: the status, and the scores by which resources are placed. What would be done is not
//! computed by this command yet.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use cib::{Element, Moment};
use clap::Parser;
use scheduler::{WorkingSet, current_status};

use crate::exit::Exit;
use crate::io::Io;

/// Called by the name of Pacemaker's command.
#[derive(Parser, Debug)]
#[command(name = "crm_simulate", version)]
pub(crate) struct Called {
    #[command(flatten)]
    pub(crate) args: Args,
}

/// Which document, and what is asked of it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast simulate -x cib.xml            the cluster's status as the document has it
  cibadmin -Q | holdfast simulate -p      the same of a running cluster
  holdfast simulate -x cib.xml -s         and the scores by which each resource is placed
  holdfast simulate -x cib.xml -sQ        those alone
  holdfast simulate -x cib.xml -s -t \"2026-12-24 18:00\"    as they would be then

Exit status:
  0   done
  64  wrong usage
  69  that part of crm_simulate is not there yet
  73  the document cannot be read")]
pub(crate) struct Args {
    /// The document to read
    #[arg(short = 'x', long, value_name = "FILE")]
    xml_file: Option<PathBuf>,
    /// Read it from standard input
    #[arg(short = 'p', long, conflicts_with = "xml_file", required_unless_present = "xml_file")]
    xml_pipe: bool,
    /// Show the scores by which resources are placed
    #[arg(short = 's', long)]
    show_scores: bool,
    /// Show what is asked for, and not the status
    #[arg(short = 'Q', long)]
    quiet: bool,
    /// The time to judge dates and expiries by [default: the one that the document was recorded at, or now]
    #[arg(short = 't', long, value_name = "DATETIME", value_parser = moment)]
    set_datetime: Option<Moment>,
    /// Compute and carry out what would be done (not there yet: the status is shown, and the exit status says so)
    #[arg(short = 'S', long)]
    simulate: bool,
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| format!("{text:?} is no date; write it as 2026-12-24 18:00"))
}

pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let (name, text) = match &args.xml_file {
        Some(path) => (path.display().to_string(), std::fs::read_to_string(path)),
        None => ("standard input".to_owned(), io.read_document()),
    };
    let document = text.map_err(|e| format!("{name}: {e}"));
    let root = document.and_then(|text| Element::parse(&text, &name).map_err(|e| e.to_string()));
    let root = match root {
        Ok(root) => cib::upgrade(root).root,
        Err(e) => {
            io.complain(format_args!("crm_simulate: {e}\n"));
            return Exit::CannotCreate;
        }
    };
    let clock = || Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().cast_signed()));
    let recorded = WorkingSet::recorded_time(&root).filter(|_| args.set_datetime.is_none());
    let now = args.set_datetime.or(recorded).unwrap_or_else(clock);
    let mut set = match WorkingSet::new(&root, now) {
        Ok(set) => set,
        Err(e) => {
            io.complain(format_args!("crm_simulate: {name}: {e}\n"));
            return Exit::CannotCreate;
        }
    };
    if args.simulate {
        io.complain(format_args!(
            "crm_simulate: transitions are not computed by this version; run Pacemaker's crm_simulate for them\n"
        ));
    }
    if !args.quiet {
        io.say(format_args!("{}", current_status(&set, recorded.is_some())));
    }
    if args.show_scores {
        set.place();
        let heading = if args.quiet { "" } else { "\nAllocation Scores:\n" };
        io.say(format_args!("{heading}{}", set.scores()));
    }
    if args.simulate { Exit::Unavailable } else { Exit::Ok }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(args: &[&str], input: &str) -> (Exit, String) {
        let (mut io, said) = Io::captured(input);
        let called = Called::try_parse_from(args).unwrap();
        let exit = run(&called.args, &mut io);
        (exit, String::from_utf8(said.lock().unwrap().clone()).unwrap())
    }

    #[test]
    fn a_document_from_a_pipe_is_shown_and_what_is_none_is_refused() {
        let (exit, text) = say(&["crm_simulate", "-p"], "<cib><configuration/><status/></cib>");
        assert_eq!(exit, Exit::Ok);
        assert!(text.contains("Current cluster status:") && text.contains("* No resources"), "{text}");
        let (exit, text) = say(&["crm_simulate", "-p"], "<cluster/>");
        assert_eq!(exit, Exit::CannotCreate);
        assert!(text.contains("cibadmin -Q"), "{text}");
        let (exit, text) = say(&["crm_simulate", "-p", "-S"], "<cib/>");
        assert_eq!(exit, Exit::Unavailable);
        assert!(text.contains("not computed"), "{text}");
        let (exit, text) = say(&["crm_simulate", "-p", "-sQ", "-t", "2026-12-24 18:00"], "<cib/>");
        assert_eq!((exit, text.as_str()), (Exit::Ok, ""));
        assert!(Called::try_parse_from(["crm_simulate"]).is_err());
        assert!(Called::try_parse_from(["crm_simulate", "-p", "-t", "some day"]).is_err());
    }
}
