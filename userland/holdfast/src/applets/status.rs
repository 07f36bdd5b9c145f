//! `holdfast status`: members, quorum, ring, units and resources, as this node sees them.

use std::process::ExitCode;

use crate::collect;

/// Options of `holdfast status`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// 0: quorate; 2: not quorate; 1: neither daemon answers.
pub(crate) fn run(args: &Args) -> ExitCode {
    let status = collect::collect();
    if args.json {
        match serde_json::to_string_pretty(&status) {
            Ok(json) => anstream::println!("{json}"),
            Err(e) => {
                eprintln!("holdfast status: {e}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        anstream::print!("{}", status::text(&status, collect::local_zone));
    }
    match (status.answered.cmmd || status.answered.rgmd, status.quorum.quorate) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(2),
    }
}
