//! `rgmd`, the resource-group manager: connects to the local ring daemon, joins its process group, serves the
//! administrator's socket, runs agents.

#![forbid(unsafe_code)]

mod driver;
mod exit;
mod lifeline;
mod log;
mod ring;
mod socket;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use failfast::core::limits::INTERVAL_MAX;
use holdfast_sys::daemonize::{self, Signals};
use holdfast_types::Span;

use crate::driver::{Driver, Paths};
use crate::exit::Fatal;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(Other::Say(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Other::Wrong(text)) => {
            eprintln!("{text}");
            return ExitCode::from(exit::USAGE);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("rgmd: {fatal}");
            tracing::error!("{fatal}");
            ExitCode::from(fatal.status)
        }
    }
}

fn run(args: &Args) -> Result<(), Fatal> {
    let paths = Paths::from_env();
    let cib = store::first_cib(&paths.state_dir, args.cib.as_deref())?;
    socket::check_alone(&paths.run_dir)?;
    let background = match args.foreground {
        true => None,
        false => {
            let failed = |e| Fatal::new(exit::OS, format!("cannot go into the background: {e}"));
            Some(daemonize::into_background(exit::SOFTWARE).map_err(failed)?)
        }
    };
    log::begin(args.json, background.is_some(), args.verbose);
    // Before any thread: they inherit it.
    let signals =
        Signals::with_children().map_err(|e| Fatal::new(exit::OS, format!("cannot read signals: {e}")))?;
    // What agents leave running stays below this process, where the guardian sees it even if it forgot its environment.
    if let Err(e) = holdfast_sys::orphans::adopt() {
        tracing::warn!(
            "cannot adopt what agents leave running: {e}; use a fence device or exit_scope: pid-namespace"
        );
    }
    let driver = Driver::start(paths, cib, signals, args.delay.unwrap_or(lifeline::DELAY))?;
    if let Some(background) = background {
        background.ready();
        // Where there is no /dev/null, standard error stays; nothing is lost by that.
        let _ = daemonize::detach_stderr();
    }
    driver.run()
}

/// What the operator asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Args {
    foreground: bool,
    json: bool,
    verbose: bool,
    cib: Option<PathBuf>,
    /// From the death of this process to the end of the node.
    delay: Option<Span>,
}

/// What to do instead of running.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    Say(String),
    Wrong(String),
}

impl Args {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Other> {
        let mut parsed = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || {
                args.next().ok_or_else(|| Other::Wrong(format!("rgmd: {arg} needs a value; see rgmd --help")))
            };
            match arg.as_str() {
                "-f" | "--foreground" => parsed.foreground = true,
                "-V" | "--verbose" => parsed.verbose = true,
                "--cib" => parsed.cib = Some(value()?.into()),
                "--failfast-delay" => {
                    let text = value()?;
                    let delay =
                        text.parse().ok().map(Span::from_millis).filter(|delay| *delay <= INTERVAL_MAX);
                    let wrong = || {
                        let max = INTERVAL_MAX.as_millis();
                        Other::Wrong(format!(
                            "rgmd: --failfast-delay \"{text}\" is no number of milliseconds from 0 to {max}; write 5000 for five seconds"
                        ))
                    };
                    parsed.delay = Some(delay.ok_or_else(wrong)?);
                }
                "--log-format" => match value()?.as_str() {
                    "json" => parsed.json = true,
                    "text" => parsed.json = false,
                    other => {
                        let text = format!("rgmd: log format \"{other}\" is unknown; write text or json");
                        return Err(Other::Wrong(text));
                    }
                },
                "-v" | "--version" => {
                    return Err(Other::Say(format!("Holdfast rgmd {}\n", env!("CARGO_PKG_VERSION"))));
                }
                "-h" | "--help" => return Err(Other::Say(HELP.to_owned())),
                other => {
                    return Err(Other::Wrong(format!("rgmd: unknown argument \"{other}\"; see rgmd --help")));
                }
            }
        }
        Ok(parsed)
    }
}

const HELP: &str = "\
rgmd, the resource-group manager of Holdfast

Usage: rgmd [-f] [--cib FILE] [--failfast-delay MS] [--log-format text|json] [-V]

  -f, --foreground    stay in the foreground, log to standard error; else go into the background, log to syslog
      --cib FILE      configuration (Pacemaker's CIB as XML) to begin with, where none was saved yet
      --failfast-delay MS
                      should rgmd die, the node goes down after so long unless it is back by then (default 1000)
      --log-format    text (default) or json
  -V, --verbose       log what agents write to standard output as well
  -v, --version       print the version
  -h, --help          print this

Environment:
  HOLDFAST_RUN_DIR    where cmmd's sockets are and rgmd.sock is made (default /run/holdfast)
  HOLDFAST_STATE_DIR  where cib.xml is kept (default /var/lib/holdfast)
  HOLDFAST_OCF_ROOT   OCF roots searched before /usr/lib/ocf, separated by colons
  HOLDFAST_FENCE_PATH folders searched for fence agents before /usr/sbin, separated by colons

Signals: SIGTERM and SIGINT stop this node's resources, tell the others, and exit.

Exit status:
   0  left in order
  64  wrong arguments
  65  the configuration cannot be used
  69  the ring daemon went away
  70  a fault inside rgmd, or something could not be stopped
  71  the system refused a socket or a thread
  73  a run-time or state file cannot be created or read
  75  another rgmd runs with the same run directory

Examples:
  rgmd -f --cib cib.xml
  HOLDFAST_RUN_DIR=/tmp/n1 HOLDFAST_STATE_DIR=/tmp/n1/state rgmd -f --cib cib.xml
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, Other> {
        Args::parse(args.iter().map(|a| (*a).to_owned()))
    }

    #[test]
    fn options_are_understood_and_others_refused() {
        let want =
            Args { foreground: true, json: true, cib: Some("c.xml".into()), verbose: false, delay: None };
        assert_eq!(parse(&["-f", "--cib", "c.xml", "--log-format", "json"]), Ok(want));
        assert!(matches!(parse(&["--cib"]), Err(Other::Wrong(t)) if t.contains("needs a value")));
        assert!(
            matches!(parse(&["--log-format", "xml"]), Err(Other::Wrong(t)) if t.contains("text or json"))
        );
        assert_eq!(parse(&["--failfast-delay", "5000"]).ok().and_then(|a| a.delay), Some(Span::from_secs(5)));
        for wrong in ["5s", "-1", "3600001"] {
            assert!(
                matches!(parse(&["--failfast-delay", wrong]), Err(Other::Wrong(t)) if t.contains("3600000"))
            );
        }
        assert!(matches!(parse(&["-x"]), Err(Other::Wrong(t)) if t.contains("unknown argument")));
        assert!(matches!(parse(&["--help"]), Err(Other::Say(t)) if t.contains("Exit status")));
    }
}
