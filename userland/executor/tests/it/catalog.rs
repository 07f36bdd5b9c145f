//! Lists of agents and their meta-data agree with Pacemaker's `crm_resource` on the agents that are installed here.

use std::path::Path;
use std::process::Command;

use executor::{ExecutorConfig, agents, alternatives, metadata, providers, standards};

fn config() -> ExecutorConfig {
    ExecutorConfig::new("node1", 1, std::env::temp_dir())
}

/// What the original says; `None` where it is not here.
fn original(args: &[&str]) -> Option<String> {
    let program = Path::new("/usr/sbin/crm_resource");
    // Ours under the same name is no judge of us.
    let version = Command::new(program).arg("--version").output().ok()?;
    if !String::from_utf8_lossy(&version.stdout).starts_with("Pacemaker 2.1") {
        return None;
    }
    let out = Command::new(program).args(args).env("CIB_file", "/dev/null").output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn lists_are_the_originals() {
    let config = config();
    let Some(theirs) = original(&["--list-standards"]) else {
        eprintln!("SKIPPED: needs the package pacemaker-cli-utils");
        return;
    };
    // Debian's Pacemaker is built without Nagios plugins.
    let ours: Vec<&str> = standards(&config).into_iter().filter(|s| *s != "nagios").collect();
    assert_eq!(ours, lines(&theirs));
    assert_eq!(providers(&config), lines(&original(&["--list-ocf-providers"]).unwrap()));
    assert_eq!(
        alternatives(&config, "Dummy"),
        lines(&original(&["--list-ocf-alternatives", "Dummy"]).unwrap())
    );
    for (standard, provider) in [
        ("ocf", Some("heartbeat")),
        ("ocf", Some("pacemaker")),
        ("ocf", None),
        ("lsb", None),
        ("stonith", None),
    ] {
        let asked = provider.map_or(standard.to_owned(), |p| format!("{standard}:{p}"));
        let theirs = original(&["--list-agents", &asked]).unwrap();
        let mut theirs: Vec<&str> = lines(&theirs);
        // Of Pacemaker itself, as a program or as a name that it keeps for itself.
        theirs.retain(|n| *n != "fence_watchdog" || Path::new("/usr/sbin/fence_watchdog").exists());
        let ours = agents(&config, standard, provider).unwrap();
        assert_eq!(ours, theirs, "{asked}");
    }
    assert!(agents(&config, "upstart", None).unwrap_err().to_string().contains("classes here are ocf"));
}

#[test]
fn meta_data_of_init_scripts_is_the_originals_byte_for_byte() {
    let config = config();
    let scripts = agents(&config, "lsb", None).unwrap();
    for script in &scripts {
        let Some(theirs) = original(&["--show-metadata", &format!("lsb:{script}")]) else {
            eprintln!("SKIPPED: needs the package pacemaker-cli-utils");
            return;
        };
        assert_eq!(
            metadata(&config, "lsb", None, script).unwrap(),
            theirs.trim_start_matches('\n'),
            "{script}"
        );
    }
    assert!(!scripts.is_empty(), "there are init scripts");
}

#[test]
fn meta_data_of_plugins_is_the_originals() {
    let config = config();
    let all = agents(&config, "stonith", None).unwrap();
    let external: Vec<&String> = all.iter().filter(|n| n.starts_with("external/")).collect();
    if external.is_empty() {
        eprintln!("SKIPPED: needs the package cluster-glue");
        return;
    }
    for name in external {
        let ours = metadata(&config, "stonith", None, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let Some(theirs) = original(&["--show-metadata", &format!("stonith:{name}")]) else { return };
        assert_eq!(ours, theirs, "{name}");
    }
    let plugin = metadata(&config, "stonith", None, "meatware").unwrap();
    assert!(plugin.contains("<resource-agent name=\"meatware\""), "{plugin}");
}

#[test]
fn meta_data_of_agents_is_what_they_write() {
    let config = config();
    if alternatives(&config, "Dummy").is_empty() {
        eprintln!("SKIPPED: needs the package resource-agents");
        return;
    }
    let ours = metadata(&config, "ocf", Some("heartbeat"), "Dummy").unwrap();
    assert_eq!(Some(ours), original(&["--show-metadata", "ocf:heartbeat:Dummy"]));
    let fence = metadata(&config, "stonith", None, "fence_dummy").unwrap();
    assert!(fence.contains("<action name=\"monitor\""), "{fence}");
    let error = metadata(&config, "ocf", None, "Dummy").unwrap_err().to_string();
    assert!(error.contains("write ocf:PROVIDER:Dummy"), "{error}");
    assert!(metadata(&config, "ocf", Some("heartbeat"), "Nosuch").is_err());
}
