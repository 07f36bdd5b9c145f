//! `pm_logconv`: the operator's log from the raw logs of Pacemaker and Corosync, or of our daemons, followed or once.
//!
//! What is said is `logconv`'s; here are the files: the raw log is followed through its rotation, and what was read and written is kept in
//! a state file after each batch, so that a restart leaves nothing out and says nothing twice.

mod daemon;
mod follow;
mod output;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgAction, Parser};
use logconv::{Converter, Date, Level, Rules, Settings, Suffix};

use self::follow::Follower;
use self::output::Output;
use crate::exit::Exit;
use crate::io::Io;

/// Called by the name of the original.
#[derive(Parser)]
#[command(name = "pm_logconv", version, disable_version_flag = true)]
pub(crate) struct Called {
    /// Print version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) args: Args,
}

/// Turn the cluster's log into the few lines that an operator needs.
///
/// Understands the logs of Pacemaker 1.1 (from 1.1.10 on) and 2.1, of Corosync, and of rgmd. Which lines are said, and how, is in the rules;
/// without a file of rules those that are built in are used.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run in the background, and follow the log
    #[arg(short = 'd', long, group = "what")]
    daemon: bool,
    /// Stop the one that runs in the background
    #[arg(short = 'k', long, group = "what")]
    kill: bool,
    /// Say whether one runs in the background
    #[arg(short = 's', long, group = "what")]
    status: bool,
    /// Convert what there is, and leave
    #[arg(short = 'o', long, group = "what")]
    once: bool,
    /// Follow the log in the foreground, for a service manager
    #[arg(long, group = "what")]
    follow: bool,
    /// Convert these files to standard output instead, in this order; - is standard input
    #[arg(value_name = "FILE", group = "what")]
    files: Vec<PathBuf>,
    /// The settings
    #[arg(short = 'f', long = "config", value_name = "CONFIG", default_value = "/etc/pm_logconv.conf")]
    config: PathBuf,
    /// The rules [default: /etc/pm_logconv_rules.conf where there is one, else those that are built in]
    #[arg(long, value_name = "RULES")]
    rules: Option<PathBuf>,
    /// Where to keep what was read and written
    #[arg(long, value_name = "STATE", default_value = "/var/run/pm_logconv.stat")]
    state: PathBuf,
    /// Names the process in the background
    #[arg(long, value_name = "PIDFILE", default_value = "/var/run/pm_logconv.pid")]
    pid_file: PathBuf,
    /// Write results as (rc=1) or (status=4), without words, as the original did up to 2.2
    #[arg(long)]
    numbers: bool,
    /// Print the rules that are built in, to begin a file of one's own with
    #[arg(long, group = "what")]
    print_rules: bool,
    /// Print the table of messages
    #[arg(long, group = "what")]
    print_messages: bool,
    /// With files: JSON, an object a line
    #[arg(long, requires = "files")]
    json: bool,
}

/// Why it cannot go on.
struct Stop {
    text: String,
    exit: Exit,
}

impl Stop {
    fn file(what: impl Display, error: impl Display) -> Self {
        Self { text: format!("{what}: {error}"), exit: Exit::Of(1) }
    }
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    whole(args, io).unwrap_or_else(|stop| {
        io.complain(format_args!("pm_logconv: {}\n", stop.text));
        stop.exit
    })
}

fn whole(args: &Args, io: &mut Io) -> Result<Exit, Stop> {
    if args.print_rules {
        io.say(format_args!("{}", Rules::STANDARD));
        return Ok(Exit::Ok);
    }
    if args.print_messages {
        for row in logconv::TABLE {
            io.say(format_args!(
                "{:<6} {:>7}: {}    {}\n",
                row.number,
                row.level.as_str(),
                row.text,
                row.meaning
            ));
        }
        return Ok(Exit::Ok);
    }
    if args.kill {
        return daemon::kill(&args.pid_file, io);
    }
    if args.status {
        return daemon::status(&args.pid_file, io);
    }
    let (mut settings, rules) = configuration(args)?;
    if args.numbers {
        settings.suffix = Suffix::Numbers;
    }
    let host = holdfast_sys::host::hostname().unwrap_or_else(|_| "localhost".to_owned());
    let converter = Converter::new(settings.clone(), rules, &host);
    if !args.files.is_empty() {
        return convert_files(args, converter, io);
    }
    if !(args.daemon || args.once || args.follow) {
        let text = "say what to do: -d follows the log in the background, -o converts what there is, FILE converts that; see --help";
        return Err(Stop { text: text.to_owned(), exit: Exit::Usage });
    }
    let _alone = daemon::alone(&args.pid_file)?;
    let mut work = Work::begin(args, settings, converter)?;
    if args.once {
        while work.step()? {}
        return Ok(Exit::Ok);
    }
    if args.daemon {
        return daemon::background(&args.pid_file, work);
    }
    daemon::go_on(&mut work)
}

/// Settings and rules. Files that were not named may be missing.
fn configuration(args: &Args) -> Result<(Settings, Rules), Stop> {
    let said = |path: &Path, errors: Vec<String>| {
        let lines: Vec<String> = errors.iter().map(|e| format!("{}: {e}", path.display())).collect();
        Stop { text: lines.join("\npm_logconv: "), exit: Exit::Of(1) }
    };
    let read = |path: &Path, optional: bool| match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if optional && e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Stop::file(path.display(), e)),
    };
    let named = args.config != Path::new(CONFIG);
    let text = read(&args.config, !named)?.unwrap_or_default();
    let words = |errors: Vec<logconv::SettingsError>| errors.iter().map(ToString::to_string).collect();
    let settings = Settings::parse(&text).map_err(|errors| said(&args.config, words(errors)))?;
    let words = |errors: Vec<logconv::RuleError>| errors.iter().map(ToString::to_string).collect();
    let path = args.rules.clone().unwrap_or_else(|| RULES.into());
    if let Some(text) = read(&path, args.rules.is_none())? {
        let rules = Rules::parse(&text).map_err(|errors| said(&path, words(errors)))?;
        return Ok((settings, rules));
    }
    // The oldest releases kept them in the file of settings.
    let rules = Rules::parse(&text).map_err(|errors| said(&args.config, words(errors)))?;
    Ok((settings, if rules.is_empty() { Rules::standard() } else { rules }))
}

fn convert_files(args: &Args, mut converter: Converter, io: &mut Io) -> Result<Exit, Stop> {
    let now = today();
    for path in &args.files {
        let mut gone = false;
        let json = args.json;
        let mut each = |bytes: &[u8], io: &mut Io| {
            for line in converter.line(&String::from_utf8_lossy(bytes), now) {
                let said = if json {
                    let value = serde_json::json!({
                        "date": line.date, "host": line.host, "number": line.number,
                        "level": line.level.as_str(), "text": line.text,
                    });
                    io.try_say(format_args!("{value}\n"))
                } else {
                    io.try_say(format_args!("{line}\n"))
                };
                gone |= said.is_err();
            }
            !gone
        };
        if path == Path::new("-") {
            io.each_line(|line, io| each(line, io)).map_err(|e| Stop::file("standard input", e))?;
        } else {
            let file = fs::File::open(path).map_err(|e| Stop::file(path.display(), e))?;
            let mut reader = std::io::BufReader::new(file);
            let mut line = Vec::new();
            while follow::read_line(&mut reader, &mut line).map_err(|e| Stop::file(path.display(), e))? {
                if !each(&line, io) {
                    break;
                }
            }
        }
    }
    Ok(Exit::Ok)
}

/// Everything that follows a log.
pub(super) struct Work {
    follower: Follower,
    converter: Converter,
    output: Output,
    state: PathBuf,
    kept: String,
    /// Its own messages go to syslog: this facility, and no less urgent than that.
    facility: u8,
    priority: u8,
    /// Nobody reads its standard error.
    pub(super) unseen: bool,
}

/// How often the log is looked at.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

impl Work {
    fn begin(args: &Args, settings: Settings, mut converter: Converter) -> Result<Self, Stop> {
        let absolute = |path: &str| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let kept = Kept::read(&args.state)?;
        let output = settings.output_path.as_deref().map(absolute);
        let output = Output::new(output, settings.output_logfacility.as_deref(), &kept.output);
        converter.resume(kept.converter);
        let follower = Follower::new(absolute(&settings.ha_log_path), kept.input);
        let state = std::path::absolute(&args.state).unwrap_or_else(|_| args.state.clone());
        let facility = output::number(&settings.logconv_logfacility).unwrap_or(3);
        let priority = Level::parse(&settings.logconv_logpriority).map_or(6, Level::severity);
        Ok(Self {
            follower,
            converter,
            output,
            state,
            kept: String::new(),
            facility,
            priority,
            unseen: false,
        })
    }

    /// Converts what came since, a batch at a time. Whether there was something.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    fn step(&mut self) -> Result<bool, Stop> {
        let path = self.follower.path.clone();
        let lines = self.follower.read().map_err(|e| Stop::file(path.display(), e))?;
        let now = today();
        let mut said = Vec::new();
        for line in &lines {
            said.extend(self.converter.line(&String::from_utf8_lossy(line), now));
        }
        self.output.write(&said).map_err(|(path, e)| Stop::file(path.display(), e))?;
        let kept = Kept {
            input: self.follower.kept(),
            output: self.output.kept(),
            converter: self.converter.state().clone(),
        };
        let text = serde_json::to_string(&kept).map_err(|e| Stop::file("the state", e))?;
        if text != self.kept {
            // Whole or not at all.
            let new = self.state.with_extension("stat.new");
            fs::write(&new, &text).and_then(|()| fs::rename(&new, &self.state)).map_err(|e| {
                Stop::file(self.state.display(), format!("{e}; name another file with --state"))
            })?;
            self.kept = text;
        }
        Ok(!lines.is_empty())
    }

    /// Says something of its own.
    fn tell(&self, level: Level, text: &str) {
        if !self.unseen {
            eprintln!("pm_logconv: {text}");
        } else if level.severity() <= self.priority {
            output::send(self.facility, &[(level, text.to_owned())]);
        }
    }

    /// What went wrong on the way and is no reason to stop.
    fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.follower.complaints)
    }
}

/// The state file.
#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Kept {
    input: follow::Kept,
    output: output::Kept,
    converter: logconv::State,
}

impl Kept {
    fn read(path: &Path) -> Result<Self, Stop> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| {
                let remedy =
                    format!("begin anew, and convert the whole log once more: rm {}", path.display());
                Stop::file(path.display(), format!("{e}; {remedy}"))
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Stop::file(path.display(), e)),
        }
    }
}

/// The day by the clock on the wall, one ahead: a log of another zone may be.
fn today() -> Date {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let tomorrow = u64::try_from(now).unwrap_or(0).saturating_add(86_400_000);
    let text = status::iso(tomorrow, holdfast_sys::timezone::utc_offset);
    let number = |from: usize, to: usize| text.get(from..to).and_then(|t| t.parse().ok());
    Date {
        year: number(0, 4).unwrap_or(1970),
        month: number(5, 7).and_then(|m: i32| m.try_into().ok()).unwrap_or(1),
        day: number(8, 10).and_then(|d: i32| d.try_into().ok()).unwrap_or(1),
    }
}

const CONFIG: &str = "/etc/pm_logconv.conf";
const RULES: &str = "/etc/pm_logconv_rules.conf";

const EXAMPLES: &str = "\
Examples:
  pm_logconv -d                           follow /var/log/ha-log in the background
  pm_logconv -s                           does it run?
  pm_logconv -k                           stop it; the next start goes on where it stopped
  pm_logconv ha-log.1 ha-log              the operator's lines of two files, the older one first
  journalctl -o short -u pacemaker -u corosync | pm_logconv -
  pm_logconv --print-rules > rules.conf   to change them: pm_logconv --rules rules.conf ha-log
  pm_logconv --print-messages             every message, and when it is said

Where what was read is kept is a file: without it the log is converted from its beginning. A line that is still being written is
waited for, 30 seconds at most.

Exit status:
  0   done; with -s: it runs
  1   a file cannot be read or written; with -s: it does not run
  64  wrong usage";
