//! `crm_mon`: Pacemaker's monitor, for people and scripts that know it: what it shows comes from the CIB alone, wherever that is.

mod agent;
mod args;
mod daemon;
mod screen;
mod sections;
mod source;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use cib::Moment;
use scheduler::{
    Clock, Details, FencingHistory, Markup, Monitor, NotACib, WorkingSet, legacy_document, old_monitor, page,
    result_document, simple_monitor,
};

pub(crate) use args::{Args, Called};
use args::{Format, Layout};
use sections::Wanted;
pub(crate) use sections::steps;
use source::{Found, Source};

use crate::exit::Exit;
use crate::io::Io;

/// What is shown in the end, and how.
struct Plan {
    form: Form,
    wanted: Wanted,
    details: Details,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Full screen, with keys.
    Console,
    Text,
    /// One line.
    Simple,
    Html,
    /// For a web server.
    Cgi,
    Xml,
    LegacyXml,
}

/// Why it cannot go on: an exit status, and lines.
struct Stop {
    exit: u8,
    lines: Vec<String>,
}

impl Stop {
    fn new(exit: u8, text: impl Into<String>) -> Self {
        Self { exit, lines: vec![text.into()] }
    }

    fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, format!("crm_mon: {}", text.into()))
    }
}

const ERROR: u8 = 1;
const USAGE: u8 = 64;
const CONFIGURATION: u8 = 78;
const DISCONNECTED: u8 = 102;
const NO_SUCH_OBJECT: u8 = 105;

/// What exit statuses mean, in the peer's words.
fn exit_text(exit: u8) -> &'static str {
    match exit {
        0 => "OK",
        2 => "Invalid parameter",
        USAGE => "Incorrect usage",
        CONFIGURATION => "Invalid configuration",
        DISCONNECTED => "Not connected",
        NO_SUCH_OBJECT => "Requested item not found",
        _ => "Error occurred",
    }
}

/// Runs it. `given`: as it was typed, for documents that say how they were asked for.
pub(crate) fn run(args: &Args, given: &[String], order: &[sections::Step], io: &mut Io) -> Exit {
    let cgi = given.first().is_some_and(|name| name.ends_with(".cgi"));
    let form = form(args, cgi);
    let done = whole(args, form, given, order, io);
    let Err(stop) = done else { return done.unwrap_or(Exit::Ok) };
    match form {
        Form::Xml => {
            let status = (stop.exit, exit_text(stop.exit));
            io.say(format_args!(
                "{}",
                result_document(&given.join(" "), Vec::new(), status, &stop.lines).to_xml()
            ));
        }
        Form::Html | Form::Cgi => {
            let mut list = Markup::new("ul");
            list.children = stop.lines.iter().map(|line| Markup::new("li").with_text(line)).collect();
            io.say(format_args!("{}", write_page(args, form, None, vec![list])));
        }
        _ => stop.lines.iter().for_each(|line| io.complain(format_args!("{line}\n"))),
    }
    Exit::Of(stop.exit)
}

fn form(args: &Args, cgi: bool) -> Form {
    match args.output_as {
        _ if cgi || args.web_cgi => Form::Cgi,
        _ if args.simple_status => Form::Simple,
        _ if args.as_xml => Form::LegacyXml,
        _ if args.as_html.is_some() => Form::Html,
        _ if args.layout == Layout::Xml => Form::Xml,
        Some(Format::Html) => Form::Html,
        Some(Format::Xml) => Form::Xml,
        Some(Format::Text) => Form::Text,
        Some(Format::Console) | None => {
            let file = args.output_to.is_some() || args.daemonize;
            let once = args.one_shot || file || source::is_file(args.xml_file.as_deref());
            let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
            // Without a screen to draw on it is shown once.
            if once || !terminal || args.disable_ncurses { Form::Text } else { Form::Console }
        }
    }
}

fn whole(
    args: &Args,
    form: Form,
    given: &[String],
    order: &[sections::Step],
    io: &mut Io,
) -> Result<Exit, Stop> {
    if args.version {
        version(form, given, io);
        return Ok(Exit::Ok);
    }
    let mut source = Source::of(args.xml_file.as_deref());
    let level = args.fence_history.unwrap_or(1);
    if level > 3 {
        return Err(Stop::usage("Fence history must be 0-3"));
    }
    let level = if !source.is_live() || args.watch_fencing { 0 } else { level };
    let wanted = Wanted::new(form, level, args.quiet, order).map_err(Stop::usage)?;
    let programs = matches!(form, Form::Xml | Form::LegacyXml);
    let mut plan = Plan {
        form,
        wanted,
        details: Details {
            brief: args.brief,
            detail: args.show_detail,
            timing: args.timing_details || programs,
            inactive: args.inactive || programs,
            by_node: args.group_by_node,
            pending: true,
        },
    };
    if form == Form::Cgi {
        let text = if !source.is_live() {
            Some("CGI mode used with CIB file")
        } else if args.external_agent.is_some() {
            Some("CGI mode cannot be used with --external-agent")
        } else if args.daemonize {
            Some("CGI mode cannot be used with -d")
        } else {
            None
        };
        if let Some(text) = text {
            return Err(Stop::usage(text));
        }
    }
    let to = destination(args);
    // A document from a file does not change by itself.
    let daemon = args.daemonize && source.is_live() && !args.one_shot;
    if daemon {
        if to.is_none() && args.external_agent.is_none() {
            return Err(Stop::usage("--daemonize requires at least one of --output-to and --external-agent"));
        }
        if args.external_agent.is_none() && args.output_as.is_none() && args.as_html.is_none() {
            return Err(Stop::usage("--daemonize requires --output-as=[html|text|xml]"));
        }
        if !daemon::is_one() {
            return daemon::begin(&args.pid_file, io);
        }
        daemon::settle(&args.pid_file).map_err(|e| Stop::new(ERROR, format!("crm_mon: {e}")))?;
    }
    let once = !daemon
        && (args.one_shot
            || matches!(form, Form::Simple | Form::Cgi | Form::Xml | Form::LegacyXml)
            || (form == Form::Text && args.output_as.is_none() && !args.disable_ncurses)
            || !source.is_live());
    if form == Form::Console {
        return screen::run(args, &mut plan, &mut source);
    }
    if once {
        let found = source.read(args, level)?;
        let text = plan.render(args, given, &found, true)?;
        deliver(to, &text, io)?;
        return Ok(Exit::Ok);
    }
    watch(args, &plan, &mut source, given, to, level, io)
}

/// The file that is written, if it is one.
fn destination(args: &Args) -> Option<&Path> {
    let to = args.output_to.as_deref().or(args.as_html.as_deref());
    to.filter(|path| path.as_os_str() != "-")
}

fn deliver(to: Option<&Path>, text: &str, io: &mut Io) -> Result<(), Stop> {
    let Some(path) = to else {
        return io.try_say(format_args!("{text}")).map_err(|e| Stop::new(ERROR, format!("crm_mon: {e}")));
    };
    // Readers find either the old or the new one whole; what is no file, as a terminal, is written to.
    let new = path.with_file_name(format!(
        ".{}.{}",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let plain = std::fs::symlink_metadata(path).map_or(true, |m| m.is_file());
    let written = if plain {
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path))
    } else {
        std::fs::write(path, text)
    };
    written.map_err(|e| {
        let _ = std::fs::remove_file(&new);
        let path = path.display();
        Stop::new(ERROR, format!("crm_mon: {path}: {e}; name a file that can be written with --output-to"))
    })
}

/// Shows it, and again when it has changed, until it is ended.
fn watch(
    args: &Args,
    plan: &Plan,
    source: &mut Source,
    given: &[String],
    to: Option<&Path>,
    level: u8,
    io: &mut Io,
) -> Result<Exit, Stop> {
    if plan.form == Form::Html
        && let Some(to) = to
    {
        io.say(format_args!("Writing html to {} ...\n", to.display()));
    }
    let mut reporter = args
        .external_agent
        .as_deref()
        .map(|program| agent::Reporter::new(program, args.external_recipient.as_deref(), args.watch_fencing));
    let mut before = None;
    let mut shown = Instant::now();
    loop {
        match source.read(args, level) {
            Ok(found) => {
                if let Some(reporter) = &mut reporter {
                    reporter.see(&found);
                }
                let news = before.as_ref() != Some(&found);
                // What nobody reads is not written.
                let read = to.is_some() || args.external_agent.is_none();
                if read && (news || shown.elapsed() >= args.interval) {
                    deliver(to, &plan.render(args, given, &found, false)?, io)?;
                    shown = Instant::now();
                    before = Some(found);
                }
            }
            // A daemon waits for its cluster; whoever is looked at says what is the matter.
            Err(stop) if !args.daemonize && before.is_none() => return Err(stop),
            Err(_) => {}
        }
        std::thread::sleep(args.interval.min(POLL));
    }
}

/// How often a change is looked for.
const POLL: Duration = Duration::from_secs(2);

impl Plan {
    /// What is shown of it. `health`: with a line about the daemon.
    fn render(&self, args: &Args, given: &[String], found: &Found, health: bool) -> Result<String, Stop> {
        let now = now();
        let root = match found {
            Found::Document { root, .. } => root,
            Found::Status(status) => return self.render_status(args, status),
        };
        let not_a_cib = |e: NotACib| Stop::new(CONFIGURATION, format!("crm_mon: {e}"));
        let mut set = WorkingSet::new(root, Moment(now)).map_err(not_a_cib)?;
        let Found::Document { fencing, live, .. } = found else { return Ok(String::new()) };
        let reduced;
        let fencing = match fencing {
            // Programs get all of it, and whoever asks for everything.
            Some(history)
                if !matches!(self.form, Form::Xml | Form::LegacyXml) && !self.wanted.all_fencing() =>
            {
                reduced = history.reduced();
                Some(&reduced)
            }
            other => other.as_ref(),
        };
        let monitor = self.monitor(args, fencing, now);
        let health = health && *live;
        let at = local_iso(now);
        let said = format!("Status of pacemakerd: 'Pacemaker is running' (last updated {at})");
        Ok(match self.form {
            Form::Simple => simple_monitor(&set),
            Form::Console | Form::Text if args.layout == Layout::Old => old_monitor(&mut set, &monitor),
            Form::Console | Form::Text => {
                let line = if health { format!("{said}\n") } else { String::new() };
                line + &monitor.text(&mut set)
            }
            Form::Html | Form::Cgi => {
                let mut content = Vec::new();
                if health {
                    content.push(Markup::new("li").with_text(&said));
                }
                content.extend(monitor.html(&mut set));
                write_page(args, self.form, destination(args), content)
            }
            Form::Xml | Form::LegacyXml => {
                let mut content = Vec::new();
                if health {
                    let daemon = Markup::new("pacemakerd")
                        .with("sys_from", "pacemakerd")
                        .with("state", "running")
                        .with("last_updated", &at);
                    content.push(daemon);
                }
                content.extend(monitor.xml(&mut set));
                if self.form == Form::LegacyXml {
                    legacy_document(content).to_xml()
                } else {
                    result_document(&given.join(" "), content, (0, exit_text(0)), &[]).to_xml()
                }
            }
        })
    }

    fn monitor<'a>(&'a self, args: &'a Args, fencing: Option<&'a FencingHistory>, now: i64) -> Monitor<'a> {
        Monitor {
            sections: self.wanted.sections,
            details: self.details,
            only_node: args.node.as_deref(),
            only_resource: args.resource.as_deref(),
            ban_prefix: self.wanted.ban_prefix.as_deref(),
            fencing: fencing.filter(|_| self.wanted.has_fencing()),
            clock: clock(now),
        }
    }

    /// What an `rgmd` tells that has no status section yet.
    fn render_status(&self, args: &Args, found: &status::ClusterStatus) -> Result<String, Stop> {
        use scheduler::Sections;
        let has = |section| self.wanted.sections.has(section);
        match self.form {
            Form::Simple => return Ok(status::crm_mon_simple(found)),
            Form::Text | Form::Console if args.layout == Layout::New => {}
            _ => {
                let text = "rgmd of this node gives no status section yet: only text is shown of a running cluster; \
                            for programs: holdfast status --json";
                return Err(Stop::new(3, format!("crm_mon: {text}")));
            }
        }
        let options = status::CrmMonOptions {
            live: self.form == Form::Text,
            hide_headers: !self.wanted.sections.has_any(Sections::SUMMARY),
            inactive: self.details.inactive,
            group_by_node: self.details.by_node,
            node_attributes: has(Sections::ATTRIBUTES),
            failcounts: has(Sections::FAILCOUNTS),
            neg_locations: has(Sections::BANS).then(|| self.wanted.ban_prefix.clone().unwrap_or_default()),
            show_detail: self.details.detail,
            fence_history: self.wanted.fence_level(),
        };
        Ok(status::crm_mon(found, &options, holdfast_sys::timezone::utc_offset))
    }
}

fn write_page(args: &Args, form: Form, to: Option<&Path>, content: Vec<Markup>) -> String {
    let mut out = String::new();
    if form == Form::Cgi || args.html_cgi {
        let _ = writeln!(out, "Content-Type: text/html\n"); // a String takes everything
    }
    let refresh = to.map(|_| args.interval.as_secs());
    let title = args.html_title.as_deref().unwrap_or("Cluster Status");
    out + &page(title, args.html_stylesheet.as_deref(), refresh, content).to_html()
}

fn version(form: Form, given: &[String], io: &mut Io) {
    if form == Form::Xml {
        let element = Markup::new("version")
            .with("program", "Pacemaker")
            .with("version", PEER)
            .with("author", concat!("Holdfast ", env!("CARGO_PKG_VERSION")));
        let document = result_document(&given.join(" "), vec![element], (0, exit_text(0)), &[]);
        io.say(format_args!("{}", document.to_xml()));
    } else {
        // The first line is what scripts look for.
        io.say(format_args!("Pacemaker {PEER}\nas spoken by Holdfast {}\n", env!("CARGO_PKG_VERSION")));
    }
}

/// The release whose monitor this is.
const PEER: &str = "2.1.5";

fn now() -> i64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().cast_signed())
}

/// How dates are written.
pub(crate) fn clock(now: i64) -> Clock {
    Clock { now, ctime: local_ctime, iso: local_iso, interval: status::interval }
}

fn milliseconds(at: i64) -> u64 {
    u64::try_from(at).unwrap_or(0).saturating_mul(1_000)
}

fn local_ctime(at: i64) -> String {
    status::ctime(milliseconds(at), holdfast_sys::timezone::utc_offset)
}

fn local_iso(at: i64) -> String {
    status::iso(milliseconds(at), holdfast_sys::timezone::utc_offset)
}
