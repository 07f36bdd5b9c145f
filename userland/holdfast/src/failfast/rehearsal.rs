//! `holdfast failfast test`: the way down, step by step, without a step of it.
//!
//! Each thing that the way down uses is opened as it opens it, and closed again: nothing is written, sent or done. What
//! can only be known by doing it (whether a watchdog resets this machine) is said to be so, with the command for it.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;

use cmm_conf::{Config, DiskName, ExitScope};
use failfast::core::protocol::{DeviceState, Report, UnitLine};
use failfast::core::{Mode, Reason, UnitState};
use failfast::guardian::SYSRQ_TRIGGER;
use holdfast_sys::process_tree::{ProcessTree, Scope, Tag};
use holdfast_types::Span;
use serde_json::json;

use super::table::what_a_mode_does;
use super::{connect, words};
use crate::exit::Exit;
use crate::gather::Sources;
use crate::io::Io;
use crate::quorum::file::{Conf, find};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration file; else $HOLDFAST_CONF, else the one that cmmd runs on, else where cmmd looks
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Works,
    /// The node goes down without it, but somebody will miss it.
    Lacking,
    /// Without it this node would not go down.
    Broken,
}

/// One thing that the way down uses.
struct Finding {
    /// Where it belongs: `reason`, `written`, `told`, `done`.
    part: &'static str,
    verdict: Verdict,
    /// What would be done, or is wrong.
    text: String,
    /// What to do about it.
    remedy: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn works(&mut self, part: &'static str, text: impl Into<String>) {
        self.0.push(Finding { part, verdict: Verdict::Works, text: text.into(), remedy: String::new() });
    }

    fn lacks(&mut self, part: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        let (text, remedy) = (text.into(), remedy.into());
        self.0.push(Finding { part, verdict: Verdict::Lacking, text, remedy });
    }

    fn broken(&mut self, part: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        let (text, remedy) = (text.into(), remedy.into());
        self.0.push(Finding { part, verdict: Verdict::Broken, text, remedy });
    }

    fn goes_down(&self) -> bool {
        self.0.iter().all(|f| f.verdict != Verdict::Broken)
    }
}

pub(super) fn run(args: &Args, io: &mut Io) -> Exit {
    let sources = Sources::from_env();
    let path = find(args.config.as_deref(), &sources.run_dir);
    let read = Conf::read(&path).and_then(|conf| conf.check(&conf.text));
    let config = match read {
        Ok(config) => config,
        Err(why) => {
            io.complain(format_args!("{why}\n"));
            return Exit::CannotCreate;
        }
    };
    let mut findings = Findings::default();
    let live = connect().and_then(|mut client| Ok((client.report()?, client.list()?)));
    let (report, units) = match live {
        Ok((report, units)) => (Some(report), units),
        Err(e) => {
            findings.broken(
                "done",
                format!("cmmd does not answer ({e}): nothing takes this node down"),
                "start it: systemctl start cmmd",
            );
            (None, Vec::new())
        }
    };
    let mode = report.as_ref().map_or_else(|| configured(&config), |r| r.mode);
    reasons(&units, &mut findings);
    written(&config, mode, &sources, &mut findings);
    gasps(&config, &mut findings);
    if let Some(report) = &report {
        guardian(report, &mut findings);
    }
    act(&config, mode, &sources, &mut findings);
    watchdogs(report.as_ref(), &mut findings);
    if args.json {
        let finding = |f: &Finding| {
            let verdict = match f.verdict {
                Verdict::Works => "works",
                Verdict::Lacking => "lacking",
                Verdict::Broken => "broken",
            };
            json!({"part": f.part, "verdict": verdict, "text": f.text, "remedy": f.remedy})
        };
        let list: Vec<_> = findings.0.iter().map(finding).collect();
        let json = json!({"mode": mode.as_str(), "goes_down": findings.goes_down(), "findings": list});
        io.say(format_args!("{json:#}\n"));
    } else {
        io.say(format_args!("{}", as_text(mode, &findings)));
    }
    if findings.goes_down() { Exit::Ok } else { Exit::Of(super::REFUSED) }
}

fn configured(config: &Config) -> Mode {
    match config.failfast.mode {
        cmm_conf::Mode::Exit => Mode::Exit,
        cmm_conf::Mode::Panic => Mode::Panic,
        cmm_conf::Mode::Reset => Mode::Reset,
        cmm_conf::Mode::Off => Mode::Off,
    }
}

fn as_text(mode: Mode, findings: &Findings) -> String {
    let mut text =
        format!("A rehearsal: nothing was written, sent or done. Mode {mode}: {}.\n", what_a_mode_does(mode));
    let parts = [
        ("reason", "The reason"),
        ("written", "is written to"),
        ("told", "is told to"),
        ("done", "and then this node goes down"),
    ];
    for (part, title) in parts {
        let _ = writeln!(text, "\n{title}"); // a String takes everything
        for f in findings.0.iter().filter(|f| f.part == part) {
            let mark = match f.verdict {
                Verdict::Works => "ok  ",
                Verdict::Lacking => "lack",
                Verdict::Broken => "FAIL",
            };
            let _ = writeln!(text, "  {mark}  {}", f.text);
            if !f.remedy.is_empty() {
                let _ = writeln!(text, "        -> {}", f.remedy);
            }
        }
    }
    let count = |verdict| findings.0.iter().filter(|f| f.verdict == verdict).count();
    let lacking = count(Verdict::Lacking);
    let _ = match count(Verdict::Broken) {
        0 if lacking == 0 => writeln!(text, "\nThis node would go down, and say why."),
        0 => writeln!(text, "\nThis node would go down; {lacking} things are lacking."),
        broken => {
            writeln!(text, "\nTHIS NODE WOULD NOT GO DOWN AS CONFIGURED: {broken} failed, {lacking} lacking.")
        }
    };
    text
}

/// What would be said, for each that may die.
fn reasons(units: &[UnitLine], findings: &mut Findings) {
    for unit in units.iter().filter(|u| u.state != UnitState::Disarmed) {
        let seconds = unit.delay.as_millis() / 1_000;
        let then = match unit.mode {
            Some(Mode::Off) => " (logged, and nothing done)",
            _ if unit.maintenance.is_some() => " (after its maintenance)",
            _ => "",
        };
        let name = unit.name;
        findings.works(
            "reason",
            format!("Failfast: Aborting because \"{name}\" died {seconds} seconds ago.{then}"),
        );
    }
    findings.works("reason", Reason::daemon_died(Span::ZERO).text.as_str());
}

fn written(config: &Config, mode: Mode, sources: &Sources, findings: &mut Findings) {
    let part = "written";
    if mode == Mode::Exit && config.failfast.exit_scope == ExitScope::RunDir {
        findings
            .works(part, "not the kernel's log: with exit_scope run-dir several nodes share this machine");
    } else {
        match OpenOptions::new().write(true).open("/dev/kmsg") {
            Ok(_) => findings.works(part, "the kernel's log and console at emergency level (/dev/kmsg)"),
            Err(e) => findings.lacks(
                part,
                format!("not the kernel's log: /dev/kmsg: {e}"),
                "give this machine or container /dev/kmsg",
            ),
        }
        let backend = fs::read_to_string("/sys/module/pstore/parameters/backend").unwrap_or_default();
        match backend.trim() {
            "" | "(null)" => findings.lacks(
                part,
                "no place outlives a panic of the kernel (no pstore)",
                "load ramoops, efi_pstore or erst, or rely on black box and quorum disk",
            ),
            name => findings.works(part, format!("the kernel's last words, kept by pstore ({name})")),
        }
    }
    let black_box = sources.state_dir.join("blackbox");
    match OpenOptions::new().read(true).write(true).open(&black_box) {
        Ok(_) => findings.works(part, format!("the black box {}", black_box.display())),
        Err(e) => findings.lacks(
            part,
            format!("not the black box {}: {e}", black_box.display()),
            "cmmd makes it at its start; look at its log and at the disk",
        ),
    }
    if let Some(file) = config.logging.logfile.as_deref().filter(|_| config.logging.sinks.file) {
        match OpenOptions::new().append(true).open(file) {
            Ok(_) => findings.works(part, format!("the log file {file}")),
            Err(e) => {
                findings.lacks(part, format!("not the log file {file}: {e}"), "correct logging.logfile")
            }
        }
    }
    for disk in config.quorum.disk().into_iter().flat_map(|d| &d.disks) {
        let path = match disk {
            DiskName::Path(path) => path,
            DiskName::Label(label) => {
                findings.works(part, format!("the quorum disk with label {label}, once cmmd has found it"));
                continue;
            }
        };
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(_) => findings.works(part, format!("this node's place on the quorum disk {path}")),
            Err(e) => findings.lacks(
                part,
                format!("not the quorum disk {path}: {e}"),
                "bring the disk back, or correct quorum.device.disk.device",
            ),
        }
    }
    findings.works(part, "standard error of cmmd, where its service keeps it");
}

/// A route to each peer from each link; no packet leaves.
fn gasps(config: &Config, findings: &mut Findings) {
    let me = config.me();
    let part = "told";
    for link in config.links() {
        let Some(local) = me.addrs[link] else { continue };
        for node in config.nodes.iter().filter(|n| n.id != me.id) {
            let Some(peer) = node.addrs[link].map(|ip| SocketAddr::new(ip, config.totem.ports[link])) else {
                continue;
            };
            let name = node.name.as_deref().unwrap_or("");
            let whom = format!("node {} {name} at {peer}", node.id);
            match UdpSocket::bind((local, 0)).and_then(|socket| socket.connect(peer)) {
                Ok(()) => {
                    findings.works(part, format!("{whom}, from {local}, by a packet that is sealed already"))
                }
                Err(e) => findings.lacks(
                    part,
                    format!("not {whom} from {local}: {e}; it will notice by itself"),
                    "bring the link back: holdfast ring",
                ),
            }
        }
    }
    if config.nodes.len() == 1 {
        findings.works(part, "nobody: this node is alone");
    }
}

fn guardian(report: &Report, findings: &mut Findings) {
    let part = "done";
    let Some(guardian) = report.guardian else {
        findings.lacks(
            part,
            "no guardian at the moment: cmmd does it by itself",
            "it is being replaced; look again",
        );
        return;
    };
    let pid = guardian.pid;
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    if guardian.seen > guardian.limit {
        findings.lacks(
            part,
            format!("the guardian (pid {pid}) stands still for {}", words(guardian.seen)),
            "it is being replaced; look again",
        );
    } else {
        let limit = words(guardian.limit);
        findings.works(
            part,
            format!(
                "the guardian (pid {pid}) does it when cmmd is dead, says so, or stands still for {limit}"
            ),
        );
    }
    if of("oom_score_adj").trim() != "-1000" {
        findings.lacks(
            part,
            format!("the guardian (pid {pid}) may be killed when memory runs out"),
            "give cmmd CAP_SYS_RESOURCE",
        );
    }
    let locked = of("status")
        .lines()
        .find_map(|l| l.strip_prefix("VmLck:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    if locked == Some(0) {
        findings.lacks(
            part,
            "the guardian's memory is not locked: it may wait for a disk on its way",
            "give cmmd LimitMEMLOCK=infinity",
        );
    }
    if of("cgroup").lines().any(|l| l.starts_with("0::") && l.contains(".service")) {
        findings.lacks(
            part,
            "the guardian is in a service's cgroup: a kill of the service takes it along",
            "let cmmd's service delegate (Delegate=yes)",
        );
    }
}

/// What the mode needs.
fn act(config: &Config, mode: Mode, sources: &Sources, findings: &mut Findings) {
    let part = "done";
    match mode {
        Mode::Off => findings.broken(
            part,
            "mode off: cmmd ends, and whatever runs here runs on",
            "write mode: panic (or reset) into failfast; without HOLDFAST_RUN_DIR mode exit is off, too",
        ),
        Mode::Exit => {
            let scope = match config.failfast.exit_scope {
                ExitScope::RunDir => Tag::of_run_dir(&sources.run_dir).map(Scope::RunDir),
                ExitScope::PidNamespace => Ok(Scope::PidNamespace),
            };
            match scope.and_then(ProcessTree::open).and_then(|mut tree| tree.list()) {
                Ok(pids) => findings.works(
                    part,
                    format!(
                        "{} processes would be killed, and their end seen; this machine stays up",
                        pids.len()
                    ),
                ),
                Err(e) => findings.broken(
                    part,
                    format!("the processes of this node cannot be found: {e}"),
                    "run it as root, inside the node's namespace",
                ),
            }
        }
        Mode::Panic | Mode::Reset => trigger(mode, findings),
    }
}

fn trigger(mode: Mode, findings: &mut Findings) {
    let part = "done";
    let letters = if mode == Mode::Panic { "c, then b if the kernel does not panic," } else { "b" };
    match OpenOptions::new().write(true).open(SYSRQ_TRIGGER) {
        Ok(_) => findings.works(
            part,
            format!(
                "{letters} would be written to {SYSRQ_TRIGGER}, which can be; then every process be killed"
            ),
        ),
        Err(e) => findings.broken(
            part,
            format!("{SYSRQ_TRIGGER} cannot be written: {e}"),
            "run on a machine of its own, not in a container, with CONFIG_MAGIC_SYSRQ",
        ),
    }
    if mode == Mode::Reset {
        return;
    }
    let crash = fs::read_to_string("/sys/kernel/kexec_crash_loaded").unwrap_or_default();
    if crash.trim() == "1" {
        findings.works(part, "a crash kernel is loaded: it writes a dump first");
    }
    match fs::read_to_string("/proc/sys/kernel/panic").unwrap_or_default().trim().parse::<i64>() {
        Ok(0) => findings.lacks(
            part,
            "kernel.panic is 0: after its panic this machine stays as it is until somebody resets it",
            "if it is to come back by itself: sysctl -w kernel.panic=10",
        ),
        Ok(n) if n > 0 => findings.works(part, format!("it comes back {n} s after its panic (kernel.panic)")),
        Ok(_) => findings.works(part, "it comes back at once after its panic (kernel.panic)"),
        Err(_) => findings.lacks(part, "kernel.panic cannot be read", "mount /proc"),
    }
}

fn watchdogs(report: Option<&Report>, findings: &mut Findings) {
    let part = "done";
    let Some(report) = report else { return };
    if report.watchdogs.is_empty() {
        findings.lacks(
            part,
            "no watchdog: a machine that hangs as a whole, or a kernel that does not do as it is told, stays as it is",
            "\"holdfast watchdog list\" shows what there is; write watchdog_device or watchdog_identity into failfast",
        );
    }
    for w in &report.watchdogs {
        let what = format!("watchdog {} ({})", w.path, w.name);
        match w.state {
            DeviceState::Armed => {
                let worst = words(w.worst);
                let test =
                    format!("{what} is armed: where all else fails this machine is reset within {worst}");
                findings.works(part, test);
            }
            DeviceState::Waiting => findings.lacks(
                part,
                format!("{what} is not armed yet: that waits for the first quorum"),
                "holdfast quorum status",
            ),
            DeviceState::Failed => {
                findings.lacks(
                    part,
                    format!("{what} is not armed: {}", w.why),
                    "correct it and start cmmd anew",
                );
            }
        }
        if w.state == DeviceState::Armed && !w.why.is_empty() {
            findings.lacks(
                part,
                w.why.clone(),
                "load it at boot: echo pretimeout_panic >/etc/modules-load.d/holdfast.conf",
            );
        }
        if w.software {
            findings.lacks(
                part,
                format!("{what} is the kernel's own: it dies with the kernel"),
                "use the machine's (i6300esb, iTCO_wdt, ipmi_watchdog) if it has one",
            );
        }
        if w.no_way_out {
            findings.lacks(
                part,
                format!("{what} cannot be stopped (nowayout): an orderly stop of cmmd ends with a reset"),
                "load its driver without nowayout if that is not wanted",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_broken_decides_and_what_lacks_is_named_with_its_remedy() {
        let mut findings = Findings::default();
        reasons(&[], &mut findings);
        findings.lacks("written", "no kernel log", "give it one");
        let text = as_text(Mode::Panic, &findings);
        assert!(text.contains("ok    Failfast: Aborting because \"cmmd\" died 0 seconds ago."), "{text}");
        assert!(text.contains("lack  no kernel log\n        -> give it one"), "{text}");
        assert!(text.ends_with("This node would go down; 1 things are lacking.\n"), "{text}");
        assert!(findings.goes_down());
        findings.broken("done", "no trigger", "a machine");
        let text = as_text(Mode::Panic, &findings);
        assert!(text.contains("FAIL  no trigger"), "{text}");
        assert!(text.contains("WOULD NOT GO DOWN AS CONFIGURED: 1 failed, 1 lacking"), "{text}");
        assert!(!findings.goes_down());
    }

    #[test]
    fn mode_off_is_no_way_down() {
        let text = "totem {\n version: 2\n cluster_name: c\n nodeid: 1\n}\nnodelist {\n node {\n nodeid: 1\n ring0_addr: 127.0.0.1\n }\n}\n";
        let dir = std::env::temp_dir().join(format!("holdfast-rehearsal-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("c.conf");
        fs::write(&file, text).unwrap();
        let config = Conf::read(&file).and_then(|conf| conf.check(text));
        let _ = fs::remove_dir_all(&dir);
        let sources = Sources::of_node(Path::new("/nonexistent").into(), "/nonexistent".into());
        let mut findings = Findings::default();
        act(&config.unwrap(), Mode::Off, &sources, &mut findings);
        assert!(!findings.goes_down());
    }
}
