//! The fence device of a test cluster: takes the power from a node, from outside of it.
//!
//! The agent is an ordinary fence agent (key=value lines on standard input) that runs inside some node and cannot
//! reach another node's processes. It hands the request to this process through a FIFO, which every node sees, and
//! reads the answer from another.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::stat::Mode;

/// How the device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencePolicy {
    /// As it should.
    Works,
    /// It answers every request with an error, as a power switch that cannot be reached.
    Fails,
    /// It does not answer.
    Hangs,
}

/// One request that reached the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceCall {
    /// `off`, `reboot`, `on`, `status`, `monitor`.
    pub action: String,
    /// The node, empty where none was named.
    pub target: String,
    /// What the device answered; empty: nothing.
    pub answer: String,
}

/// Name of the agent: `stonith:fence_harness` in the CIB.
pub const FENCE_AGENT: &str = "fence_harness";

/// What the device does with the power: `true` when the node is on.
pub(crate) trait Power: Send + Sync {
    fn is_on(&self, node: &str) -> Option<bool>;
    fn off(&self, node: &str) -> Result<()>;
}

pub(crate) struct FenceDevice {
    requests: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    policy: Mutex<FencePolicy>,
    calls: Mutex<Vec<FenceCall>>,
    power: Arc<dyn Power>,
}

impl FenceDevice {
    /// Writes the agent below `dir` and starts to serve it. The agent's folder is `dir/agents`.
    pub(crate) fn new(dir: &Path, power: Arc<dyn Power>) -> Result<Self> {
        let fifos = dir.join("fence");
        let agents = dir.join("agents");
        fs::create_dir_all(&fifos)?;
        fs::create_dir_all(&agents)?;
        let requests = fifos.join("requests");
        nix::unistd::mkfifo(&requests, Mode::from_bits_truncate(0o600)).context("making the request FIFO")?;
        let agent = agents.join(FENCE_AGENT);
        fs::write(&agent, AGENT.replace("@FIFOS@", &fifos.to_string_lossy()))?;
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
        // Open for writing too, so that it never ends.
        let reader = OpenOptions::new().read(true).write(true).open(&requests)?;
        let shared =
            Arc::new(Shared { policy: Mutex::new(FencePolicy::Works), calls: Mutex::new(Vec::new()), power });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(reader, &serving));
        Ok(Self { requests, shared, thread: Some(thread) })
    }

    pub(crate) fn set_policy(&self, policy: FencePolicy) {
        *self.shared.policy.lock().unwrap() = policy;
    }

    pub(crate) fn calls(&self) -> Vec<FenceCall> {
        self.shared.calls.lock().unwrap().clone()
    }
}

impl Drop for FenceDevice {
    fn drop(&mut self) {
        let told = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&self.requests);
        if told.and_then(|mut f| f.write_all(b"quit\n")).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn serve(requests: File, shared: &Shared) {
    for line in BufReader::new(requests).lines().map_while(Result::ok) {
        if line == "quit" {
            return;
        }
        let mut words = line.split(' ');
        let (Some(action), Some(target), Some(reply)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let target = target.trim_start_matches('=');
        let policy = *shared.policy.lock().unwrap();
        let answer = match policy {
            FencePolicy::Hangs => String::new(),
            FencePolicy::Fails => "error: no route to the power switch".to_owned(),
            FencePolicy::Works => perform(&*shared.power, action, target),
        };
        let call = FenceCall { action: action.to_owned(), target: target.to_owned(), answer: answer.clone() };
        shared.calls.lock().unwrap().push(call);
        if policy != FencePolicy::Hangs {
            send(Path::new(reply), &answer);
        }
    }
}

fn perform(power: &dyn Power, action: &str, target: &str) -> String {
    let result = match action {
        "monitor" => return "ok".to_owned(),
        "off" | "reboot" => power.off(target).map(|()| "ok"),
        "status" => match power.is_on(target) {
            Some(true) => Ok("on"),
            Some(false) => Ok("off"),
            None => Err(anyhow::anyhow!("no such plug: {target}")),
        },
        other => Err(anyhow::anyhow!("unknown action {other}")),
    };
    result.map_or_else(|e| format!("error: {e:#}"), str::to_owned)
}

/// Answers, unless the agent has been killed meanwhile.
fn send(reply: &Path, answer: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && reply.exists() {
        let opened = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(reply);
        if let Ok(mut file) = opened {
            let _ = writeln!(file, "{answer}");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Exit status as fence agents have it: 0 done or on, 2 off, 1 failed.
const AGENT: &str = r#"#!/bin/sh
# Fence agent of the test harness: hands the request to the harness and waits for its answer.
action=monitor plug=
while IFS='=' read -r key value; do
    case $key in
        action) action=$value ;;
        plug|port|nodename) plug=$value ;;
    esac
done
case $action in
    metadata)
        cat <<'XML'
<?xml version="1.0"?>
<resource-agent name="fence_harness" shortdesc="Power switch of the test harness">
  <parameters><parameter name="plug" required="1"><content type="string"/></parameter></parameters>
  <actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions>
</resource-agent>
XML
        exit 0 ;;
    start|stop) exit 0 ;;
esac
reply=$(mktemp -u @FIFOS@/reply.XXXXXXXXXX)
mkfifo "$reply" || exit 1
echo "$action =$plug $reply" > @FIFOS@/requests
read -r answer < "$reply"
rm -f "$reply"
case $answer in
    ok|on) exit 0 ;;
    off) exit 2 ;;
    *) echo "$answer" >&2; exit 1 ;;
esac
"#;
