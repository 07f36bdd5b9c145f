//! Finding an agent and its surroundings: the calling contracts of resource agents, init scripts, fence agents and plugins.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holdfast_sys::spawn::Spawn;
use holdfast_types::Span;

use crate::ExecutorConfig;
use crate::glue;
use crate::job::{Job, Work};

/// Why an agent cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// A provider, agent or action name that could leave its folder.
    #[error("invalid agent name \"{0}\": only letters, digits, '-', '_' and '.' are allowed, not leading")]
    BadName(String),
    /// Not found in any folder, or not executable.
    #[error("agent {name} is not installed: no executable {name} below {searched}")]
    NotInstalled {
        /// As the configuration names it.
        name: String,
        /// The folders that were searched.
        searched: String,
    },
    /// Others than its owner may change it, and it would run as root.
    #[error("{0} may be written by others than its owner and is not run: chmod go-w {0}")]
    Writable(String),
    /// The class does not know this action.
    #[error("{class} agents have no action {action}")]
    NoAction {
        /// The class.
        class: &'static str,
        /// What was asked for.
        action: String,
    },
}

/// How a job is carried out.
#[derive(Debug)]
pub(crate) enum Plan {
    /// A program, and what goes to its standard input.
    Program(Box<Spawn>, Option<String>),
    /// A script of cluster-glue: first asked for the names of its parameters, then called with those.
    Glue(PathBuf),
    /// A unit of systemd.
    Unit(String),
    /// Nothing is to be done, and that is well.
    Nothing,
}

/// The executable of `ocf:PROVIDER:AGENT`.
///
/// # Errors
/// When the name is unsafe or there is no such executable.
pub fn find_ocf_agent(
    config: &ExecutorConfig,
    provider: &str,
    agent: &str,
) -> Result<(PathBuf, PathBuf), AgentError> {
    check_name(provider)?;
    check_name(agent)?;
    for root in &config.ocf_roots {
        let path = root.join("resource.d").join(provider).join(agent);
        if is_executable(&path) {
            return Ok((root.clone(), path));
        }
    }
    Err(not_installed(&format!("resource.d/{provider}/{agent}"), &config.ocf_roots))
}

/// The executable of a fence agent.
///
/// # Errors
/// As for [`find_ocf_agent`].
pub fn find_fence_agent(config: &ExecutorConfig, agent: &str) -> Result<PathBuf, AgentError> {
    find_in(&config.fence_dirs, agent)
}

/// An executable of this name in the first of these folders that has one.
pub(crate) fn find_in(dirs: &[PathBuf], name: &str) -> Result<PathBuf, AgentError> {
    check_name(name)?;
    let found = dirs.iter().map(|d| d.join(name)).find(|p| is_executable(p));
    found.ok_or_else(|| not_installed(name, dirs))
}

/// What carries a job out.
pub(crate) fn plan(config: &ExecutorConfig, job: &Job) -> Result<Plan, AgentError> {
    let no_action = |class, action: &str| AgentError::NoAction { class, action: action.to_owned() };
    match &job.work {
        Work::Ocf { provider, agent, action } => {
            check_name(action)?;
            let (root, program) = find_ocf_agent(config, provider, agent)?;
            let mut env = base_env(config);
            ocf_env(config, job, provider, agent, &mut env);
            env.push(("OCF_ROOT".into(), root.into()));
            Ok(program_plan(config, program, vec![action.into()], env))
        }
        Work::Fence { agent, action } if agent.starts_with("fence_") => {
            let program = find_fence_agent(config, agent)?;
            let mut env = base_env(config);
            env.push(("OCF_OUTPUT_FORMAT".into(), "log".into()));
            let mut input = String::new();
            for (key, value) in job.params.iter().filter(|(k, _)| k != "action") {
                // A line break inside a value would start a key of its own.
                input.push_str(&format!("{key}={}\n", value.replace(['\n', '\r'], " ")));
            }
            input.push_str(&format!("action={action}\n"));
            let dir = config.work_dir.clone();
            let spawn = Spawn { program, args: Vec::new(), env, dir, stdin: true, cgroup: None, user: None };
            Ok(Plan::Program(Box::new(spawn), Some(input)))
        }
        Work::Fence { agent, action } => match agent.strip_prefix("external/") {
            Some(script) => Ok(Plan::Glue(glue::find_script(config, script)?)),
            None => glue::binary(config, agent, action, job),
        },
        Work::Lsb { agent, action } => lsb_plan(config, agent, action),
        Work::Service { agent, action } => {
            check_name(agent)?;
            let script = config.init_dirs.iter().any(|d| is_executable(&d.join(agent)));
            if script || !crate::systemd::is_there(config) {
                lsb_plan(config, agent, action)
            } else {
                Ok(Plan::Unit(unit_name(agent)))
            }
        }
        Work::Systemd { unit, action } => match action.as_str() {
            _ if unit.is_empty() || unit.contains('/') || unit.starts_with(['.', '-']) => {
                Err(AgentError::BadName(unit.clone()))
            }
            "start" | "stop" | "restart" | "monitor" | "status" => Ok(Plan::Unit(unit_name(unit))),
            other => Err(no_action("systemd", other)),
        },
        Work::Alert { path } => {
            if !path.is_absolute() || !is_executable(path) {
                return Err(not_installed(&path.display().to_string(), &[]));
            }
            let mut env = base_env(config);
            env.extend(job.params.iter().map(|(k, v)| (k.into(), v.into())));
            let (program, user) = (path.clone(), config.alert_user);
            // Our own folder is not for that user.
            let dir = PathBuf::from("/");
            let spawn = Spawn { program, args: Vec::new(), env, dir, stdin: false, cgroup: None, user };
            Ok(Plan::Program(Box::new(spawn), None))
        }
        Work::Nagios { agent, action } => {
            let program = find_in(&config.nagios_dirs, agent)?;
            let args = match action.as_str() {
                "stop" => return Ok(Plan::Nothing),
                "monitor" if job.interval == Span::ZERO => vec!["--version".into()],
                "start" | "monitor" => nagios_args(job),
                other => return Err(no_action("nagios", other)),
            };
            Ok(program_plan(config, program, args, base_env(config)))
        }
    }
}

/// The exit code as OCF has it. `probe`: a monitor that is not repeated.
pub(crate) fn uniform(work: &Work, probe: bool, code: i32) -> i32 {
    use crate::job::rc;
    match work {
        Work::Lsb { action, .. } | Work::Service { action, .. } => match (action.as_str(), code) {
            ("monitor" | "status", 0) => rc::SUCCESS,
            ("monitor" | "status", 1..=3) => rc::NOT_RUNNING,
            // Not of LSB: scripts that were written for clusters say so.
            ("monitor" | "status", 150) => rc::ERR_INSTALLED,
            ("monitor" | "status", 151) => rc::ERR_PERM,
            ("monitor" | "status", _) => rc::ERR_GENERIC,
            (_, 0..=7) => code,
            _ => rc::ERR_GENERIC,
        },
        Work::Nagios { .. } => match code {
            // `--version` shows that the plugin is there, not that anything runs.
            0 if probe => rc::NOT_RUNNING,
            0 => rc::SUCCESS,
            1 => rc::DEGRADED,
            _ => rc::ERR_GENERIC,
        },
        _ => code,
    }
}

fn program_plan(
    config: &ExecutorConfig,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
) -> Plan {
    let dir = config.work_dir.clone();
    Plan::Program(Box::new(Spawn { program, args, env, dir, stdin: false, cgroup: None, user: None }), None)
}

fn lsb_plan(config: &ExecutorConfig, agent: &str, action: &str) -> Result<Plan, AgentError> {
    check_name(action)?;
    let program = find_in(&config.init_dirs, agent)?;
    let action = if action == "monitor" { "status" } else { action };
    Ok(program_plan(config, program, vec![action.into()], base_env(config)))
}

fn nagios_args(job: &Job) -> Vec<OsString> {
    let theirs = job.params.iter().filter(|(k, _)| !k.starts_with("CRM_meta") && k != "crm_feature_set");
    theirs.flat_map(|(k, v)| [format!("--{k}").into(), v.into()]).collect()
}

/// `.service` is what a name without a suffix means.
pub(crate) fn unit_name(name: &str) -> String {
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".slice",
        ".scope",
    ];
    if SUFFIXES.iter().any(|s| name.ends_with(s)) { name.to_owned() } else { format!("{name}.service") }
}

/// What every agent sees.
pub(crate) fn base_env(config: &ExecutorConfig) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = FIXED_ENV.iter().map(|(k, v)| (k.into(), v.into())).collect();
    let path = match &config.tools_dir {
        Some(tools) => {
            // Agents call some tools by this variable and others by name.
            env.push(("HA_SBIN_DIR".into(), tools.into()));
            format!("{}:{PATH}", tools.display())
        }
        None => PATH.to_owned(),
    };
    env.push(("PATH".into(), path.into()));
    env.extend(config.extra_env.iter().map(|(k, v)| (k.into(), v.into())));
    env
}

fn ocf_env(
    config: &ExecutorConfig,
    job: &Job,
    provider: &str,
    agent: &str,
    env: &mut Vec<(OsString, OsString)>,
) {
    let mut put = |key: &str, value: &str| env.push((key.into(), value.into()));
    put("OCF_RA_VERSION_MAJOR", "1");
    put("OCF_RA_VERSION_MINOR", "1");
    put("OCF_RESOURCE_INSTANCE", &job.resource);
    put("OCF_RESOURCE_TYPE", agent);
    put("OCF_RESOURCE_PROVIDER", provider);
    put("OCF_EXIT_REASON_PREFIX", EXIT_REASON_PREFIX);
    put("OCF_OUTPUT_FORMAT", "text");
    put("OCF_RESKEY_crm_feature_set", "3.16.1");
    for (key, value) in &job.params {
        put(&format!("OCF_RESKEY_{key}"), value);
    }
    for (key, value) in &job.meta {
        // OCF_CHECK_LEVEL comes from the operation's attributes and is the one that goes without a prefix.
        if key == "OCF_CHECK_LEVEL" {
            put(key, value);
        } else {
            put(&format!("OCF_RESKEY_CRM_meta_{}", key.replace('-', "_")), value);
        }
    }
    put("OCF_RESKEY_CRM_meta_timeout", &job.timeout.as_millis().to_string());
    put("OCF_RESKEY_CRM_meta_on_node", &config.node_name);
    put("OCF_RESKEY_CRM_meta_on_node_uuid", &config.node_id.to_string());
    // A probe is a monitor with neither interval nor name: agents tell it by that.
    if job.interval.as_millis() > 0 {
        put("OCF_RESKEY_CRM_meta_interval", &job.interval.as_millis().to_string());
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), AgentError> {
    let ok = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if ok { Ok(()) } else { Err(AgentError::BadName(name.to_owned())) }
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

pub(crate) fn not_installed(name: &str, dirs: &[PathBuf]) -> AgentError {
    let searched = dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ");
    AgentError::NotInstalled {
        name: name.to_owned(),
        searched: if dirs.is_empty() { "/".into() } else { searched },
    }
}

/// Agents put it before the line that says why they failed.
pub(crate) const EXIT_REASON_PREFIX: &str = "ocf-exit-reason:";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Agents see this and what the contract adds, never the daemon's own environment.
const FIXED_ENV: &[(&str, &str)] = &[
    ("LANG", "C"),
    ("LC_ALL", "C"),
    ("HOME", "/root"),
    ("HA_logfacility", "none"),
    ("HA_debug", "0"),
    ("HA_cluster_type", "corosync"),
    ("HA_quorum_type", "corosync"),
    ("PCMK_logfacility", "none"),
    ("PCMK_debug", "0"),
    ("PCMK_cluster_type", "corosync"),
    ("PCMK_quorum_type", "corosync"),
];
