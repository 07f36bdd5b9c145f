//! `crm_mon -1`: the screen that Pacemaker's users know, printed once.

use std::process::ExitCode;

use status::CrmMonOptions;

use crate::collect;

/// crm_mon's options, as far as they are served.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Display the cluster status once and exit (the only mode so far)
    #[arg(short = '1', long = "one-shot")]
    one_shot: bool,
    /// Display the cluster status once as a simple one line output
    #[arg(short = 's', long = "simple-status")]
    simple: bool,
    /// Hide all headers
    #[arg(short = 'D', long = "hide-headers")]
    hide_headers: bool,
    /// Display inactive resources
    #[arg(short = 'r', long = "inactive")]
    inactive: bool,
    /// Group resources by node
    #[arg(short = 'n', long = "group-by-node")]
    group_by_node: bool,
    /// Show node attributes
    #[arg(short = 'A', long = "show-node-attributes")]
    node_attributes: bool,
    /// Show resource fail counts
    #[arg(short = 'f', long = "failcounts")]
    failcounts: bool,
    /// Show more details (node IDs, individual clone instances)
    #[arg(short = 'R', long = "show-detail")]
    show_detail: bool,
}

/// 0: printed; 102: the cluster does not answer (crm_mon's own exit status for that); 64: an option not served.
pub(crate) fn run(args: &Args) -> ExitCode {
    if !args.one_shot && !args.simple {
        eprintln!("crm_mon: the continuous display is not there yet; use: crm_mon -1");
        return ExitCode::from(64);
    }
    let status = collect::collect();
    if !status.answered.rgmd {
        for note in &status.notes {
            eprintln!("crm_mon: {}; {}", note.what, note.remedy);
        }
        eprintln!("crm_mon: Connection to cluster failed: Transport endpoint is not connected");
        return ExitCode::from(102);
    }
    if args.simple {
        println!("{}", status::crm_mon_simple(&status).trim_end());
        return ExitCode::SUCCESS;
    }
    let options = CrmMonOptions {
        hide_headers: args.hide_headers,
        inactive: args.inactive,
        group_by_node: args.group_by_node,
        node_attributes: args.node_attributes,
        failcounts: args.failcounts,
        show_detail: args.show_detail,
        ..CrmMonOptions::default()
    };
    print!("{}", status::crm_mon(&status, &options, collect::local_zone));
    ExitCode::SUCCESS
}
