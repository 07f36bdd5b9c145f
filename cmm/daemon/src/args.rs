//! The command line.

use std::path::PathBuf;

/// What the operator asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) foreground: bool,
    pub(crate) test: bool,
    pub(crate) json: bool,
    pub(crate) config: Option<PathBuf>,
}

/// What to do instead of running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// Print this and end with status 0.
    Say(String),
    /// Print this on standard error and end with [`crate::exit::USAGE`].
    Wrong(String),
}

impl Args {
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, Other> {
        let mut parsed = Self::default();
        let mut args = args;
        let need = |what: &str, value: Option<String>| {
            value.ok_or_else(|| Other::Wrong(format!("cmmd: {what} needs a value; see cmmd --help")))
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-f" | "--foreground" => parsed.foreground = true,
                "-t" | "--test" => parsed.test = true,
                "-c" | "--config" => parsed.config = Some(need("-c", args.next())?.into()),
                "--log-format" => match need("--log-format", args.next())?.as_str() {
                    "json" => parsed.json = true,
                    "text" => parsed.json = false,
                    other => {
                        let text = format!("cmmd: log format \"{other}\" is unknown; write text or json");
                        return Err(Other::Wrong(text));
                    }
                },
                "-v" | "--version" => {
                    return Err(Other::Say(format!("Holdfast cmmd {}\n", env!("CARGO_PKG_VERSION"))));
                }
                "-h" | "--help" => return Err(Other::Say(HELP.to_owned())),
                other => {
                    return Err(Other::Wrong(format!("cmmd: unknown argument \"{other}\"; see cmmd --help")));
                }
            }
        }
        Ok(parsed)
    }
}

const HELP: &str = "\
cmmd, the membership daemon of Holdfast

Usage: cmmd [-f] [-c FILE] [--log-format text|json]
       cmmd -t [-c FILE]

  -f, --foreground    stay in the foreground; without it go into the background once clients are served
  -c, --config FILE   configuration, in corosync.conf syntax; else $HOLDFAST_CONF, else
                      /etc/holdfast/holdfast.conf, else /etc/corosync/corosync.conf
  -t, --test          check the configuration, print the timing model, and exit
      --log-format    text (default) or json, for standard error and the log file
  -v, --version       print the version
  -h, --help          print this

Environment:
  HOLDFAST_RUN_DIR    sockets and pid file (default /run/holdfast); with it set, clients connect to files in it
  HOLDFAST_STATE_DIR  what survives a restart (default /var/lib/holdfast)
  HOLDFAST_CONF       configuration

Signals: SIGTERM and SIGINT leave the cluster in order and exit; SIGHUP opens the log file again.

Exit status:
   0  left in order; with -t: the configuration is fine
   1  with -t: the configuration is refused
  64  wrong arguments
  70  a fault inside cmmd, or the node was taken down
  71  the system refused a socket or a thread
  73  a run-time or state file cannot be created or read
  75  another cmmd runs with the same run directory
  78  the configuration cannot be run

Examples:
  cmmd -t -c /etc/corosync/corosync.conf
  HOLDFAST_RUN_DIR=/tmp/n1 HOLDFAST_STATE_DIR=/tmp/n1/state cmmd -f -c n1.conf
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, Other> {
        Args::parse(args.iter().map(|a| (*a).to_owned()))
    }

    #[test]
    fn options_are_understood_and_others_refused() {
        let want = Args { foreground: true, json: true, config: Some("x".into()), test: false };
        assert_eq!(parse(&["-f", "-c", "x", "--log-format", "json"]), Ok(want));
        assert!(
            matches!(parse(&["-c"]), Err(Other::Wrong(t)) if t == "cmmd: -c needs a value; see cmmd --help")
        );
        assert!(matches!(parse(&["-x"]), Err(Other::Wrong(t)) if t.contains("unknown argument \"-x\"")));
        assert!(matches!(parse(&["-h"]), Err(Other::Say(t)) if t.contains("Exit status")));
    }
}
