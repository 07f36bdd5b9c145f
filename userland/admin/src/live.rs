//! The running cluster, through `rgmd`'s socket: a JSON object on a line, its answer on a line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cib::Element;
use cib::operation::{Operation, Refusal, Stamp};
use serde_json::{Value, json};

use crate::{Cluster, for_user, refusal};

/// The name of the socket in the run directory.
const SOCKET: &str = "rgmd.sock";
/// What is asked for longest: a change goes round the ring, and comes back when all have it.
const LIMIT: Duration = Duration::from_secs(120);
/// A document with the history of a large cluster, escaped.
const ANSWER_MAX: u64 = 512 << 20;

/// The running cluster.
#[derive(Debug)]
pub struct Live {
    socket: PathBuf,
    limit: Duration,
    connection: Option<BufReader<UnixStream>>,
}

impl Live {
    /// The one whose sockets are in `HOLDFAST_RUN_DIR`.
    #[must_use]
    pub fn from_env() -> Self {
        let run_dir =
            std::env::var_os("HOLDFAST_RUN_DIR").map_or_else(|| "/run/holdfast".into(), PathBuf::from);
        Self { socket: run_dir.join(SOCKET), limit: LIMIT, connection: None }
    }

    /// With another limit for an answer.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn exchange(&mut self, request: &Value) -> io::Result<String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(UnixStream::connect(&self.socket)?),
        };
        let stream = connection.get_mut();
        stream.set_read_timeout(Some(self.limit))?;
        stream.set_write_timeout(Some(self.limit))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        match connection.by_ref().take(ANSWER_MAX).read_line(&mut line) {
            Ok(_) if line.ends_with('\n') => {}
            Ok(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) => return Err(e),
        }
        self.connection = Some(connection);
        Ok(line)
    }
}

impl Cluster for Live {
    fn cib(&mut self, operation: &Operation) -> Result<Option<Element>, Refusal> {
        let mut operation = for_user(operation);
        if !operation.is_query() && operation.stamp.is_none() {
            operation.stamp = Some(stamp(operation.user.as_deref()));
        }
        let answer = self.ask(&json!({ "cmd": "cib-do", "operation": operation }))?;
        let Some(xml) = answer["xml"].as_str() else { return Ok(None) };
        let broken = |e: cib::CibError| refusal(76, "Protocol error", format!("rgmd's answer: {e}"));
        Element::parse(xml, "rgmd").map(Some).map_err(broken)
    }

    fn ask(&mut self, request: &Value) -> Result<Value, Refusal> {
        let line = self.exchange(request).map_err(|e| self.unreachable(&e))?;
        let answer: Value = serde_json::from_str(&line)
            .map_err(|e| refusal(76, "Protocol error", format!("rgmd's answer is not understood: {e}")))?;
        if answer.get("error").is_none() {
            return Ok(answer);
        }
        // An answer without a status is of an rgmd that gives none.
        Err(serde_json::from_value(answer).unwrap_or_else(|e| refusal(1, "Error occurred", e.to_string())))
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Live {
    fn unreachable(&self, error: &io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                let what = format!("only root reaches {}; try again with sudo", self.socket.display());
                refusal(4, "Permission denied", what)
            }
            io::ErrorKind::TimedOut => {
                let what = format!(
                    "rgmd did not answer within {} s; see what it waits for: holdfast status",
                    self.limit.as_secs()
                );
                refusal(124, "Timer expired", what)
            }
            _ => refusal(
                102,
                "Transport endpoint is not connected",
                format!(
                    "rgmd does not run on this node ({error}); start it: systemctl start rgmd; or name a document in CIB_file"
                ),
            ),
        }
    }
}

/// Who changes something, and when. The node is for `rgmd` to say.
fn stamp(user: Option<&str>) -> Stamp {
    let own = || nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    let mut args = std::env::args_os().map(PathBuf::from);
    let name = |path: PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let called = args.next().and_then(name);
    // An applet's name says more than the program's.
    let client = match (called.as_deref(), args.next().and_then(name)) {
        (Some("holdfast"), Some(applet)) => applet,
        (called, _) => called.unwrap_or_default().to_owned(),
    };
    let user = user.map(str::to_owned).or_else(own).unwrap_or_default();
    Stamp { written: written_now(), origin: String::new(), client, user }
}

/// The time as `cib-last-written` has it, in the local zone: `Wed May 25 16:20:11 2016`.
#[must_use]
pub fn written_now() -> String {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let unix = i64::try_from(unix).unwrap_or(0);
    let local =
        jiff::Timestamp::from_second(unix.saturating_add(holdfast_sys::timezone::utc_offset(unix).into()));
    local.map(|at| at.strftime("%a %b %e %H:%M:%S %Y").to_string()).unwrap_or_default()
}
