//! Options of `crm_mon`: those of Pacemaker 2.1.5, and the layout.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

/// Provides a summary of cluster's current state.
#[derive(Parser)]
#[command(name = "crm_mon", disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
pub(crate) struct Called {
    #[command(flatten)]
    pub(crate) args: Args,
}

/// Pacemaker's monitor screen: what the cluster is like, once or live, as text, page or XML.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
pub(crate) struct Args {
    /// Show help options; also -?
    // `-h` names a file, and shells take `-?` for a pattern.
    #[arg(long, action = ArgAction::Help,
          visible_aliases = ["help-all", "help-output", "help-display", "help-additional", "help-deprecated"])]
    help: Option<bool>,
    /// Display software version and exit; also -$
    #[arg(long)]
    pub(super) version: bool,
    /// Increase debug output: taken, and not needed
    #[arg(short = 'V', long, action = ArgAction::Count)]
    verbose: u8,
    /// Be less descriptive in output
    #[arg(short = 'Q', long)]
    pub(super) quiet: bool,

    /// Output format [default: console on a terminal, else text]
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT)]
    pub(super) output_as: Option<Format>,
    /// File to write to, "-" for standard output
    #[arg(long, value_name = "DEST", help_heading = OUTPUT)]
    pub(super) output_to: Option<PathBuf>,
    /// Layout of text, or XML
    #[arg(long = "format", value_name = "LAYOUT", default_value = "2.1", help_heading = OUTPUT)]
    pub(super) layout: Layout,
    /// Add CGI headers to a page
    #[arg(long, help_heading = OUTPUT)]
    pub(super) html_cgi: bool,
    /// Link to an external stylesheet
    #[arg(long, value_name = "URI", help_heading = OUTPUT)]
    pub(super) html_stylesheet: Option<String>,
    /// Title of a page
    #[arg(long, value_name = "TITLE", help_heading = OUTPUT)]
    pub(super) html_title: Option<String>,
    /// Taken and not needed: text is always laid out
    #[arg(long, help_heading = OUTPUT)]
    text_fancy: bool,

    /// Sections to include, with commas between them; "list" for all there are
    #[arg(short = 'I', long, value_name = "SECTIONS", help_heading = DISPLAY)]
    include: Vec<String>,
    /// Sections to exclude
    #[arg(short = 'U', long, value_name = "SECTIONS", help_heading = DISPLAY)]
    exclude: Vec<String>,
    /// Show only what is related to this node, or to those with this tag
    #[arg(long, value_name = "NODE", help_heading = DISPLAY)]
    pub(super) node: Option<String>,
    /// Show only what is related to this resource, or to those with this tag
    #[arg(long, value_name = "RSC", help_heading = DISPLAY)]
    pub(super) resource: Option<String>,
    /// Group resources by node
    #[arg(short = 'n', long, help_heading = DISPLAY)]
    pub(super) group_by_node: bool,
    /// Display inactive resources
    #[arg(short = 'r', long, help_heading = DISPLAY)]
    pub(super) inactive: bool,
    /// Display resource fail counts
    #[arg(short = 'f', long, help_heading = DISPLAY)]
    failcounts: bool,
    /// Display resource operation history
    #[arg(short = 'o', long, help_heading = DISPLAY)]
    operations: bool,
    /// Display resource operation history with timing details
    #[arg(short = 't', long, help_heading = DISPLAY)]
    pub(super) timing_details: bool,
    /// Display cluster tickets
    #[arg(short = 'c', long, help_heading = DISPLAY)]
    tickets: bool,
    /// Fence history: 0 off, 1 failures and pending, 2 successes too, 3 all of it
    #[arg(short = 'm', long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "2", help_heading = DISPLAY)]
    pub(super) fence_history: Option<u8>,
    /// Display negative location constraints [optionally filtered by id prefix]
    #[arg(short = 'L', long, value_name = "PREFIX", num_args = 0..=1, default_missing_value = "", help_heading = DISPLAY)]
    neg_locations: Option<String>,
    /// Display node attributes
    #[arg(short = 'A', long, help_heading = DISPLAY)]
    show_node_attributes: bool,
    /// Hide all headers
    #[arg(short = 'D', long, help_heading = DISPLAY)]
    hide_headers: bool,
    /// Show more details (node IDs, individual clone instances)
    #[arg(short = 'R', long, help_heading = DISPLAY)]
    pub(super) show_detail: bool,
    /// Brief output
    #[arg(short = 'b', long, help_heading = DISPLAY)]
    pub(super) brief: bool,
    /// Taken and not needed: what is under way is always shown
    #[arg(short = 'j', long, hide = true)]
    pending: bool,
    /// Display the cluster status once as a simple one line output (suitable for nagios)
    #[arg(short = 's', long, help_heading = DISPLAY)]
    pub(super) simple_status: bool,

    /// Update frequency: seconds, a number with a unit, or an ISO 8601 period
    #[arg(short = 'i', long, value_name = "TIMESPEC", default_value = "5s", value_parser = timespec, help_heading = MORE)]
    pub(super) interval: Duration,
    /// Display the cluster status once on the console and exit
    #[arg(short = '1', long, help_heading = MORE)]
    pub(super) one_shot: bool,
    /// Run in the background as a daemon, with --output-to or --external-agent
    #[arg(short = 'd', long, help_heading = MORE)]
    pub(super) daemonize: bool,
    /// Daemon pid file location
    #[arg(short = 'p', long, value_name = "FILE", default_value = "/tmp/ClusterMon.pid", help_heading = MORE)]
    pub(super) pid_file: PathBuf,
    /// A program to run when resource operations take place
    #[arg(short = 'E', long, value_name = "FILE", help_heading = MORE)]
    pub(super) external_agent: Option<PathBuf>,
    /// A recipient for your program
    #[arg(short = 'e', long, value_name = "RCPT", help_heading = MORE)]
    pub(super) external_recipient: Option<String>,
    /// Run the program for fencing, too
    #[arg(short = 'W', long, help_heading = MORE)]
    pub(super) watch_fencing: bool,
    /// The document to show, "-" for standard input
    #[arg(short = 'x', long, value_name = "FILE", help_heading = MORE)]
    pub(super) xml_file: Option<PathBuf>,

    /// Write cluster status to the named HTML file: now --output-as=html --output-to=FILE
    #[arg(short = 'h', long, value_name = "FILE", help_heading = OLD)]
    pub(super) as_html: Option<PathBuf>,
    /// Write cluster status as XML to stdout: now --output-as=xml
    #[arg(short = 'X', long, help_heading = OLD)]
    pub(super) as_xml: bool,
    /// Disable the use of ncurses: now --output-as=text
    #[arg(short = 'N', long, help_heading = OLD)]
    pub(super) disable_ncurses: bool,
    /// Web mode with output suitable for CGI: now --output-as=html --html-cgi
    #[arg(short = 'w', long, help_heading = OLD)]
    pub(super) web_cgi: bool,
}

const OUTPUT: &str = "Output options";
const DISPLAY: &str = "Display options";
const MORE: &str = "Additional options";
const OLD: &str = "Deprecated options";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Console,
    Html,
    Text,
    Xml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Layout {
    /// That of Pacemaker 1.1.13
    #[value(name = "1.1")]
    Old,
    /// That of Pacemaker 2.1
    #[value(name = "2.1")]
    New,
    /// As --output-as=xml
    #[value(name = "xml")]
    Xml,
}

/// At least a second: a page says whole ones, and nobody reads faster.
fn timespec(text: &str) -> Result<Duration, String> {
    let ms = cib::parse_duration_ms(text)
        .ok_or_else(|| format!("Invalid value for -i: {text}; e.g. 10s, 2min"))?;
    Ok(Duration::from_millis(ms.max(1_000)))
}

const EXAMPLES: &str = "\
Keys of the full screen: c f n o r t A L D R b j show and hide what the options of these letters do, m steps through levels of
fence history, ? shows what is on, Ctrl-C or q ends it.

Sections: all attributes bans[:PREFIX] counts dc default failcounts failures fencing fencing-failed fencing-pending
fencing-succeeded maint-mode nodes none operations options resources stack summary tickets times

Examples:
  crm_mon             the status, live
  crm_mon -1          the status once
  crm_mon -1rfAL      with inactive resources, fail counts, attributes and bans
  crm_mon -s          one line for a monitoring system
  crm_mon -1 -m3 -R   with the whole fencing history in detail
  crm_mon -1 --format=1.1 -fA -L             in the layout of Pacemaker 1.1.13
  crm_mon --output-as=xml                    for programs
  crm_mon -d --output-as=html --output-to=/var/www/html/cluster.html    a page that is kept up to date
  CIB_file=cib.xml crm_mon -1                of a document; cibadmin -Q | crm_mon -1 -x -

Exit status: 0; 1 a file cannot be written; 64 wrong usage; 78 the document is no CIB; 102 the cluster does not run on this node
(2 with -s); 105 the document cannot be read

Environment:
  CIB_file      the document to show
  CIB_shadow    the name of the shadow copy to show";
