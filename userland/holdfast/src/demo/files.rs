//! The demo's files: configuration, CIB, agent, fence agent; and where the binaries are.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The programs of a node.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) cmmd: PathBuf,
    pub(super) rgmd: PathBuf,
    pub(super) holdfast: PathBuf,
}

impl Binaries {
    /// All of them lie next to this program.
    pub(super) fn find() -> Result<Self> {
        let holdfast = std::env::current_exe().context("cannot find this program")?;
        let dir = holdfast.parent().context("this program has no folder")?.to_owned();
        let missing: Vec<&str> =
            ["cmmd", "rgmd", "holdfast-guardian"].into_iter().filter(|b| !dir.join(b).exists()).collect();
        if !missing.is_empty() {
            bail!(
                "{} not found in {}; build everything first: cargo build --release --workspace",
                missing.join(", "),
                dir.display()
            );
        }
        Ok(Self { cmmd: dir.join("cmmd"), rgmd: dir.join("rgmd"), holdfast })
    }
}

/// One node's places.
#[derive(Clone, Debug)]
pub(super) struct NodeFiles {
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) address: String,
    pub(super) dir: PathBuf,
}

impl NodeFiles {
    pub(super) fn new(root: &Path, id: u32, address: String) -> Self {
        let name = format!("node{id}");
        Self { dir: root.join(&name), name, id, address }
    }
    pub(super) fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }
    pub(super) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }
    pub(super) fn conf(&self) -> PathBuf {
        self.dir.join("holdfast.conf")
    }
    /// Everything that the node's daemons print.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// The resources of the group, in order of start.
pub(super) const RESOURCES: [&str; 3] = ["volume", "address", "service"];
/// The group.
pub(super) const GROUP: &str = "web";
/// The agent finds a second copy of a resource by a lock that all nodes share; what it finds it writes here.
pub(super) const VIOLATIONS: &str = "ran-twice";
pub(super) const POWER_SOCKET: &str = "power.sock";

/// Writes everything below `root`.
pub(super) fn write(root: &Path, nodes: &[NodeFiles], scope: &str, binaries: &Binaries) -> Result<()> {
    let holdfast = binaries.holdfast.display();
    for node in nodes {
        for dir in [node.run_dir(), node.state_dir()] {
            std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        std::fs::write(node.conf(), conf(node, nodes, scope))?;
    }
    std::fs::write(cib_path(root), cib(nodes))?;
    std::fs::create_dir_all(root.join("locks"))?;
    let agents = root.join("ocf/resource.d/holdfast");
    std::fs::create_dir_all(&agents)?;
    let quoted = root.display();
    executable(
        &agents.join("Worker"),
        &WORKER.replace("@ROOT@", &quoted.to_string()).replace("@HOLDFAST@", &holdfast.to_string()),
    )?;
    std::fs::create_dir_all(root.join("fence"))?;
    let socket = root.join(POWER_SOCKET);
    executable(
        &root.join("fence/fence_demo"),
        &format!("#!/bin/sh\nexec '{holdfast}' fence-demo '{}'\n", socket.display()),
    )
}

pub(super) fn cib_path(root: &Path) -> PathBuf {
    root.join("cib.xml")
}

fn executable(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn conf(node: &NodeFiles, nodes: &[NodeFiles], scope: &str) -> String {
    let mut text = format!(
        "# Written by holdfast demo\n\
         totem {{\n    version: 2\n    cluster_name: demo\n    transport: udpu\n    nodeid: {}\n    token: 1000\n}}\n\
         quorum {{\n    provider: corosync_votequorum\n}}\n\
         logging {{\n    to_stderr: yes\n    to_syslog: no\n}}\n\
         failfast {{\n    mode: exit\n    exit_scope: {scope}\n}}\n\
         nodelist {{\n",
        node.id
    );
    for n in nodes {
        text.push_str(&format!(
            "    node {{\n        nodeid: {}\n        name: {}\n        ring0_addr: {}\n    }}\n",
            n.id, n.name, n.address
        ));
    }
    text.push_str("}\n");
    text
}

fn cib(nodes: &[NodeFiles]) -> String {
    let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    let members: String = RESOURCES
        .iter()
        .map(|r| {
            format!(
                r#"        <primitive id="{r}" class="ocf" provider="holdfast" type="Worker">
          <operations>
            <op id="{r}-start" name="start" interval="0" timeout="20s"/>
            <op id="{r}-stop" name="stop" interval="0" timeout="20s"/>
            <op id="{r}-monitor" name="monitor" interval="2s" timeout="20s"/>
          </operations>
        </primitive>
"#
            )
        })
        .collect();
    let node_list: String =
        nodes.iter().map(|n| format!("      <node id=\"{}\" uname=\"{}\"/>\n", n.id, n.name)).collect();
    format!(
        r#"<cib validate-with="pacemaker-3.8" admin_epoch="0" epoch="1" num_updates="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="opt-stonith" name="stonith-enabled" value="true"/>
        <nvpair id="opt-quorum" name="no-quorum-policy" value="stop"/>
      </cluster_property_set>
    </crm_config>
    <nodes>
{node_list}    </nodes>
    <resources>
      <primitive id="power" class="stonith" type="fence_demo">
        <instance_attributes id="power-params">
          <nvpair id="power-hosts" name="pcmk_host_list" value="{}"/>
        </instance_attributes>
      </primitive>
      <group id="{GROUP}">
{members}      </group>
    </resources>
    <constraints/>
    <rsc_defaults>
      <meta_attributes id="rsc-options">
        <nvpair id="rsc-stickiness" name="resource-stickiness" value="100"/>
      </meta_attributes>
    </rsc_defaults>
  </configuration>
  <status/>
</cib>
"#,
        names.join(" ")
    )
}

/// An OCF resource agent around a real process that holds a lock as long as it lives.
const WORKER: &str = r#"#!/bin/sh
# OCF resource agent of the Holdfast demo: a process that holds a lock which all nodes share.
pid_file="$HOLDFAST_RUN_DIR/$OCF_RESOURCE_INSTANCE.pid"
running() { [ -s "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null; }
case "$1" in
start)
    running && exit 0
    '@HOLDFAST@' demo-worker '@ROOT@' "$OCF_RESOURCE_INSTANCE" "$pid_file" || {
        echo "ocf-exit-reason:$OCF_RESOURCE_INSTANCE is still held by another node" >&2
        exit 1
    } ;;
stop)
    running || exit 0
    kill "$(cat "$pid_file")"
    while running; do sleep 0.05; done
    rm -f "$pid_file" ;;
monitor)
    running && exit 0
    exit 7 ;;
meta-data)
    cat <<END
<?xml version="1.0"?>
<resource-agent name="Worker" version="1.0"><version>1.1</version>
<longdesc lang="en">A process that holds a lock</longdesc><shortdesc lang="en">demo worker</shortdesc><parameters/>
<actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/><action name="monitor" timeout="20s" interval="2s"/>
<action name="meta-data" timeout="5s"/></actions></resource-agent>
END
    ;;
validate-all) ;;
*) exit 3 ;;
esac
exit 0
"#;
