//! Finding an agent and its surroundings: the calling contract of OCF resource agents and of fence agents.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use holdfast_sys::spawn::Spawn;

use crate::ExecutorConfig;
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
    check_name(agent)?;
    let found = config.fence_dirs.iter().map(|d| d.join(agent)).find(|p| is_executable(p));
    found.ok_or_else(|| not_installed(agent, &config.fence_dirs))
}

/// The call of a job: program, arguments, environment; and what goes to its standard input.
pub(crate) fn call(config: &ExecutorConfig, job: &Job) -> Result<(Spawn, Option<String>), AgentError> {
    let mut env: Vec<(OsString, OsString)> = FIXED_ENV.iter().map(|(k, v)| (k.into(), v.into())).collect();
    env.extend(config.extra_env.iter().map(|(k, v)| (k.into(), v.into())));
    match &job.work {
        Work::Ocf { provider, agent, action } => {
            check_name(action)?;
            let (root, program) = find_ocf_agent(config, provider, agent)?;
            ocf_env(config, job, provider, agent, &mut env);
            env.push(("OCF_ROOT".into(), root.into()));
            let args = vec![action.into()];
            Ok((Spawn { program, args, env, dir: config.work_dir.clone(), stdin: false }, None))
        }
        Work::Fence { agent, action } => {
            let program = find_fence_agent(config, agent)?;
            env.push(("OCF_OUTPUT_FORMAT".into(), "log".into()));
            let mut input = String::new();
            for (key, value) in job.params.iter().filter(|(k, _)| k != "action") {
                // A line break inside a value would start a key of its own.
                input.push_str(&format!("{key}={}\n", value.replace(['\n', '\r'], " ")));
            }
            input.push_str(&format!("action={action}\n"));
            Ok((
                Spawn { program, args: Vec::new(), env, dir: config.work_dir.clone(), stdin: true },
                Some(input),
            ))
        }
    }
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

fn check_name(name: &str) -> Result<(), AgentError> {
    let ok = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if ok { Ok(()) } else { Err(AgentError::BadName(name.to_owned())) }
}

fn is_executable(path: &std::path::Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn not_installed(name: &str, dirs: &[PathBuf]) -> AgentError {
    let searched = dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ");
    AgentError::NotInstalled { name: name.to_owned(), searched }
}

/// Agents put it before the line that says why they failed.
pub(crate) const EXIT_REASON_PREFIX: &str = "ocf-exit-reason:";

/// Agents see this and what the contract adds, never the daemon's own environment.
const FIXED_ENV: &[(&str, &str)] = &[
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LANG", "C"),
    ("LC_ALL", "C"),
    ("HOME", "/root"),
    ("HA_logfacility", "none"),
    ("HA_debug", "0"),
    ("HA_cluster_type", "corosync"),
    ("HA_quorum_type", "corosync"),
];
