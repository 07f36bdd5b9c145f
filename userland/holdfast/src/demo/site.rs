//! The demo's folder: configuration, agents, a folder for each node.
//!
//! ```text
//! DIR/nodes                         names of the nodes: marks the folder as a demo's
//! DIR/nN/{run,state,log}            $HOLDFAST_RUN_DIR, $HOLDFAST_STATE_DIR, what the daemons say
//! DIR/nN/holdfast.conf, DIR/cib.xml configuration
//! DIR/agents/fence_demo             $HOLDFAST_FENCE_PATH: this program
//! DIR/ocf/resource.d/holdfast/demo  $HOLDFAST_OCF_ROOT: the resource agent
//! DIR/service                       locks and the log of the services
//! ```

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The folder.
pub(crate) struct Site {
    /// Its path.
    pub(crate) dir: PathBuf,
    /// Names of the nodes; their ids count from 1.
    pub(crate) nodes: Vec<String>,
    /// First three bytes of the nodes' addresses.
    pub(crate) network: [u8; 3],
}

/// The group of the demo, and its members.
pub(crate) const GROUP: &str = "shop";
/// In the order of starting.
pub(crate) const SERVICES: [&str; 3] = ["storage", "database", "web"];

impl Site {
    /// Makes it.
    pub(crate) fn new(nodes: u32, exe: &Path, namespaces: bool) -> Result<Self> {
        let pid = std::process::id();
        // A name in /proc/net/unix has 108 bytes, and the sockets lie three folders down.
        let base =
            Some(std::env::temp_dir()).filter(|d| d.as_os_str().len() <= 48).unwrap_or_else(|| "/tmp".into());
        let dir = base.join(format!("holdfast-demo-{pid}"));
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&dir)
            .with_context(|| format!("creating {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        // All of 127.0.0.0/8 is this machine: a network of its own for each demo that shares it.
        let network = if namespaces { [10, 77, 0] } else { [127, 64 + (pid >> 8) as u8 % 128, pid as u8] };
        let site = Self { dir, nodes: (1..=nodes).map(|n| format!("n{n}")).collect(), network };
        site.fill(exe).inspect_err(|_| {
            let _ = fs::remove_dir_all(&site.dir);
        })?;
        Ok(site)
    }

    fn fill(&self, exe: &Path) -> Result<()> {
        let dir = &self.dir;
        fs::write(dir.join("nodes"), self.nodes.join("\n") + "\n")?;
        for (index, node) in self.nodes.iter().enumerate() {
            for sub in ["run", "state", "log"] {
                fs::create_dir_all(dir.join(node).join(sub))?;
            }
            fs::write(dir.join(node).join("holdfast.conf"), self.conf(index + 1))?;
        }
        fs::write(dir.join("cib.xml"), self.cib())?;
        fs::create_dir_all(dir.join("service"))?;
        fs::create_dir_all(dir.join("agents"))?;
        symlink(exe, dir.join("agents/fence_demo"))?;
        let agents = dir.join("ocf/resource.d/holdfast");
        fs::create_dir_all(&agents)?;
        let agent = agents.join("demo");
        // The kernel's name of a process: 15 bytes of its program's.
        let program = exe.file_name().unwrap_or_default().to_string_lossy();
        let comm: String = program.chars().take(15).collect();
        let text = AGENT
            .replace("@EXE@", &shell_quoted(exe))
            .replace("@COMM@", &comm)
            .replace("@DIR@", &shell_quoted(&dir.join("service")));
        fs::write(&agent, text)?;
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// The address of a node, by id.
    pub(crate) fn address(&self, id: usize) -> String {
        let [a, b, c] = self.network;
        format!("{a}.{b}.{c}.{id}")
    }

    fn conf(&self, own_id: usize) -> String {
        let mut text = format!(
            "# Written by holdfast demo.\n\
             totem {{\n    version: 2\n    cluster_name: demo\n    transport: knet\n    nodeid: {own_id}\n    token: {TOKEN_MS}\n    token_coefficient: 0\n}}\n\
             nodelist {{\n"
        );
        for (index, node) in self.nodes.iter().enumerate() {
            let (id, address) = (index + 1, self.address(index + 1));
            let _ = writeln!(
                text,
                "    node {{\n        nodeid: {id}\n        name: {node}\n        ring0_addr: {address}\n    }}"
            );
        }
        text.push_str(
            "}\nquorum {\n    provider: corosync_votequorum\n}\n\
             logging {\n    to_stderr: yes\n    to_syslog: no\n}\n\
             failfast {\n    mode: exit\n    exit_scope: run-dir\n    watchdog_device: off\n}\n",
        );
        text
    }

    fn cib(&self) -> String {
        let op = |id: &str, name: &str, interval: &str| {
            format!("<op id=\"{id}-{name}\" name=\"{name}\" interval=\"{interval}\" timeout=\"20s\"/>")
        };
        let service = |id: &&str| {
            let ops =
                [op(id, "start", "0s"), op(id, "stop", "0s"), op(id, "monitor", "2s")].join("\n          ");
            format!(
                "        <primitive id=\"{id}\" class=\"ocf\" provider=\"holdfast\" type=\"demo\">\n          \
                 <operations>\n          {ops}\n          </operations>\n        </primitive>\n"
            )
        };
        let services: String = SERVICES.iter().map(service).collect();
        let node = |(i, n): (usize, &String)| format!("      <node id=\"{}\" uname=\"{n}\"/>\n", i + 1);
        let nodes: String = self.nodes.iter().enumerate().map(node).collect();
        CIB.replace("@NODES@", &nodes)
            .replace("@SERVICES@", &services)
            .replace("@GROUP@", GROUP)
            .replace("@DIR@", &self.dir.to_string_lossy())
    }
}

/// The nodes of a demo, from its folder; an error when the folder is not a demo's.
pub(crate) fn nodes_of(dir: &Path) -> Result<Vec<String>> {
    let list = fs::read_to_string(dir.join("nodes"))
        .with_context(|| format!("{} is not the folder of a demo", dir.display()))?;
    let nodes: Vec<_> = list.lines().map(str::to_owned).collect();
    let plain = |n: &String| n.starts_with('n') && n.len() <= 4 && n[1..].bytes().all(|b| b.is_ascii_digit());
    ensure!(!nodes.is_empty() && nodes.iter().all(plain), "{}/nodes is not a demo's", dir.display());
    Ok(nodes)
}

/// What the services of a demo noted: starts, and every time one found itself running twice.
pub(crate) fn service_log(dir: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let read = |name: &str| match fs::read_to_string(dir.join("service").join(name)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => bail!("{}/service/{name}: {e}", dir.display()),
    };
    Ok((read("starts")?, read("violations")?))
}

fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Short, so that the demo does not bore; long enough for a busy machine.
const TOKEN_MS: u32 = 1000;

const CIB: &str = r#"<cib validate-with="pacemaker-3.9" admin_epoch="0" epoch="1" num_updates="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="option-stonith" name="stonith-enabled" value="true"/>
        <nvpair id="option-quorum" name="no-quorum-policy" value="stop"/>
      </cluster_property_set>
    </crm_config>
    <nodes>
@NODES@    </nodes>
    <resources>
      <primitive id="power" class="stonith" type="fence_demo">
        <instance_attributes id="power-params">
          <nvpair id="power-dir" name="dir" value="@DIR@"/>
          <nvpair id="power-check" name="pcmk_host_check" value="none"/>
        </instance_attributes>
      </primitive>
      <group id="@GROUP@">
@SERVICES@      </group>
    </resources>
    <constraints/>
    <rsc_defaults>
      <meta_attributes id="defaults">
        <nvpair id="defaults-stickiness" name="resource-stickiness" value="100"/>
      </meta_attributes>
    </rsc_defaults>
  </configuration>
  <status/>
</cib>
"#;

/// Nothing but a shell: no tool is needed.
const AGENT: &str = r#"#!/bin/sh
# Resource agent of the Holdfast demo (OCF). The service is a real process that must not run twice: it holds a lock
# that all nodes of the demo share, and leaves a note when it finds the lock taken.
pid_file="$HOLDFAST_RUN_DIR/$OCF_RESOURCE_INSTANCE.pid"

runs() {
    pid= line=
    { read -r pid < "$pid_file"; } 2>/dev/null || return 1
    { read -r line < "/proc/$pid/stat"; } 2>/dev/null || return 1
    case $line in "$pid (@COMM@) "[ZX]*) return 1 ;; "$pid (@COMM@) "*) return 0 ;; esac
    return 1
}

case $1 in
    start)
        runs && exit 0
        rm -f "$pid_file"
        @EXE@ demo-service @DIR@ "$OCF_RESOURCE_INSTANCE" "$OCF_RESKEY_CRM_meta_on_node" "$pid_file" \
            </dev/null >/dev/null 2>&1 &
        started=$!
        # The service writes the file when it has its lock; the time-out of the operation bounds the wait.
        while ! runs; do
            kill -0 "$started" 2>/dev/null || { echo "ocf-exit-reason:the service ended at once" >&2; exit 1; }
            sleep 0.02 2>/dev/null || sleep 1
        done
        exit 0 ;;
    stop)
        while runs; do
            kill "$pid" 2>/dev/null
            sleep 0.02 2>/dev/null || sleep 1
        done
        rm -f "$pid_file"
        exit 0 ;;
    monitor)
        if runs; then exit 0; else exit 7; fi ;;
    validate-all)
        exit 0 ;;
    meta-data)
        cat <<'XML'
<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="demo" version="1.0">
<version>1.1</version>
<longdesc lang="en">A process that must not run twice.</longdesc>
<shortdesc lang="en">A service of the Holdfast demo</shortdesc>
<parameters/>
<actions>
<action name="start" timeout="20s"/>
<action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s" depth="0"/>
<action name="meta-data" timeout="5s"/>
<action name="validate-all" timeout="20s"/>
</actions>
</resource-agent>
XML
        exit 0 ;;
    *)
        exit 3 ;;
esac
"#;
