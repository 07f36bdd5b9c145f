//! Starting, watching and stopping daemons. Whatever a test does, nothing of it is left running.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_sys::pidfd;
use holdfast_sys::process_tree::{ProcessTree, Scope, Tag};

/// Everything here is over in a moment; only a broken build waits this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Of the ring, where no configuration says otherwise.
const PORT: u16 = 5405;

pub(crate) const CMMD: &str = env!("CARGO_BIN_EXE_cmmd");

/// A cluster on addresses of its own in 127/8, with a folder of its own.
pub(crate) struct Cluster {
    pub(crate) dir: PathBuf,
    net: [u8; 2],
    size: u8,
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    run: PathBuf,
    log: PathBuf,
}

impl Cluster {
    pub(crate) fn new(size: u8) -> Self {
        build_guardian();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut number =
            std::process::id().wrapping_mul(32).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        // 127.0.x.y stays free for people.
        let net = |number: u32| [(number >> 8) as u8 | 0x80, number as u8];
        // There are fewer addresses than process ids.
        let is_free = |[a, b]: [u8; 2]| UdpSocket::bind((Ipv4Addr::new(127, a, b, 1), PORT)).is_ok();
        while !is_free(net(number)) {
            number = number.wrapping_add(32 * 97);
        }
        let net = net(number);
        let dir = std::env::temp_dir().join(format!("cmmd-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary folder");
        Self { dir, net, size }
    }

    pub(crate) fn addr(&self, node: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.net[0], self.net[1], node)
    }

    /// Writes node `node`'s configuration; `more` is put behind it.
    pub(crate) fn write_config(&self, node: u8, totem: &str, more: &str) -> PathBuf {
        let token = if totem.contains("  token: ") { "" } else { "  token: 1000\n" };
        let mut text = format!(
            "totem {{\n  version: 2\n  cluster_name: test-{}\n  transport: udpu\n  nodeid: {node}\n{token}  token_coefficient: 0\n{totem}}}\n",
            self.dir.display()
        );
        text.push_str("nodelist {\n");
        for id in 1..=self.size {
            text.push_str(&format!(
                "  node {{\n    nodeid: {id}\n    name: n{id}\n    ring0_addr: {}\n  }}\n",
                self.addr(id)
            ));
        }
        text.push_str("}\nquorum {\n  provider: corosync_votequorum\n}\nsystem {\n  priority: 1\n}\n");
        if !more.contains("logging {") {
            text.push_str("logging {\n  to_syslog: no\n  debug: on\n}\n");
        }
        text.push_str(more);
        let path = self.dir.join(format!("{node}.conf"));
        fs::write(&path, text).expect("writes");
        path
    }

    /// The command that starts node `node` with the configuration it has.
    pub(crate) fn command(&self, node: u8) -> Command {
        let mut command = Command::new(CMMD);
        command
            .arg("-c")
            .arg(self.dir.join(format!("{node}.conf")))
            .env("HOLDFAST_RUN_DIR", self.run_dir(node))
            .env("HOLDFAST_STATE_DIR", self.dir.join(format!("{node}.state")))
            .env_remove("HOLDFAST_CONF")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run_dir(&self, node: u8) -> PathBuf {
        self.dir.join(format!("{node}.run"))
    }

    /// Starts node `node` in the foreground with an ordinary configuration.
    pub(crate) fn start(&self, node: u8) -> Daemon {
        self.write_config(node, "", "");
        self.spawn(node, &[])
    }

    /// Starts node `node` in the foreground with the configuration it has.
    pub(crate) fn spawn(&self, node: u8, args: &[&str]) -> Daemon {
        self.spawn_with(node, args, &[])
    }

    /// The same with other variables in its environment.
    pub(crate) fn spawn_with(&self, node: u8, args: &[&str], env: &[(&str, String)]) -> Daemon {
        let log = self.dir.join(format!("{node}.log"));
        // A log of its own for each start: lines of an earlier life must not be taken for new ones.
        let file = File::create(&log).expect("a log file");
        let child = self
            .command(node)
            .arg("-f")
            .args(args)
            .envs(env.iter().map(|(k, v)| (k, v)))
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("cmmd starts");
        Daemon { child, run: self.run_dir(node), log }
    }

    /// Starts all nodes and waits until each is quorate with all of them.
    pub(crate) fn start_all(&self) -> Vec<Daemon> {
        self.start_all_with("")
    }

    /// The same with more lines in the totem section.
    pub(crate) fn start_all_with(&self, totem: &str) -> Vec<Daemon> {
        (1..=self.size).for_each(|n| drop(self.write_config(n, totem, "")));
        let daemons: Vec<Daemon> = (1..=self.size).map(|n| self.spawn(n, &[])).collect();
        let all: Vec<String> = (1..=self.size).map(|n| n.to_string()).collect();
        for daemon in &daemons {
            daemon.wait_for(&format!("Members[{}]: {}", self.size, all.join(" ")));
            daemon.wait_for("This node is within the primary component and will provide service.");
        }
        daemons
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 1..=self.size {
            kill_tree(&self.run_dir(node));
        }
        if thread::panicking() {
            eprintln!("logs are kept in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line that contains `text`; returns it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        wait_until(&format!("{:?} in {}", text, self.log.display()), || {
            self.log().lines().find(|l| l.contains(text)).map(str::to_owned)
        })
    }

    /// Waits for a line that contains `text` behind the first one that contains `mark`.
    pub(crate) fn wait_for_after(&self, mark: &str, text: &str) -> String {
        wait_until(&format!("{:?} after {mark:?} in {}", text, self.log.display()), || {
            let log = self.log();
            let rest = &log[log.find(mark)? + mark.len()..];
            rest.lines().find(|l| l.contains(text)).map(str::to_owned)
        })
    }

    pub(crate) fn signal(&self, signal: pidfd::Signal) {
        signal_pid(self.pid(), signal);
    }

    /// Waits for the end; returns how it ended.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        wait_until(&format!("the end of pid {}", self.pid()), || {
            self.child.try_wait().expect("it is our child")
        })
    }

    /// Kills `cmmd` alone, as kill -9 does, and waits until its guardian has done its duty.
    pub(crate) fn kill_9(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
        self.wait_for("node is down");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The guardian, if it has not gone by itself.
        kill_tree(&self.run);
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Ends every process that carries this run directory in its environment.
fn kill_tree(run: &Path) {
    if let Ok(tag) = Tag::of_run_dir(run)
        && let Ok(mut tree) = ProcessTree::open(Scope::RunDir(tag))
    {
        let _ = tree.kill(Duration::from_secs(5));
    }
}

pub(crate) fn signal_pid(pid: u32, signal: pidfd::Signal) {
    let fd = pidfd::open(pid).expect("it runs");
    pidfd::send_signal(fd.as_fd(), signal).expect("it is ours");
}

/// Waits for an event; panics when it does not come within [`LIMIT`].
pub(crate) fn wait_until<T>(what: &str, mut event: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = event() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// `cmmd` starts the guardian that lies beside it; cargo builds only this package's programs for its tests.
fn build_guardian() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(CMMD).parent().expect("a program is in a folder");
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "-p", "holdfast-guardian"]);
        if dir.ends_with("release") {
            command.arg("--release");
        }
        // Where this test runs from, whatever the environment says by now.
        command.env("CARGO_TARGET_DIR", dir.parent().expect("a profile is in a folder"));
        let built = command.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(
            dir.join("holdfast-guardian").exists(),
            "holdfast-guardian is not beside cmmd, and building it: {built:?}"
        );
    });
}
