//! Agents that are installed: which there are, what they say of themselves, and calling one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::crm_resource::Done;
use super::output::{Node, Out};
use super::results::Code;
use super::{FEATURE_SET, NO_SUCH, Stop};

const DONE: Result<Done, Stop> = Ok(Done::Status(0));

/// Folders searched in order, those of the variable first.
fn folders(variable: &str, last: &str) -> Vec<PathBuf> {
    let given = std::env::var_os(variable);
    let mut folders: Vec<PathBuf> =
        given.iter().flat_map(std::env::split_paths).filter(|d| d.is_absolute()).collect();
    folders.push(last.into());
    folders
}

fn ocf_roots() -> Vec<PathBuf> {
    folders("HOLDFAST_OCF_ROOT", "/usr/lib/ocf").into_iter().map(|r| r.join("resource.d")).collect()
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Names in a folder, hidden ones left out.
fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .filter(|e| wanted(&e.path()))
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| !n.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn ocf_providers() -> Vec<String> {
    let all = ocf_roots().into_iter().flat_map(|root| names(&root, Path::is_dir));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

fn ocf_agents(provider: &str) -> Vec<String> {
    let all = ocf_roots().into_iter().flat_map(|root| names(&root.join(provider), is_program));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

fn lsb_agents() -> Vec<String> {
    names(Path::new("/etc/init.d"), is_program)
}

/// Whether systemd runs this machine.
fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Units that can be started, whether they are or not.
fn systemd_agents() -> Vec<String> {
    if !has_systemd() {
        return Vec::new();
    }
    let folders =
        ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let all = folders.iter().flat_map(|f| names(Path::new(f), |p| p.is_file()));
    all.filter_map(|n| n.strip_suffix(".service").map(str::to_owned))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Plugins of cluster-glue, then fence agents.
pub(super) fn fence_agents() -> Vec<String> {
    let mut own = BTreeSet::new();
    for folder in folders("HOLDFAST_FENCE_PATH", "/usr/sbin") {
        own.extend(names(&folder, is_program).into_iter().filter(|n| n.starts_with("fence_")));
    }
    glue_plugins().into_iter().chain(own).collect()
}

fn glue_plugins() -> Vec<String> {
    let listed =
        Command::new("/usr/sbin/stonith").arg("-L").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = listed.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

/// Names as a list: `node` is what stands for it in XML, `None` an ordinary list.
fn said(heading: &str, node: Option<(Node, &str)>, names: &[String], out: &mut Out<'_>) {
    if let Some((mut list, each)) = node.filter(|_| out.is_xml()) {
        for name in names {
            list.push(Node::new(each).text(name));
        }
        out.add(list);
        return;
    }
    out.list(heading);
    for name in names {
        out.item(None, name);
    }
    out.end();
}

/// Kinds of agents that can be used here.
pub(super) fn standards(out: &mut Out<'_>) -> Result<Done, Stop> {
    let mut all = vec!["ocf", "lsb", "service"];
    if has_systemd() {
        all.push("systemd");
    }
    all.push("stonith");
    said("Standards", None, &all.into_iter().map(str::to_owned).collect::<Vec<_>>(), out);
    DONE
}

/// Providers of OCF agents, or of one of them.
pub(super) fn providers(agent: Option<&str>, out: &mut Out<'_>) -> Result<Done, Stop> {
    let has = |provider: &String| {
        agent.is_none_or(|a| ocf_roots().iter().any(|r| is_program(&r.join(provider).join(a))))
    };
    let found: Vec<String> = ocf_providers().into_iter().filter(has).collect();
    if found.is_empty() {
        let of = agent.map(|a| format!(" for {a}")).unwrap_or_default();
        return Err(Stop::new(NO_SUCH, format!("No OCF providers found{of}")));
    }
    match agent {
        Some(agent) => {
            let list = Node::new("providers").with("for", agent);
            said("", Some((list, "provider")), &found, out);
        }
        None => said("", Some((Node::new("providers").with("standard", "ocf"), "provider")), &found, out),
    }
    DONE
}

/// Agents of a kind, `ocf`, `ocf:heartbeat`.
pub(super) fn list(spec: &str, out: &mut Out<'_>) -> Result<Done, Stop> {
    let (class, provider) = match spec.split_once(':') {
        Some((class, provider)) => (class, Some(provider)),
        None => (spec, None),
    };
    let found: Vec<String> = match (class, provider) {
        ("ocf", Some(provider)) => ocf_agents(provider),
        ("ocf", None) => ocf_providers().into_iter().flat_map(|p| ocf_agents(&p)).collect(),
        ("lsb", _) => lsb_agents(),
        ("systemd", _) => systemd_agents(),
        ("service", _) => {
            lsb_agents().into_iter().chain(systemd_agents()).collect::<BTreeSet<_>>().into_iter().collect()
        }
        ("stonith", _) => fence_agents(),
        _ => Vec::new(),
    };
    if found.is_empty() {
        let of = provider.map(|p| format!(" and provider '{p}'")).unwrap_or_default();
        return Err(Stop::new(1, format!("No agents found for standard '{class}'{of}")));
    }
    let list = Node::new("agents").with("standard", class).maybe("provider", provider);
    said("", Some((list, "agent")), &found, out);
    DONE
}

/// Names that cannot leave their folder.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['.', '-']) && !name.contains('/') && !name.contains('\0')
}

/// The program of an agent.
fn program(class: &str, provider: Option<&str>, kind: &str) -> Option<PathBuf> {
    let plugin = class == "stonith" && kind.split('/').all(is_name);
    if !plugin && (!is_name(kind) || provider.is_some_and(|p| !is_name(p))) {
        return None;
    }
    match class {
        "ocf" => ocf_roots()
            .into_iter()
            .map(|r| r.join(provider.unwrap_or_default()).join(kind))
            .find(|p| is_program(p)),
        "lsb" | "service" => Some(Path::new("/etc/init.d").join(kind)).filter(|p| is_program(p)),
        "stonith" => folders("HOLDFAST_FENCE_PATH", "/usr/sbin")
            .into_iter()
            .map(|f| f.join(kind))
            .find(|p| is_program(p)),
        _ => None,
    }
}

/// Whether an agent is installed.
pub(super) fn exists(class: &str, provider: Option<&str>, kind: &str) -> bool {
    match class {
        "systemd" => systemd_agents().iter().any(|a| a == kind),
        "service" => program(class, provider, kind).is_some() || systemd_agents().iter().any(|a| a == kind),
        "stonith" => program(class, provider, kind).is_some() || glue_plugins().iter().any(|p| p == kind),
        _ => program(class, provider, kind).is_some(),
    }
}

/// What an agent says of itself. `None`: there is no such agent, or it says nothing.
pub(super) fn metadata(class: &str, provider: Option<&str>, kind: &str) -> Option<String> {
    let call = Call {
        class,
        provider,
        kind,
        name: kind,
        action: "meta-data",
        params: Vec::new(),
        level: None,
        timeout: METADATA_MAX,
        verbose: 0,
    };
    match class {
        "ocf" => Some(call.run()).filter(|e| e.code == 0 && !e.stdout.is_empty()).map(|e| e.stdout),
        "stonith" if program(class, provider, kind).is_some() => {
            let call = Call { action: "metadata", ..call };
            Some(call.run()).filter(|e| !e.stdout.is_empty()).map(|e| as_resource_agent(&e.stdout))
        }
        "stonith" => plugin_metadata(kind),
        "lsb" | "service" if program(class, provider, kind).is_some() => Some(plain_metadata(
            kind,
            "init script",
            &["start", "stop", "status", "restart", "force-reload", "monitor"],
        )),
        "systemd" | "service" if systemd_agents().iter().any(|a| a == kind) => {
            Some(plain_metadata(kind, "systemd unit file", &["start", "stop", "status", "monitor"]))
        }
        _ => None,
    }
}

const METADATA_MAX: Duration = Duration::from_secs(30);

/// What is said of something that cannot say it itself.
fn plain_metadata(kind: &str, what: &str, actions: &[&str]) -> String {
    let mut name = String::new();
    cib::escape(kind, &mut name);
    let actions: String = actions
        .iter()
        .map(|a| match *a {
            "status" | "monitor" => format!("    <action name=\"{a}\" timeout=\"100\" interval=\"60\"/>\n"),
            a => format!("    <action name=\"{a}\" timeout=\"100\"/>\n"),
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n<resource-agent name=\"{name}\" \
         version=\"0.1\">\n  <version>1.0</version>\n  <longdesc lang=\"en\">{name}</longdesc>\n  <shortdesc \
         lang=\"en\">{what} {name}</shortdesc>\n  <parameters/>\n  <actions>\n{actions}    <action name=\"meta-data\" \
         timeout=\"5\"/>\n  </actions>\n</resource-agent>\n"
    )
}

/// What a plugin of cluster-glue says of itself.
fn plugin_metadata(kind: &str) -> Option<String> {
    let mut command = Command::new("/usr/sbin/stonith");
    let described =
        command.args(["-m", "-t", kind]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&described.stdout).into_owned();
    (described.status.success() && text.contains("<resource-agent")).then_some(text)
}

/// A fence agent's meta-data as those of a resource: which is started and stopped, and never told by its parameters what to do.
fn as_resource_agent(text: &str) -> String {
    let text = text.trim_start();
    let body = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").map_or(text, |(_, body)| body.trim_start()),
        None => text,
    };
    let mut body = body.replace(
        "<parameter name=\"action\" unique=\"0\" required=\"1\">",
        "<parameter name=\"action\" unique=\"0\" required=\"0\">",
    );
    for action in ["stop", "start"] {
        if !body.contains(&format!("<action name=\"{action}\""))
            && let Some(at) = body.rfind("</actions>")
        {
            body.insert_str(at, &format!("  <action name=\"{action}\" timeout=\"20s\"/>\n  "));
        }
    }
    body
}

/// `class:provider:agent`, `class:agent`.
pub(super) fn parse_spec(spec: &str) -> Option<(&str, Option<&str>, &str)> {
    let parts: Vec<&str> = spec.split(':').collect();
    match parts[..] {
        ["ocf", provider, kind] => Some(("ocf", Some(provider), kind)),
        [class, kind] if class != "ocf" && !kind.is_empty() => Some((class, None, kind)),
        _ => None,
    }
}

/// Shows the meta-data of `class:provider:agent`.
pub(super) fn show(spec: &str, out: &mut Out<'_>) -> Result<Done, Stop> {
    let Some((class, provider, kind)) = parse_spec(spec) else {
        return Err(Stop::new(NO_SUCH, format!("'{spec}' is not a valid agent specification")));
    };
    let Some(text) = metadata(class, provider, kind) else {
        let why = Code::NXIO.text();
        return Err(Stop::new(NO_SUCH, format!("Metadata query for {spec} failed: {why}")));
    };
    out.document("metadata", &text);
    DONE
}

/// A call of an agent by hand: with the environment of whoever calls, so that it can be traced.
pub(super) struct Call<'a> {
    pub(super) class: &'a str,
    pub(super) provider: Option<&'a str>,
    pub(super) kind: &'a str,
    /// The resource.
    pub(super) name: &'a str,
    pub(super) action: &'a str,
    pub(super) params: Vec<(String, String)>,
    /// `OCF_CHECK_LEVEL`.
    pub(super) level: Option<u32>,
    pub(super) timeout: Duration,
    pub(super) verbose: usize,
}

/// Calls a fence agent with an action and parameters on its standard input: exit status, what it said, what it complained of.
pub(super) fn fence_call(
    agent: &str,
    action: &str,
    parameters: &[(String, String)],
    timeout_ms: u64,
) -> (i32, String, String) {
    let call = Call {
        class: "stonith",
        provider: None,
        kind: agent,
        name: "device",
        action,
        params: parameters.to_vec(),
        level: None,
        timeout: Duration::from_millis(timeout_ms),
        verbose: 0,
    };
    let ended = call.run();
    let status = if ended.status == 0 { ended.code } else { 1 };
    (status, ended.stdout, if ended.status == 0 { ended.stderr } else { ended.reason })
}

/// Whether a fence device answers: 0.
pub(super) fn fence_status(agent: &str, parameters: &[(String, String)], timeout_ms: u64) -> i32 {
    let known: Vec<_> = parameters.iter().filter(|(n, _)| !n.starts_with("pcmk_")).cloned().collect();
    fence_call(agent, "monitor", &known, timeout_ms).0
}

/// How it ended.
pub(super) struct Ended {
    /// 0: it ended by itself; else as operations of the history have it.
    pub(super) status: i32,
    /// Exit status as OCF has it.
    pub(super) code: i32,
    /// Why, if it says so.
    pub(super) reason: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// What is kept of an agent's words.
const OUTPUT_MAX: u64 = 1 << 20;

impl Call<'_> {
    pub(super) fn run(&self) -> Ended {
        let failed = |status: i32, code: i32, reason: String| Ended {
            status,
            code,
            reason,
            stdout: String::new(),
            stderr: String::new(),
        };
        if !matches!(self.class, "ocf" | "lsb") && !self.is_device() {
            let reason = format!("Manual execution of the {} standard is unsupported", self.class);
            return failed(4, 3, reason);
        }
        let Some(program) = program(self.class, self.provider, self.kind) else {
            return failed(7, 5, "no such agent is installed".into());
        };
        let mut command = Command::new(&program);
        command
            .stdin(if self.is_device() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if !self.is_device() {
            command.arg(if self.class == "lsb" && self.action == "monitor" { "status" } else { self.action });
        }
        self.surround(&mut command, &program);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => return failed(4, 1, e.to_string()),
        };
        if let Some(mut input) = child.stdin.take() {
            let mut lines: String = self
                .params
                .iter()
                .map(|(name, value)| format!("{name}={}\n", value.replace(['\n', '\r'], " ")))
                .collect();
            lines += &format!("action={}\n", self.action);
            // One that does not read them has its reasons.
            let _ = input.write_all(lines.as_bytes());
        }
        let read = |from: Option<Box<dyn Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut from) = from {
                    let _ = from.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
                    // An agent that says more than anybody reads must not wait for a reader.
                    let _ = std::io::copy(&mut from, &mut std::io::sink());
                }
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = read(child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
        let stderr = read(child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
        let deadline = Instant::now() + self.timeout;
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                _ => break None,
            }
        };
        let Some(ended) = ended else {
            // All that it started, too.
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = child.wait();
            return failed(2, 1, format!("Agent did not complete within {} ms", self.timeout.as_millis()));
        };
        // A daemon that it left behind holds its streams: what was said until now is enough.
        let grace = Instant::now() + Duration::from_secs(2);
        while !(stdout.is_finished() && stderr.is_finished()) && Instant::now() < grace {
            std::thread::sleep(Duration::from_millis(10));
        }
        let taken = |thread: std::thread::JoinHandle<String>| {
            if thread.is_finished() { thread.join().unwrap_or_default() } else { String::new() }
        };
        let (stdout, stderr) = (taken(stdout), taken(stderr));
        let reason = stderr.lines().rev().find_map(|l| l.strip_prefix("ocf-exit-reason:"));
        let code = ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or(0));
        Ended { status: 0, code, reason: reason.unwrap_or_default().to_owned(), stdout, stderr }
    }

    /// Fence agents are told by lines on their standard input what to do. By hand they are only asked, never let act.
    fn is_device(&self) -> bool {
        self.class == "stonith" && matches!(self.action, "metadata" | "monitor" | "validate-all")
    }

    fn surround(&self, command: &mut Command, program: &Path) {
        if self.class != "ocf" {
            return;
        }
        for (name, value) in &self.params {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        let root = program.ancestors().nth(3).unwrap_or(Path::new("/usr/lib/ocf"));
        command
            .env("OCF_ROOT", root)
            .env("OCF_RA_VERSION_MAJOR", "1")
            .env("OCF_RA_VERSION_MINOR", "1")
            .env("OCF_RESOURCE_INSTANCE", self.name)
            .env("OCF_RESOURCE_TYPE", self.kind)
            .env("OCF_RESOURCE_PROVIDER", self.provider.unwrap_or_default())
            .env("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:")
            .env("OCF_RESKEY_crm_feature_set", FEATURE_SET)
            .env("OCF_RESKEY_CRM_meta_timeout", self.timeout.as_millis().to_string())
            .env("HA_debug", if self.verbose > 0 { "1" } else { "0" });
        if let Some(level) = self.level {
            command.env("OCF_CHECK_LEVEL", level.to_string());
        }
        if self.verbose > 1 {
            command.env("OCF_TRACE_RA", "1");
        }
        if std::env::var_os("OCF_TRACE_FILE").is_none() {
            command.env("OCF_TRACE_FILE", "/dev/stderr");
        }
    }
}
