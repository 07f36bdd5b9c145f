//! What agents there are, and their meta-data, as `crm_resource --list-agents` and `--show-metadata` show them.
//!
//! For commands: calls block until an agent has answered, at most half a minute for each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_types::Span;

use crate::agent::{self, find_in, is_executable};
use crate::job::{Job, JobId, OpStatus, Outcome, Work};
use crate::{Executor, ExecutorConfig, glue, systemd};

/// Why there is no list or no meta-data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// A class that does not exist here.
    #[error("unknown class {0}: classes here are ocf, lsb, service, stonith, systemd, nagios")]
    Class(String),
    /// `ocf` without a provider.
    #[error("ocf agents have a provider: write ocf:PROVIDER:{0}, for example ocf:heartbeat:{0}")]
    Provider(String),
    /// No such agent, or it could not be asked.
    #[error("{0}")]
    Agent(String),
    /// It answered with a failure.
    #[error("meta-data of {agent}: {why}")]
    Failed {
        /// The agent.
        agent: String,
        /// What went wrong.
        why: String,
    },
}

/// Classes that have agents here, in Pacemaker's order.
pub fn standards(config: &ExecutorConfig) -> Vec<&'static str> {
    let mut all = vec!["ocf", "lsb"];
    if config.nagios_dirs.iter().any(|dir| !executables(dir).is_empty()) {
        all.push("nagios");
    }
    all.push("service");
    if systemd::is_there(config) {
        all.push("systemd");
    }
    all.push("stonith");
    all
}

/// Providers of OCF agents.
pub fn providers(config: &ExecutorConfig) -> Vec<String> {
    let folders = |root: &PathBuf| {
        let entries = fs::read_dir(root.join("resource.d")).into_iter().flatten().flatten();
        entries
            .filter(|e| e.path().is_dir())
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    let found: BTreeSet<String> = config.ocf_roots.iter().flat_map(folders).collect();
    found.into_iter().filter(|name| !name.starts_with('.')).collect()
}

/// Providers that have an agent of this name.
pub fn alternatives(config: &ExecutorConfig, kind: &str) -> Vec<String> {
    let has = |p: &String| agent::find_ocf_agent(config, p, kind).is_ok();
    providers(config).into_iter().filter(has).collect()
}

/// Agents of a class, of one provider or of all.
///
/// # Errors
/// For a class that does not exist here, and where systemd does not answer.
pub fn agents(
    config: &ExecutorConfig,
    standard: &str,
    provider: Option<&str>,
) -> Result<Vec<String>, CatalogError> {
    let of_dirs = |dirs: &[PathBuf]| -> Vec<String> {
        let found: BTreeSet<String> = dirs.iter().flat_map(|d| executables(d)).collect();
        found.into_iter().collect()
    };
    Ok(match standard {
        "ocf" => {
            let of = |provider: &str| {
                let dirs: Vec<PathBuf> =
                    config.ocf_roots.iter().map(|r| r.join("resource.d").join(provider)).collect();
                of_dirs(&dirs)
            };
            match provider {
                Some(provider) => of(provider),
                None => providers(config).iter().flat_map(|p| of(p)).collect(),
            }
        }
        "lsb" => of_dirs(&config.init_dirs),
        "nagios" => of_dirs(&config.nagios_dirs),
        "systemd" => systemd::list(config).map_err(CatalogError::Agent)?,
        "service" => {
            let mut found: BTreeSet<String> = of_dirs(&config.init_dirs).into_iter().collect();
            if systemd::is_there(config) {
                found.extend(systemd::list(config).map_err(CatalogError::Agent)?);
            }
            found.into_iter().collect()
        }
        "stonith" => {
            let mut found = plugins();
            found.extend(of_dirs(&config.fence_dirs).into_iter().filter(|n| n.starts_with("fence_")));
            found
        }
        other => return Err(CatalogError::Class(other.to_owned())),
    })
}

/// An agent's meta-data: XML, as the agent writes it, or made from what an init script or a unit says of itself.
///
/// # Errors
/// Where there is no such agent, or it fails.
pub fn metadata(
    config: &ExecutorConfig,
    standard: &str,
    provider: Option<&str>,
    kind: &str,
) -> Result<String, CatalogError> {
    let no_agent = |e: agent::AgentError| CatalogError::Agent(e.to_string());
    match standard {
        "ocf" => {
            let provider = provider.ok_or_else(|| CatalogError::Provider(kind.to_owned()))?;
            agent::find_ocf_agent(config, provider, kind).map_err(no_agent)?;
            let work = Work::Ocf {
                provider: provider.to_owned(),
                agent: kind.to_owned(),
                action: "meta-data".into(),
            };
            Ok(ask(config, kind, work)?)
        }
        "lsb" => {
            let script = find_in(&config.init_dirs, kind).map_err(no_agent)?;
            let text =
                fs::read(&script).map_err(|e| CatalogError::Agent(format!("{}: {e}", script.display())))?;
            Ok(of_init_script(kind, &String::from_utf8_lossy(&text)))
        }
        "systemd" => {
            systemd::description(config, kind).map(|d| of_unit(kind, &d)).map_err(CatalogError::Agent)
        }
        "service" => match find_in(&config.init_dirs, kind) {
            Ok(_) => metadata(config, "lsb", None, kind),
            Err(_) if systemd::is_there(config) => metadata(config, "systemd", None, kind),
            Err(e) => Err(no_agent(e)),
        },
        "nagios" => {
            find_in(&config.nagios_dirs, kind).map_err(no_agent)?;
            let path = Path::new("/usr/share/pacemaker/nagios/plugins-metadata").join(format!("{kind}.xml"));
            fs::read_to_string(&path).map_err(|e| CatalogError::Agent(format!("{}: {e}", path.display())))
        }
        "stonith" if kind.starts_with("fence_") => {
            agent::find_fence_agent(config, kind).map_err(no_agent)?;
            ask(config, kind, Work::Fence { agent: kind.to_owned(), action: "metadata".into() })
        }
        "stonith" => match kind.strip_prefix("external/") {
            Some(name) => {
                glue::find_script(config, name).map_err(no_agent)?;
                let get = |what: &str| {
                    ask(config, kind, Work::Fence { agent: kind.to_owned(), action: what.to_owned() })
                };
                let (long, short) = (get("getinfo-devdescr")?, get("getinfo-devid")?);
                Ok(of_plugin(kind, &long, &short, &get("getinfo-xml")?))
            }
            None => ask(config, kind, Work::Fence { agent: kind.to_owned(), action: "metadata".into() }),
        },
        other => Err(CatalogError::Class(other.to_owned())),
    }
}

/// Runs one action of an agent, without a cluster, and waits for it. For `crm_resource --force-start` and its like, too.
///
/// # Errors
/// When no thread can be made for it.
pub fn run_once(config: &ExecutorConfig, job: Job) -> std::io::Result<Outcome> {
    let config = ExecutorConfig { watch: false, cgroups: false, ..config.clone() };
    let (executor, outcomes) = Executor::new(config, || {})?;
    let recurring = Job { interval: Span::ZERO, ..job };
    executor.submit(recurring);
    outcomes.recv().map_err(std::io::Error::other)
}

fn ask(config: &ExecutorConfig, name: &str, work: Work) -> Result<String, CatalogError> {
    let failed = |why: String| CatalogError::Failed { agent: name.to_owned(), why };
    let job = Job {
        id: JobId(1),
        resource: name.to_owned(),
        work,
        params: Vec::new(),
        meta: Vec::new(),
        timeout: METADATA_TIMEOUT,
        interval: Span::ZERO,
    };
    let out = run_once(config, job).map_err(|e| failed(e.to_string()))?;
    match out.status {
        OpStatus::Done if out.rc == 0 => Ok(out.stdout),
        OpStatus::Done => Err(failed(format!("it returned {}: {}", out.rc, out.stderr.trim()))),
        _ => Err(failed(out.reason)),
    }
}

/// Names of executable files.
fn executables(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| is_executable(&e.path()))
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

/// Plugins of cluster-glue, as its own program lists them: it alone can look into those in C.
fn plugins() -> Vec<String> {
    let listed = Command::new("/usr/sbin/stonith").arg("-L").output();
    let text = listed.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

/// Meta-data of an init script from the block that LSB gives it.
fn of_init_script(name: &str, script: &str) -> String {
    let mut values: Vec<(&str, String)> = INIT_KEYS.iter().map(|k| (*k, String::new())).collect();
    let mut long: Option<String> = None;
    let mut inside = false;
    let mut in_description = false;
    for line in script.lines() {
        match line.trim_end() {
            "### BEGIN INIT INFO" => inside = true,
            "### END INIT INFO" => break,
            _ if !inside => {}
            _ => {
                // A description goes on in lines that begin with a tab or two blanks.
                if in_description && (line.starts_with("#  ") || line.starts_with("#\t")) {
                    long = long.map(|l| format!("{l}{}\n", &line[1..]));
                    continue;
                }
                // The original loses the line that ends a description of several lines.
                if std::mem::take(&mut in_description)
                    && long.as_ref().is_some_and(|l| l.matches('\n').count() > 1)
                {
                    continue;
                }
                if let Some(text) = line.strip_prefix("# Description:") {
                    long = Some(format!("{text}\n"));
                    in_description = true;
                }
                for (key, value) in &mut values {
                    let text = line
                        .strip_prefix("# ")
                        .and_then(|l| l.strip_prefix(*key))
                        .and_then(|l| l.strip_prefix(':'));
                    if let Some(text) = text.filter(|_| value.is_empty()) {
                        *value = format!("{text}\n");
                    }
                }
            }
        }
    }
    let get = |key: &str| {
        let value = values.iter().find(|(k, _)| *k == key).map_or("", |(_, v)| v.as_str());
        escape(value)
    };
    let special = INIT_KEYS[1..].iter().map(|key| format!("    <{key}>{}</{key}>\n", get(key)));
    format!(
        "<?xml version='1.0'?>\n<!DOCTYPE resource-agent SYSTEM 'ra-api-1.dtd'>\n\
         <resource-agent name='{name}' version='0.1'>\n  <version>1.0</version>\n  <longdesc lang='en'>\n{}  </longdesc>\n  \
         <shortdesc lang='en'>{}</shortdesc>\n  <parameters>\n  </parameters>\n  <actions>\n\
         {INIT_ACTIONS}  </actions>\n  <special tag='LSB'>\n{}  </special>\n</resource-agent>\n",
        // What is missing is the name, as in the original: on the same line as what follows.
        escape(&long.unwrap_or_else(|| name.to_owned())),
        Some(get(INIT_KEYS[0])).filter(|short| !short.is_empty()).unwrap_or_else(|| name.to_owned()),
        special.collect::<String>(),
    )
}

/// Meta-data of a unit.
fn of_unit(name: &str, description: &str) -> String {
    let (name, description) = (escape(name), escape(description));
    let action = |name: &str, rest: &str| format!("    <action name=\"{name}\" {rest}/>\n");
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n\
         <resource-agent name=\"{name}\" version=\"0.1\">\n  <version>1.1</version>\n  <longdesc lang=\"en\">\n    {description}\n  </longdesc>\n  \
         <shortdesc lang=\"en\">systemd unit file for {name}</shortdesc>\n  <parameters/>\n  <actions>\n{}{}{}{}{}  </actions>\n  \
         <special tag=\"systemd\"/>\n</resource-agent>\n",
        action("start", "timeout=\"100\""),
        action("stop", "timeout=\"100\""),
        action("status", "timeout=\"100\""),
        action("monitor", "timeout=\"100\" interval=\"60\""),
        action("meta-data", "timeout=\"5\""),
    )
}

/// Meta-data of a script of cluster-glue.
fn of_plugin(name: &str, long: &str, short: &str, parameters: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n\
         <resource-agent name=\"{name}\">\n  <version>1.0</version>\n  <longdesc lang=\"en\">\n{}\n  </longdesc>\n  \
         <shortdesc lang=\"en\">{}</shortdesc>\n{parameters}\n  <actions>\n{PLUGIN_ACTIONS}  </actions>\n  \
         <special tag=\"heartbeat\">\n    <version>2.0</version>\n  </special>\n</resource-agent>\n",
        escape(long),
        escape(short),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const METADATA_TIMEOUT: Span = Span::from_secs(30);

const INIT_KEYS: [&str; 8] = [
    "Short-Description",
    "Provides",
    "Required-Start",
    "Required-Stop",
    "Should-Start",
    "Should-Stop",
    "Default-Start",
    "Default-Stop",
];

const INIT_ACTIONS: &str = "    <action name='meta-data'    timeout='5' />
    <action name='start'        timeout='15' />
    <action name='stop'         timeout='15' />
    <action name='status'       timeout='15' />
    <action name='restart'      timeout='15' />
    <action name='force-reload' timeout='15' />
    <action name='monitor'      timeout='15' interval='15' />
";

const PLUGIN_ACTIONS: &str = r#"    <action name="start"   timeout="20" />
    <action name="stop"    timeout="15" />
    <action name="status"  timeout="20" />
    <action name="monitor" timeout="20" interval="3600"/>
    <action name="meta-data"  timeout="15" />
"#;
