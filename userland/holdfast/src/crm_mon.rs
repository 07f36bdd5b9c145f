//! `crm_mon`: Pacemaker's monitor screen, for people and scripts that know it.

use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use status::{CrmMonOptions, crm_mon, crm_mon_simple};

use crate::exit::Exit;
use crate::gather::{Sources, gather};
use crate::io::Io;

/// Provides a summary of cluster's current state.
#[derive(Parser)]
#[command(name = "crm_mon", after_help = EXAMPLES)]
pub(crate) struct Called {
    #[command(flatten)]
    pub(crate) args: Args,
}

/// Pacemaker's monitor screen, in the layout of Pacemaker 2.1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Display the cluster status once and exit.
    #[arg(short = '1', long)]
    one_shot: bool,
    /// Update frequency in seconds.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Display inactive resources.
    #[arg(short = 'r', long)]
    inactive: bool,
    /// Group resources by node.
    #[arg(short = 'n', long)]
    group_by_node: bool,
    /// Display node attributes.
    #[arg(short = 'A', long)]
    show_node_attributes: bool,
    /// Display resource fail counts.
    #[arg(short = 'f', long)]
    failcounts: bool,
    /// Display negative location constraints [optionally filtered by id prefix].
    #[arg(short = 'L', long, value_name = "PREFIX", num_args = 0..=1, default_missing_value = "")]
    neg_locations: Option<String>,
    /// Show more details (node IDs, individual clone instances).
    #[arg(short = 'R', long)]
    show_detail: bool,
    /// Hide all headers.
    #[arg(short = 'D', long)]
    hide_headers: bool,
    /// Display the cluster status once as a simple one line output (suitable for nagios).
    #[arg(short = 's', long)]
    simple_status: bool,
    /// Show fence history: 0=off, 1=failures and pending, 2=1 and all successes, 3=full history.
    #[arg(short = 'm', long, value_name = "LEVEL", num_args = 0..=1, default_value_t = 1, default_missing_value = "2",
          value_parser = clap::value_parser!(u8).range(0..=3))]
    fence_history: u8,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output_as: Format,
    /// Disable the use of ncurses: it is not used.
    #[arg(short = 'N', long, hide = true)]
    disable_ncurses: bool,
    /// Accepted for scripts; changes nothing.
    #[arg(short = 'V', long, action = ArgAction::Count, hide = true)]
    verbose: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Console,
    Xml,
    Html,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    if matches!(args.output_as, Format::Xml | Format::Html) {
        io.complain(format_args!(
            "crm_mon: not supported yet: this output format; for programs: holdfast status --json\n"
        ));
        return UNIMPLEMENTED;
    }
    let sources = Sources::from_env();
    loop {
        let status = gather(&sources);
        if !status.answered.rgmd {
            io.complain(format_args!(
                "error: Could not connect to launcher: Connection refused\n\
                 crm_mon: Connection to cluster failed: Connection refused\n"
            ));
            for note in status.notes {
                let remedy =
                    if note.remedy.is_empty() { String::new() } else { format!("; {}", note.remedy) };
                io.complain(format_args!("crm_mon: {}{remedy}\n", note.what));
            }
            return DISCONNECTED;
        }
        let zone = holdfast_sys::timezone::utc_offset;
        let screen = if args.simple_status {
            crm_mon_simple(&status)
        } else {
            crm_mon(&status, &args.options(), zone)
        };
        if args.one_shot || args.simple_status {
            io.say(format_args!("{screen}"));
            return Exit::Ok;
        }
        io.say(format_args!("\x1b[H\x1b[2J{screen}"));
        std::thread::sleep(Duration::from_secs(args.interval));
    }
}

impl Args {
    fn options(&self) -> CrmMonOptions {
        CrmMonOptions {
            live: true,
            hide_headers: self.hide_headers,
            inactive: self.inactive,
            group_by_node: self.group_by_node,
            node_attributes: self.show_node_attributes,
            failcounts: self.failcounts,
            neg_locations: self.neg_locations.clone(),
            show_detail: self.show_detail,
            fence_history: self.fence_history,
        }
    }
}

/// As crm_mon's own: `CRM_EX_UNIMPLEMENT_FEATURE`, `CRM_EX_DISCONNECT`.
const UNIMPLEMENTED: Exit = Exit::Of(3);
const DISCONNECTED: Exit = Exit::Of(102);

const EXAMPLES: &str = "\
Examples:
  crm_mon -1          the status once
  crm_mon -1rfAL      with inactive resources, fail counts, attributes and bans
  crm_mon -s          one line for a monitoring system
  crm_mon -1 -m3 -R   with the whole fencing history in detail

Exit status: 0; 3 format not supported; 64 wrong usage; 102 the cluster does not run on this node";
