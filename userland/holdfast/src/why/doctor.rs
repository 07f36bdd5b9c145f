//! `holdfast doctor`: what is left over from faults and repairs, which recovery applies, and the next command to type.

use super::ask::{Document, Source, Stop};
use crate::exit::Exit;
use crate::io::Io;

/// Find what is left over from faults and repairs, and say the next command to type.
///
/// Looks for nodes that are UNCLEAN, down or in standby, missing quorum or fencing, resources that are blocked, stopped or not managed, fail
/// counts, bans that a move left behind, attributes that keep a service away, and clocks that differ. Which recovery pattern of the
/// manuals applies is said with its steps.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    whole(args, io).unwrap_or_else(|stop| {
        io.complain(format_args!("holdfast doctor: {}\n", stop.text));
        stop.exit
    })
}

fn whole(args: &Args, io: &mut Io) -> Result<Exit, Stop> {
    let document = Document::read(&args.source, io)?;
    let found = document.view()?.doctor();
    let exit = if found.to_do { Exit::Of(1) } else { Exit::Ok };
    if args.json {
        let text = serde_json::to_string_pretty(&found).unwrap_or_default();
        io.say(format_args!("{text}\n"));
        return Ok(exit);
    }
    match &found.next {
        Some(next) => io.say(format_args!("Next: {next}\n")),
        None => io.say(format_args!("Nothing has to be done.\n")),
    }
    for finding in &found.findings {
        let mark = if finding.to_do { "!" } else { "-" };
        io.say(format_args!("  {mark} {}\n      {}\n", finding.what, finding.command));
    }
    if let Some(recovery) = &found.recovery {
        let optional = recovery.steps.iter().all(|s| s.optional);
        if optional {
            io.say(format_args!("If it is wanted, back to {}:\n", recovery.node));
        } else {
            let pattern = recovery.pattern;
            io.say(format_args!(
                "Recovery pattern {} ({}), {}:\n",
                pattern.number(),
                pattern.meaning(),
                recovery.node
            ));
        }
        for (at, step) in recovery.steps.iter().enumerate() {
            let state = match (step.done, step.optional) {
                (true, _) => "done",
                (_, true) => "if wanted",
                _ => "to do",
            };
            io.say(format_args!(
                "  {}. {:<9}  {}\n                {}\n",
                at + 1,
                state,
                step.command,
                step.what
            ));
        }
    }
    Ok(exit)
}

const EXAMPLES: &str = "\
Examples:
  holdfast doctor                  of the running cluster
  holdfast doctor -x cib.xml       of a document that was saved
  holdfast doctor --json | jq -r .next
  while ! holdfast doctor; do sleep 5; done

Exit status:
  0   nothing has to be done
  1   something has to be done
  64  wrong usage
  69  no cluster answers
  73  a file cannot be read

Environment:
  CIB_file, CIB_shadow  a document in place of the running cluster";
