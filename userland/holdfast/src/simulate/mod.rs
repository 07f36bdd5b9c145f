//! `holdfast simulate` and `crm_simulate`: what the scheduler makes of a cluster's configuration and status, and what would come
//! of it.

pub(crate) mod explain;
mod markup;
mod profile;

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use cib::{Element, Moment};
use clap::{ArgAction, Parser, ValueEnum};
use scheduler::simulate::{Event, Injections, carry_out, inject};
use scheduler::transition::{Graph, Outcome};
use scheduler::{
    Sections, SimulationView, WorkingSet, current_status_with, revised_status_with, status_markup,
    transition_markup, transition_summary,
};

use crate::exit::Exit;
use crate::io::Io;

use markup::Results;

/// Called by the name of Pacemaker's command.
#[derive(Parser, Debug)]
#[command(name = "crm_simulate", version, disable_version_flag = true)]
pub(crate) struct Called {
    /// Print version
    // Without its usual letter, which means something else in this command.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) args: Args,
}

/// Shows what the scheduler makes of a cluster, and what would come of it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Results to inject and to let fail are written as RESOURCE_TASK_MILLISECONDS@NODE=STATUS, with an agent's exit status:
db_monitor_10000@n1=7 is a database that was found stopped on n1.

Examples:
  holdfast simulate -x cib.xml            the cluster's status as the document has it
  cibadmin -Q | holdfast simulate -p      the same of a running cluster
  holdfast simulate -x cib.xml -s         and the scores by which each resource is placed
  holdfast simulate -x cib.xml -sQ        those alone
  holdfast simulate -LAc                  the running cluster's status with node attributes and fail counts
  holdfast simulate -LU                   what its nodes have room for, and who takes it
  holdfast simulate -x cib.xml -s -t \"2026-12-24 18:00\"    as they would be then
  holdfast simulate -x cib.xml -s -d n1   with n1 out of the cluster
  holdfast simulate -x cib.xml -i db_monitor_10000@n1=7 -I after.xml   a failure, and the document after it
  holdfast simulate -x cib.xml -S -d n1   what would be done if n1 left, and what the cluster is like then
  holdfast simulate -x cib.xml -R -G graph.xml -D graph.dot            that alone, for programs and for Graphviz
  holdfast simulate -x cib.xml -S --load-graph graph.xml -O after.xml  a graph carried out, and what it leaves
  holdfast simulate -P cases              how long the scheduler takes for each document of a folder

Exit status:
  0   done
  1   the graph cannot be carried out to its end
  64  wrong usage
  73  a document cannot be read or written
  102 the cluster cannot be reached, as for other commands
  105 the document that the environment names, or the folder of --output-to, is not there

Environment:
  CIB_file, CIB_shadow   the document that --live-check reads in place of the running cluster's")]
pub(crate) struct Args {
    /// The document to read
    #[arg(short = 'x', long, value_name = "FILE", group = "source", help_heading = SOURCE)]
    xml_file: Option<PathBuf>,
    /// Read it from standard input
    #[arg(short = 'p', long, group = "source", help_heading = SOURCE)]
    xml_pipe: bool,
    /// Read the running cluster's document, or that of CIB_file or CIB_shadow
    #[arg(short = 'L', long, group = "source", help_heading = SOURCE)]
    live_check: bool,

    /// Show what would be done
    #[arg(short = 'R', long, help_heading = OPERATIONS)]
    run: bool,
    /// Carry it out on paper, and show what the status would be afterwards
    #[arg(short = 'S', long, help_heading = OPERATIONS)]
    simulate: bool,
    /// As --simulate, and write the document back to its file
    #[arg(short = 'X', long, conflicts_with_all = ["xml_pipe", "live_check", "profile"], help_heading = OPERATIONS)]
    in_place: bool,
    /// Show node attributes, too
    #[arg(short = 'A', long, help_heading = OPERATIONS)]
    show_attrs: bool,
    /// Show fail counts and failed operations, too
    #[arg(short = 'c', long, help_heading = OPERATIONS)]
    show_failcounts: bool,
    /// Show what nodes have room for, and what resources take of it
    #[arg(short = 'U', long, help_heading = OPERATIONS)]
    show_utilization: bool,
    /// Show the scores by which resources are placed
    #[arg(short = 's', long, help_heading = OPERATIONS)]
    show_scores: bool,
    /// Read and place every document of a folder, and say how long each took
    #[arg(short = 'P', long, value_name = "DIR", group = "source", help_heading = OPERATIONS)]
    profile: Option<PathBuf>,
    /// With --profile: so many times
    #[arg(short = 'N', long, value_name = "N", default_value_t = 1, requires = "profile", help_heading = OPERATIONS,
          value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// A node joins
    #[arg(short = 'u', long, value_name = "NODE", help_heading = EVENTS)]
    node_up: Vec<String>,
    /// A node leaves in good order
    #[arg(short = 'd', long, value_name = "NODE", help_heading = EVENTS)]
    node_down: Vec<String>,
    /// A node is lost
    #[arg(short = 'f', long, value_name = "NODE", help_heading = EVENTS)]
    node_fail: Vec<String>,
    /// A result comes in that nobody asked for
    #[arg(short = 'i', long, value_name = "OPSPEC", help_heading = EVENTS)]
    op_inject: Vec<String>,
    /// An action fails when it is carried out, which ends the simulation
    #[arg(short = 'F', long, value_name = "OPSPEC", help_heading = EVENTS)]
    op_fail: Vec<String>,
    /// The time to judge dates and expiries by [default: the one that the document was recorded at, or now]
    #[arg(short = 't', long, value_name = "DATETIME", value_parser = moment, help_heading = EVENTS)]
    set_datetime: Option<At>,
    /// The partition has quorum (1) or has not (0)
    #[arg(short = 'q', long, value_name = "QUORUM", help_heading = EVENTS)]
    quorum: Option<String>,
    /// Nodes have a watchdog that can fence them (1) or have not (0)
    #[arg(short = 'w', long, value_name = "DEVICE", help_heading = EVENTS)]
    watchdog: Option<String>,
    /// A ticket is granted
    #[arg(short = 'g', long, value_name = "TICKET", help_heading = EVENTS)]
    ticket_grant: Vec<String>,
    /// A ticket is taken away
    #[arg(short = 'r', long, value_name = "TICKET", help_heading = EVENTS)]
    ticket_revoke: Vec<String>,
    /// A ticket is put into standby
    #[arg(short = 'b', long, value_name = "TICKET", help_heading = EVENTS)]
    ticket_standby: Vec<String>,
    /// A ticket leaves standby
    #[arg(short = 'e', long, value_name = "TICKET", help_heading = EVENTS)]
    ticket_activate: Vec<String>,

    /// Carry out the graph of this file, and compute none
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    load_graph: Option<PathBuf>,
    /// Write the document as it is before anything is computed
    #[arg(short = 'I', long, value_name = "FILE", help_heading = FILES)]
    save_input: Option<PathBuf>,
    /// Write the document as it is in the end
    #[arg(short = 'O', long, value_name = "FILE", help_heading = FILES)]
    save_output: Option<PathBuf>,
    /// Write the graph
    #[arg(short = 'G', long, value_name = "FILE", help_heading = FILES)]
    save_graph: Option<PathBuf>,
    /// Write a drawing of the graph, for Graphviz
    #[arg(short = 'D', long, value_name = "FILE", conflicts_with = "load_graph", help_heading = FILES)]
    save_dotfile: Option<PathBuf>,
    /// Draw actions that need not be done, too
    #[arg(short = 'a', long, help_heading = FILES)]
    all_actions: bool,

    /// Show what is asked for, and not the status
    #[arg(short = 'Q', long)]
    quiet: bool,
    /// Say also which changes were found to be of secrets only
    #[arg(short = 'V', long, action = ArgAction::Count)]
    verbose: u8,
    /// With headings and marks also where scores or capacity are shown
    #[arg(long)]
    text_fancy: bool,
    /// How to write what is said
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output_as: Format,
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "DEST")]
    output_to: Option<PathBuf>,
}

const SOURCE: &str = "Which document";
const OPERATIONS: &str = "What is done";
const EVENTS: &str = "What happens before";
const FILES: &str = "Files";

/// How to write what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: an element for each thing that is said.
    Xml,
}

/// A point in time, as it was given.
#[derive(Clone, Debug)]
struct At {
    moment: Moment,
    text: String,
}

fn moment(text: &str) -> Result<At, String> {
    let moment =
        Moment::parse(text).ok_or_else(|| format!("{text:?} is no date; write it as 2026-12-24 18:00"))?;
    Ok(At { moment, text: text.to_owned() })
}

/// Why it cannot go on.
struct Stop {
    text: String,
    exit: Exit,
}

impl Stop {
    fn file(error: impl Display) -> Self {
        Self { text: error.to_string(), exit: Exit::CannotCreate }
    }
}

/// Runs it. `given`: as it was typed, for documents that say how they were asked for.
pub(crate) fn run(args: &Args, given: &[String], io: &mut Io) -> Exit {
    let mut results = (args.output_as == Format::Xml).then(Results::default);
    let done = match redirect(args, io) {
        Err(stop) => Err(stop),
        Ok(()) => start(args, &mut results, io),
    };
    let exit = done.unwrap_or_else(|stop| {
        io.complain(format_args!("crm_simulate: {}\n", stop.text));
        stop.exit
    });
    if let Some(results) = results {
        let status = if exit == Exit::Ok { (0, "OK") } else { (exit.code(), "Error occurred") };
        io.say(format_args!("{}", results.document(&request(given), status)));
    }
    exit
}

/// Quoted as Pacemaker's commands do.
fn request(given: &[String]) -> String {
    let quoted = |word: &String| {
        if word.contains(' ') { format!("'{}'", word.replace('\'', "\\'")) } else { word.clone() }
    };
    given.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// From now on everything is said where it is asked for.
fn redirect(args: &Args, io: &mut Io) -> Result<(), Stop> {
    let Some(file) = args.output_to.as_ref().filter(|f| f.as_os_str() != "-") else { return Ok(()) };
    let to = std::fs::File::create(file).map_err(|e| {
        // The exit statuses that Pacemaker's commands have for it.
        let exit = match e.kind() {
            ErrorKind::NotFound => Exit::Of(105),
            ErrorKind::PermissionDenied => Exit::Of(4),
            _ => Exit::CannotCreate,
        };
        Stop {
            text: format!("{}: {e}; name a file in a folder that can be written to", file.display()),
            exit,
        }
    })?;
    io.say_to(Box::new(to));
    Ok(())
}

fn start(args: &Args, results: &mut Option<Results>, io: &mut Io) -> Result<Exit, Stop> {
    match &args.profile {
        Some(folder) => profile::run(folder, args.repeat, io),
        None => whole(args, results, io),
    }
}

/// All of one run, in the order in which it is shown.
fn whole(args: &Args, results: &mut Option<Results>, io: &mut Io) -> Result<Exit, Stop> {
    let quiet = args.quiet || results.is_some();
    let (name, text) = source(args, io)?;
    let root = read(&text, &name)?;
    let recorded = WorkingSet::recorded_time(&root).filter(|_| args.set_datetime.is_none());
    let now = args.set_datetime.as_ref().map(|at| at.moment).or(recorded).unwrap_or_else(clock);
    let work = |root| {
        let mut set = WorkingSet::new(root, now).map_err(|e| Stop::file(format!("{name}: {e}")))?;
        // Documents that are looked at elsewhere often come without their secrets.
        set.without_secrets = true;
        set.show_utilization = args.show_utilization;
        Ok(set)
    };
    let mut set = work(&root)?;
    let say = |io: &mut Io, text: &str| {
        if !quiet {
            io.say(format_args!("{text}"));
        }
    };
    let time = args.set_datetime.as_ref().map(|at| format!("Setting effective cluster time: {}\n", at.text));
    let time = time.unwrap_or_default();
    let style = Style { plain: (args.show_scores || args.show_utilization) && !args.text_fancy };
    let view =
        SimulationView { more: sections(args), clock: crate::crm_mon::clock(now.0), plain: style.plain };
    say(io, &(time.clone() + &current_status_with(&set, recorded.is_some(), view)));
    if let Some(results) = results {
        results.part("cluster_status", status_markup(&set, true, view));
    }

    let asked = injections(args);
    let injected;
    if !asked.is_empty() {
        say(io, &format!("\n{}", style.heading("Performing Requested Modifications")));
        let modified = inject(&set, &asked, clock());
        match results {
            Some(results) => results.modifications(&asked, &modified.events),
            None => report(&modified.events, args.quiet, style, io),
        }
        if recorded.is_some() {
            say(io, &format!("Using the original execution date of: {}\n", now.display()));
        }
        injected = modified.cib;
        set = work(&injected)?;
    }
    if let Some(file) = &args.save_input {
        write(file, &set.document().to_xml())?;
    }

    let simulate = args.simulate || args.in_place;
    let files = [&args.save_graph, &args.save_dotfile, &args.load_graph];
    let asked = simulate || args.run || files.iter().any(|file| file.is_some());
    // Who wants to see how resources are placed sees what comes of it, too.
    let wanted = args.show_scores || args.show_utilization;
    let asked = asked || wanted && (results.is_some() || !args.quiet);
    if wanted || asked {
        set.place();
    }
    if wanted {
        let title = match (args.show_scores, args.show_utilization) {
            (true, true) => "Allocation Scores and Utilization Information",
            (true, false) => "Allocation Scores",
            _ => "Utilization Information",
        };
        let is_score =
            |line: &str| line.contains("allocation score on ") || line.contains(" promotion score on ");
        let lines = set.scores().lines().filter(|line| args.show_scores || !is_score(line));
        if let Some(results) = results {
            let part = match (args.show_scores, args.show_utilization) {
                (true, true) => "allocations_utilizations",
                (true, false) => "allocations",
                _ => "utilizations",
            };
            results.part(part, markup::amounts(lines.clone()));
        }
        let lines: String = lines.map(|line| format!("{}{line}\n", style.mark())).collect();
        say(io, "\n");
        // What was found to differ in secrets only stands before the scores, else among what is told of the run.
        let messages: String = set.messages.drain(..).map(|message| message + "\n").collect();
        let messages = if args.quiet { "" } else { &messages };
        if results.is_none() {
            io.say(format_args!("{}{messages}{lines}", style.heading(title)));
        }
    }
    let mut exit = Exit::Ok;
    let executed;
    let mut last = set.document();
    if asked {
        let graph = graph(args, &mut set)?;
        let summary = transition_summary(&mut set);
        if args.verbose > 0 || wanted {
            for message in &set.messages {
                say(io, &format!("{message}\n"));
            }
        }
        if let Some(file) = &args.save_graph {
            let written = std::fs::File::create(file).map(std::io::BufWriter::new).and_then(|mut to| {
                graph.write_xml(&mut to)?;
                to.flush()
            });
            written.map_err(|e| Stop::file(format!("{}: {e}", file.display())))?;
        }
        if let Some(file) = &args.save_dotfile {
            write(file, &set.dot(args.all_actions))?;
        }
        if args.load_graph.is_none() {
            say(io, &format!("\n{}", style.list(&summary)));
            if let Some(results) = results {
                results.part("actions", transition_markup(&mut set));
            }
        }
        if simulate {
            if args.quiet && wanted && results.is_none() {
                io.say(format_args!("\n")); // the only part of it that the peer does not keep to itself
            }
            say(io, &format!("\n{}", style.heading("Executing Cluster Transition")));
            let done = carry_out(&graph, &set, &args.op_fail, clock());
            match results {
                Some(results) => results.transition(&done.events),
                None => report(&done.events, args.quiet, style, io),
            }
            if done.outcome == Outcome::Terminated {
                io.complain(format_args!(
                    "Transition failed: terminated\nAn invalid transition was produced\n"
                ));
                exit = Exit::Of(1);
            }
            executed = done.cib;
            let after = work(&executed)?;
            say(io, &(time + &revised_status_with(&after, recorded.is_some(), view)));
            if let Some(results) = results {
                results.part("revised_cluster_status", status_markup(&after, false, view));
            }
            last = &executed;
        }
    }
    for warning in &set.warnings {
        io.complain(format_args!("crm_simulate: warning: {warning}\n"));
    }
    if let Some(file) = &args.save_output {
        write(file, &last.to_xml())?;
    }
    if let Some(file) = args.xml_file.as_ref().filter(|_| args.in_place) {
        // What is there stays there until the new document is whole.
        let new = file.with_extension("new");
        write(&new, &last.to_xml())?;
        std::fs::rename(&new, file).map_err(|e| Stop::file(format!("{}: {e}", file.display())))?;
    }
    Ok(exit)
}

/// The document's name and text.
fn source(args: &Args, io: &mut Io) -> Result<(String, String), Stop> {
    if args.live_check {
        return crate::cluster_document::read().map_err(|(rc, text)| Stop { text, exit: Exit::Of(rc) });
    }
    if args.xml_pipe {
        let text = io.read_document().map_err(|e| Stop::file(format!("standard input: {e}")))?;
        return Ok(("standard input".into(), text));
    }
    let Some(path) = &args.xml_file else {
        let text =
            "name a document with -x FILE, bring it on standard input with -p, or take the cluster's with -L"
                .into();
        return Err(Stop { text, exit: Exit::Usage });
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| Stop::file(format!("{name}: {e}")))?;
    Ok((name, text))
}

/// A document as of the newest schema.
fn read(text: &str, name: &str) -> Result<Element, Stop> {
    Element::parse(text, name).map(|root| cib::upgrade(root).root).map_err(Stop::file)
}

fn clock() -> Moment {
    Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().cast_signed()))
}

/// What is shown of the status besides nodes and resources.
fn sections(args: &Args) -> Sections {
    let mut more = Sections::NONE;
    if args.show_attrs {
        more = more.with(Sections::ATTRIBUTES);
    }
    if args.show_failcounts {
        more = more.with(Sections::FAILCOUNTS).with(Sections::FAILURES);
    }
    more
}

fn injections(args: &Args) -> Injections {
    Injections {
        quorum: args.quorum.clone(),
        watchdog: args.watchdog.clone(),
        node_up: args.node_up.clone(),
        node_down: args.node_down.clone(),
        node_fail: args.node_fail.clone(),
        ticket_grant: args.ticket_grant.clone(),
        ticket_revoke: args.ticket_revoke.clone(),
        ticket_standby: args.ticket_standby.clone(),
        ticket_activate: args.ticket_activate.clone(),
        op_inject: args.op_inject.clone(),
    }
}

/// What has to be done: from a file, or computed.
fn graph(args: &Args, set: &mut WorkingSet<'_>) -> Result<Graph, Stop> {
    let Some(file) = &args.load_graph else {
        set.schedule();
        return Ok(set.graph());
    };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| Stop::file(format!("{name}: {e}")))?;
    Graph::parse(&text, &name).map_err(Stop::file)
}

/// How lists are written. Pacemaker's command leaves headings and marks out as soon as scores or capacity are asked for, so that
/// these can be read by programs, unless `--text-fancy` asks for them.
#[derive(Clone, Copy)]
struct Style {
    plain: bool,
}

impl Style {
    fn heading(self, title: &str) -> String {
        if self.plain { String::new() } else { format!("{title}:\n") }
    }

    fn mark(self) -> &'static str {
        if self.plain { "" } else { MARK }
    }

    /// A line that has its mark.
    fn line(self, line: &str) -> &str {
        if self.plain { line.strip_prefix(MARK).unwrap_or(line) } else { line }
    }

    /// A list that has its heading and marks.
    fn list(self, text: &str) -> String {
        let lines = text.split_inclusive('\n').skip(usize::from(self.plain));
        lines.map(|line| self.line(line)).collect()
    }
}

const MARK: &str = "  * ";

/// What happened on one stream, what made no sense on the other, in order.
fn report(events: &[Event], quiet: bool, style: Style, io: &mut Io) {
    for event in events {
        match event.line() {
            Some(line) if !quiet => io.say(format_args!("{}", style.line(&line))),
            Some(_) => {}
            None => io.complain(format_args!("crm_simulate: {event}\n")),
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), Stop> {
    std::fs::write(file, text).map_err(|e| Stop::file(format!("{}: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(args: &[&str], input: &str) -> (Exit, String) {
        let (mut io, said) = Io::captured(input);
        let called = Called::try_parse_from(args).unwrap();
        let exit = run(&called.args, &[], &mut io);
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
        let (exit, text) = say(&["crm_simulate", "-p", "-sQ", "-t", "2026-12-24 18:00"], "<cib/>");
        assert_eq!((exit, text.as_str()), (Exit::Ok, ""));
        let (exit, text) = say(&["crm_simulate"], "");
        assert_eq!(exit, Exit::Usage);
        assert!(text.contains("-x FILE"), "{text}");
        assert!(Called::try_parse_from(["crm_simulate", "-p", "-t", "some day"]).is_err());
        assert!(
            Called::try_parse_from(["crm_simulate", "-p", "-X"]).is_err(),
            "there is no file to write to"
        );
    }
}
