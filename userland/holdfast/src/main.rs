//! `holdfast`: one command for the administrator, and under other names the commands that people know.
//!
//! The applet is chosen by the name that the program is called by (`crm_mon` through a symlink), else by the first
//! argument. `holdfast link DIR` makes the symlinks.

#![forbid(unsafe_code)]

mod cibtools;
mod cluster_document;
mod crm_mon;
mod demo;
mod exit;
mod failfast;
mod fence_demo;
mod gather;
mod generate;
mod io;
mod key;
mod link;
mod live;
mod manual;
mod metrics;
mod moves;
mod pacemaker;
mod past;
mod pm_logconv;
mod qdisk;
mod qnet;
mod quorum;
mod ring;
mod scsi;
mod show;
mod simulate;
mod verify;
mod watchdog;
mod why;
mod why_down;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::exit::Exit;
use crate::io::Io;

/// A cluster that keeps a service alive and never lets it run twice: the administrator's command.
#[derive(Parser)]
#[command(name = "holdfast", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    applet: Applet,
}

#[derive(Subcommand)]
enum Applet {
    /// Show ring, quorum, nodes and resources as this node sees them.
    Status(show::Args),
    /// Show the ring: links, limits, the token, lateness, the last changes; once or live.
    Ring(ring::Args),
    /// Say why a resource or a node is where it is, or as it is, and why the last fail-over was.
    Why(why::Args),
    /// Find what is left over from faults and repairs, and say the next command to type.
    Doctor(why::DoctorArgs),
    /// Say why this node went down last, or what it knows of another one's end.
    #[command(name = "why-down")]
    WhyDown(why_down::Args),
    /// Print what this node knows for Prometheus, or serve it.
    Metrics(metrics::Args),
    /// Pacemaker's monitor screen.
    #[command(name = "crm_mon")]
    CrmMon(Box<crm_mon::Args>),
    /// See what would take this node down, rehearse it, and keep it from happening while it is worked on.
    Failfast(failfast::Args),
    /// Find the machine's watchdogs, and prove that they reset it.
    Watchdog(watchdog::Args),
    /// Make the cluster's key file, change the key of a running cluster, see how far that is.
    Key(key::Args),
    /// corosync's key generator.
    #[command(name = "corosync-keygen")]
    CorosyncKeygen(key::Keygen),
    /// Make quorum disks, find them, see what is on them.
    Qdisk(qdisk::Args),
    /// Bring the certificates for the quorum server.
    Qnet(qnet::Args),
    /// Show votes and quorum, and change them without losing it.
    Quorum(quorum::Args),
    /// See who can write to a disk with SCSI-3 persistent reservations, and clear it.
    Scsi(scsi::Args),
    /// Show what the scheduler makes of a CIB, and what would come of it.
    #[command(alias = "crm_simulate")]
    Simulate(Box<simulate::Args>),
    /// Turn the cluster's log into the few lines that an operator needs.
    #[command(name = "pm_logconv")]
    PmLogconv(pm_logconv::Args),
    /// Find what is wrong with a CIB, by line and element.
    #[command(alias = "crm_verify")]
    Verify(verify::Args),
    /// Say why a resource is placed where it is, or is not.
    Explain(simulate::explain::Args),
    /// The quorum disk command of the Red Hat Cluster Suite.
    Mkqdisk(qdisk::Mkqdisk),
    /// Show which cluster options there are, as crmsh asks Pacemaker's daemons for them.
    Metadata(pacemaker::metadata::Args),
    /// Show what the configuration was and who changed it, and go back to an earlier one.
    #[command(name = "cib")]
    Past(past::Args),
    /// Print what makes a shell complete commands and options of holdfast.
    Completion(generate::Completion),
    /// Show or make the manual pages.
    Man(generate::Man),
    /// Make symlinks, so that the commands people know are found by their own names.
    Link(link::Args),
    /// Watch a cluster of real nodes on this machine survive two deaths.
    Demo(demo::Args),
    /// The demo's fence agent: reads key=value lines from standard input.
    #[command(name = "fence-demo")]
    FenceDemo(fence_demo::Args),
    #[command(name = "demo-service", hide = true)]
    DemoService(demo::service::Args),
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    run(&args, &mut Io::standard()).into()
}

fn run(args: &[OsString], io: &mut Io) -> Exit {
    let called_as = args.first().map(Path::new).and_then(Path::file_name).and_then(|n| n.to_str());
    // Pacemaker's commands read their options themselves, by their own name or behind ours.
    let behind = args.get(1).and_then(|a| a.to_str());
    for (name, at) in [(called_as, 1), (behind, 2)] {
        let words = args.get(at..).unwrap_or_default();
        if let Some(exit) = name.and_then(|name| cibtools::called(name, words, io)) {
            return exit;
        }
        if let Some(stand_in) = name.and_then(pacemaker::named) {
            return stand_in.run(words, io);
        }
    }
    match called_as {
        Some(daemon) if pacemaker::metadata::NAMES.contains(&daemon) => {
            let words: Vec<String> = args.iter().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
            pacemaker::metadata::called(daemon, &words, io)
        }
        Some("crm_mon" | "crm_mon.cgi") => monitor(args, io),
        Some("pm_logconv") => match pm_logconv::Called::try_parse_from(args) {
            Ok(called) => pm_logconv::run(&called.args, io),
            Err(e) => refuse(&e, io),
        },
        Some("crm_simulate") => match simulate::Called::try_parse_from(args) {
            Ok(called) => simulate::run(&called.args, &typed(args), io),
            Err(e) => refuse(&e, io),
        },
        Some("crm_verify") => match verify::Called::try_parse_from(args) {
            Ok(called) => verify::run(&called.args, io),
            Err(e) => refuse(&e, io),
        },
        Some("fence_demo") => match fence_demo::Called::try_parse_from(args) {
            Ok(called) => fence_demo::run(&called.args, io),
            Err(e) => refuse(&e, io),
        },
        Some("corosync-keygen") => match key::Keygen::try_parse_from(args) {
            Ok(args) => key::keygen(&args, io),
            Err(e) => refuse(&e, io),
        },
        // The original takes `-?` for help. As an option it would be offered by shells, which take it for a pattern.
        Some("mkqdisk") => match qdisk::Mkqdisk::try_parse_from(
            args.iter().map(|a| if a == "-?" { "-h".as_ref() } else { a.as_os_str() }),
        ) {
            Ok(args) => qdisk::mkqdisk(&args, io),
            Err(e) => match refuse(&e, io) {
                Exit::Usage => Exit::Of(1),
                exit => exit,
            },
        },
        // Some of its options depend on their order.
        _ if args.get(1).is_some_and(|applet| applet == "crm_mon") => monitor(&args[1..], io),
        _ => match Cli::try_parse_from(args) {
            Ok(Cli { applet: Applet::Status(args) }) => show::run(&args, io),
            Ok(Cli { applet: Applet::Ring(args) }) => ring::run(&args, io),
            Ok(Cli { applet: Applet::Why(args) }) => why::run(&args, io),
            Ok(Cli { applet: Applet::Doctor(args) }) => why::run_doctor(&args, io),
            Ok(Cli { applet: Applet::WhyDown(args) }) => why_down::run(&args, io),
            Ok(Cli { applet: Applet::Metrics(args) }) => metrics::run(&args, io),
            Ok(Cli { applet: Applet::CrmMon(_) }) => Exit::Usage, // done above
            Ok(Cli { applet: Applet::Failfast(args) }) => failfast::run(&args, io),
            Ok(Cli { applet: Applet::Watchdog(args) }) => watchdog::run(&args, io),
            Ok(Cli { applet: Applet::Key(args) }) => key::run(&args, io),
            Ok(Cli { applet: Applet::CorosyncKeygen(args) }) => key::keygen(&args, io),
            Ok(Cli { applet: Applet::Qdisk(args) }) => qdisk::run(&args, io),
            Ok(Cli { applet: Applet::Qnet(args) }) => qnet::run(&args, io),
            Ok(Cli { applet: Applet::Quorum(args) }) => quorum::run(&args, io),
            Ok(Cli { applet: Applet::Scsi(args) }) => scsi::run(&args, io),
            Ok(Cli { applet: Applet::Simulate(asked) }) => simulate::run(&asked, &typed(args), io),
            Ok(Cli { applet: Applet::PmLogconv(args) }) => pm_logconv::run(&args, io),
            Ok(Cli { applet: Applet::Verify(args) }) => verify::run(&args, io),
            Ok(Cli { applet: Applet::Explain(args) }) => simulate::explain::run(&args, io),
            Ok(Cli { applet: Applet::Mkqdisk(args) }) => qdisk::mkqdisk(&args, io),
            Ok(Cli { applet: Applet::Metadata(args) }) => pacemaker::metadata::run(&args, io),
            Ok(Cli { applet: Applet::Past(args) }) => past::run(&args, io),
            Ok(Cli { applet: Applet::Completion(args) }) => generate::completion(&args, io),
            Ok(Cli { applet: Applet::Man(args) }) => generate::man(&args, io),
            Ok(Cli { applet: Applet::Link(args) }) => link::run(&args, io),
            Ok(Cli { applet: Applet::Demo(args) }) => demo::run(&args, io),
            Ok(Cli { applet: Applet::FenceDemo(args) }) => fence_demo::run(&args, io),
            Ok(Cli { applet: Applet::DemoService(args) }) => demo::service::run(&args, io),
            Err(e) => refuse(&e, io),
        },
    }
}

/// A command as it was typed.
fn typed(args: &[OsString]) -> Vec<String> {
    args.iter().map(|a| a.to_string_lossy().into_owned()).collect()
}

/// `crm_mon`, called by its name or as a subcommand.
fn monitor(args: &[OsString], io: &mut Io) -> Exit {
    // As options these would be offered by shells, which take them for something else.
    let words = args.iter().map(|a| match a.to_str() {
        Some("-?") => "--help".into(),
        Some("-$") => "--version".into(),
        _ => a.clone(),
    });
    let matches = crm_mon::Called::command().try_get_matches_from(words);
    let called = matches.and_then(|m| Ok((crm_mon::Called::from_arg_matches(&m)?, crm_mon::steps(&m))));
    match called {
        Ok((called, order)) => crm_mon::run(&called.args, &typed(args), &order, io),
        Err(e) => refuse(&e, io),
    }
}

/// Every command as people call it: `holdfast`, and the applets that have a name of their own.
fn commands() -> Vec<clap::Command> {
    let own = [
        Cli::command(),
        crm_mon::Called::command(),
        simulate::Called::command(),
        verify::Called::command(),
        pm_logconv::Called::command(),
        key::Keygen::command().name("corosync-keygen"),
        qdisk::Mkqdisk::command().name("mkqdisk"),
        fence_demo::Called::command(),
    ];
    let stand_ins = pacemaker::STAND_INS.iter().map(pacemaker::StandIn::command);
    own.into_iter().chain(stand_ins).chain(cibtools::commands()).collect()
}

/// Help and version are answers; the rest are mistakes.
fn refuse(error: &clap::Error, io: &mut Io) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        io.complain(format_args!("{}", text.ansi()));
        Exit::Usage
    } else {
        io.say(format_args!("{}", text.ansi()));
        Exit::Ok
    }
}

const EXAMPLES: &str = "\
Examples:
  holdfast status                 what runs where, and why not
  holdfast status --json          the same for programs
  holdfast ring --watch           links, latencies and the token, live
  holdfast metrics                the same for Prometheus
  holdfast why db                 why is db where it is, and why did it move?
  holdfast doctor                 what has to be done next?
  holdfast why-down n2            why a node went down, in words
  holdfast crm_mon -1rf           the screen Pacemaker's users know
  holdfast simulate -x cib.xml -d n1   what if n1 left?
  holdfast verify -x cib.xml           what is wrong with it, by line
  holdfast cib history                 who changed the configuration, when
  holdfast cib rollback 17             back to what it was
  holdfast explain -x cib.xml db n1    why is db not on n1?
  holdfast key change             change to the key that was copied to all nodes
  holdfast qdisk list             quorum disks of this machine
  holdfast failfast test          would this node go down, and say why?
  holdfast watchdog list          watchdogs of this machine
  holdfast scsi show /dev/sdb     whose keys are on a data disk
  holdfast man ring | man -l -    the manual page of a command
  holdfast quorum status          votes possible, needed and present
  holdfast link /usr/local/sbin   from now on it is called crm_mon
  holdfast demo                   three nodes, two deaths, half a minute

Commands of Pacemaker, by their own names (holdfast link) or as holdfast NAME, each with --help-all:
  attrd_updater crm_attribute crm_error crm_failcount crm_master crm_node crm_resource crm_rule crm_standby
  crm_ticket crmadmin iso8601 pacemakerd stonith_admin
and on the document, each with --help:
  cibadmin crm_diff crm_shadow

Exit status:
  0   done
  1   refused as unsafe; nothing was changed
  64  wrong usage
  69  cmmd does not answer on this node
  70  something failed that should not
  73  a file cannot be made, or not be used
  75  this node does not know everything yet, or is not done; try again
  77  only root may do that
  Applets under the name of another command use that command's.

Environment:
  HOLDFAST_RUN_DIR    where the daemons' sockets are (default /run/holdfast)
  HOLDFAST_STATE_DIR  where their state is (default /var/lib/holdfast)
  NO_COLOR            no colours";
