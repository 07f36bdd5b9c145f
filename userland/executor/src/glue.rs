//! STONITH plugins of cluster-glue. Scripts of `external/` are called directly, with nothing in their environment but what
//! they declare; plugins in C through the program `stonith`, which alone can load them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holdfast_sys::spawn::Spawn;

use crate::ExecutorConfig;
use crate::agent::{AgentError, Plan, base_env, check_name, is_executable, not_installed};
use crate::job::Job;

/// The script of `external/NAME`.
pub(crate) fn find_script(config: &ExecutorConfig, name: &str) -> Result<PathBuf, AgentError> {
    check_name(name)?;
    let path = config.glue_dirs.iter().map(|d| d.join("external").join(name)).find(|p| is_executable(p));
    let path = path.ok_or_else(|| not_installed(&format!("external/{name}"), &config.glue_dirs))?;
    if path.metadata().is_ok_and(|m| m.permissions().mode() & 0o022 != 0) {
        return Err(AgentError::Writable(path.display().to_string()));
    }
    Ok(path)
}

/// The first call of every run: which parameters the script has.
pub(crate) fn names_call(config: &ExecutorConfig, script: &Path) -> Spawn {
    call(config, script, vec!["getconfignames".into()], Vec::new())
}

/// The call itself, with the parameters that `names` (the answer of [`names_call`]) lists.
pub(crate) fn main_call(config: &ExecutorConfig, script: &Path, job: &Job, names: &str) -> Spawn {
    let declared: Vec<&str> = names.split_whitespace().collect();
    let ours = |name: &str| declared.contains(&name) || name == "nodename";
    let params = job.params.iter().filter(|(k, _)| ours(k)).cloned().collect();
    call(config, script, command(job.work.action(), victim(job)), params)
}

/// A plugin in C.
pub(crate) fn binary(
    config: &ExecutorConfig,
    agent: &str,
    action: &str,
    job: &Job,
) -> Result<Plan, AgentError> {
    check_name(agent)?;
    let program = PathBuf::from("/usr/sbin/stonith");
    if !is_executable(&program) {
        return Err(not_installed(agent, &[PathBuf::from("/usr/sbin/stonith")]));
    }
    let mut args: Vec<std::ffi::OsString> = vec!["-t".into(), agent.into()];
    match action {
        "metadata" | "meta-data" => args.push("-m".into()),
        "monitor" | "status" => args.extend(["-E".into(), "-S".into()]),
        "list" => args.extend(["-E".into(), "-l".into()]),
        "on" | "off" | "reboot" | "reset" => {
            let kind = if action == "reboot" { "reset" } else { action };
            args.extend(["-E".into(), "-T".into(), kind.into(), victim(job).unwrap_or_default().into()]);
        }
        other => return Err(AgentError::NoAction { class: "cluster-glue", action: other.to_owned() }),
    }
    let mut env = base_env(config);
    env.extend(job.params.iter().map(|(k, v)| (k.into(), v.into())));
    let dir = config.work_dir.clone();
    let spawn = Spawn { program, args, env, dir, stdin: false, cgroup: None, user: None };
    Ok(Plan::Program(Box::new(spawn), None))
}

fn call(config: &ExecutorConfig, script: &Path, args: Vec<String>, params: Vec<(String, String)>) -> Spawn {
    let mut env = base_env(config);
    let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
    env.push(("HA_LOGTAG".into(), format!("external/{name}").into()));
    env.extend(params.into_iter().map(|(k, v)| (k.into(), v.into())));
    // `ha_log.sh` and its like are called by name.
    if let Some((_, path)) = env.iter_mut().find(|(k, _)| k == "PATH") {
        path.push(":/usr/share/cluster-glue");
    }
    let args = args.into_iter().map(Into::into).collect();
    let (program, dir) = (script.to_owned(), config.work_dir.clone());
    Spawn { program, args, env, dir, stdin: false, cgroup: None, user: None }
}

/// The script's word for an action, and the host.
fn command(action: &str, victim: Option<&str>) -> Vec<String> {
    let with_host = |word: &str| {
        let mut args = vec![word.to_owned()];
        args.extend(victim.map(str::to_owned));
        args
    };
    match action {
        "monitor" => vec!["status".to_owned()],
        "list" => vec!["gethosts".to_owned()],
        "reboot" => with_host("reset"),
        "on" | "off" | "reset" => with_host(action),
        other => vec![other.to_owned()],
    }
}

/// Whom the call is about: the alias that the device knows the node by, else its name.
fn victim(job: &Job) -> Option<&str> {
    let get = |name: &str| job.params.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    get("port").or_else(|| get("nodename"))
}
