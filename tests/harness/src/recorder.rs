//! A resource agent whose every start and stop is known outside of the nodes.
//!
//! An instance is a process that holds an exclusive lock on a file that all nodes see, until the kernel ends it: one
//! that starts beside another finds the lock taken and leaves a note. What begins and ends in order is stamped, too, so
//! that it can be checked afterwards without the locks. The agent fails and hangs where a test says so.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::processes::Process;

/// `ocf:harness:record`. Parameter `each`: an instance on every node is one of its own (for clones). Its promoted
/// instance is another service, of which there is one.
pub const RECORD_AGENT: &str = "ocf:harness:record";

/// What an agent is made to do, see [`crate::Cluster::set_agent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentFault {
    /// It returns a generic error.
    Fails,
    /// It does nothing until it is killed.
    Hangs,
}

/// A line of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Seconds since 1970, as the agent saw them.
    pub at: String,
    /// `start`, `stop`, `promote`, `demote`; `life`: a node's daemons begin anew, nothing of before runs there.
    pub what: String,
    /// The service: a resource, with `@NODE` where each node has one of its own, with `!` where it is the promoted one.
    pub service: String,
    /// The node.
    pub node: String,
}

/// The agent and what it writes.
pub(crate) struct Recorder {
    dir: PathBuf,
    root: PathBuf,
}

impl Recorder {
    /// `witness` is the folder of the records; notes go to its file `violations`. `holdfast`: the command that agents call.
    pub(crate) fn new(dir: &Path, witness: &Path, holdfast: &Path) -> Result<Self> {
        let root = dir.join("ocf");
        let folder = root.join("resource.d/harness");
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(witness.join("faults"))?;
        let agent = folder.join("record");
        let text = AGENT.replace("@DIR@", &witness.to_string_lossy());
        fs::write(&agent, text.replace("@HOLDFAST@", &holdfast.to_string_lossy()))?;
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
        Ok(Self { dir: witness.to_owned(), root })
    }

    /// The OCF root that holds the agent.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// From now on operation `operation` of a resource on a node does this; `None`: what it should.
    pub(crate) fn set(&self, resource: &str, node: &str, operation: &str, fault: Option<AgentFault>) {
        let path = self.dir.join(format!("faults/{resource}.{node}.{operation}"));
        let text = match fault {
            Some(AgentFault::Fails) => "fail",
            Some(AgentFault::Hangs) => "hang",
            None => {
                let _ = fs::remove_file(path);
                return;
            }
        };
        fs::write(path, text).expect("the folder of faults");
    }

    /// The daemons of a node begin anew.
    pub(crate) fn life(&self, node: &str) -> Result<()> {
        let text = format!(
            "exec 8>>\"{0}/records.lock\"; flock 8; echo \"$(date +%s.%N) life - {node}\" >> \"{0}/records\"",
            self.dir.display()
        );
        let status = std::process::Command::new("sh").args(["-c", &text]).status().context("running sh")?;
        ensure!(status.success(), "stamping a life: {status}");
        Ok(())
    }

    /// The service that a process is an instance of.
    pub(crate) fn instance(&self, process: &Process) -> Option<String> {
        let held = fs::read_link(format!("/proc/{}/fd/9", process.pid)).ok()?;
        let name = held.strip_prefix(self.dir.join("held")).ok()?.to_str()?.to_owned();
        (process.name == "sleep").then_some(name)
    }

    /// All records, oldest first.
    pub(crate) fn records(&self) -> Vec<Record> {
        let text = fs::read_to_string(self.dir.join("records")).unwrap_or_default();
        let record = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            Some(Record {
                at: words.next()?,
                what: words.next()?,
                service: words.next()?,
                node: words.next()?,
            })
        };
        text.lines().filter_map(record).collect()
    }
}

/// What the records say of services that ran twice: one began on a node while another node had not ended it, and that node
/// later showed that its instance had still been there.
#[must_use]
pub fn overlaps(records: &[Record]) -> Vec<String> {
    // Who has begun and not ended, by service and node; begun later by another one meanwhile.
    let mut active: BTreeMap<(&str, &str), Option<&Record>> = BTreeMap::new();
    let mut found = Vec::new();
    for record in records {
        let key = (record.service.as_str(), record.node.as_str());
        match record.what.as_str() {
            "start" | "promote" => {
                for ((service, node), since) in &mut active {
                    if *service == key.0 && *node != key.1 {
                        *since = since.or(Some(record));
                    }
                }
                active.insert(key, None);
            }
            "life" => active.retain(|(_, node), _| *node != key.1),
            // `stop` and `demote` are written by those that have an instance to end.
            _ => {
                if let Some(Some(meanwhile)) = active.remove(&key) {
                    found.push(format!("{record:?} ended what ran beside {meanwhile:?}"));
                }
            }
        }
    }
    found
}

/// The locks are taken by descriptor 9 of a `sleep`. A stop is stamped before the instance ends, a start after it has the
/// lock, so the order of the lines is that of the locks.
const AGENT: &str = r#"#!/bin/sh
# OCF agent of the test harness: an instance is a process that holds a lock which all nodes see.
dir=@DIR@
node=$(hostname)
resource=${OCF_RESOURCE_INSTANCE%%:*}
service=$resource
[ -z "$OCF_RESKEY_each" ] || service=$resource@$node

metadata() {
    cat <<XML
<?xml version="1.0"?>
<resource-agent name="record" version="1.0">
  <version>1.1</version>
  <longdesc lang="en">Stamps each start and stop.</longdesc>
  <shortdesc lang="en">Stamps</shortdesc>
  <parameters><parameter name="each"><longdesc lang="en">One on each node.</longdesc><shortdesc lang="en">Each</shortdesc><content type="string" default=""/></parameter></parameters>
  <actions>
    <action name="start" timeout="20s"/><action name="stop" timeout="20s"/><action name="monitor" timeout="20s" interval="10s"/>
    <action name="promote" timeout="20s"/><action name="demote" timeout="20s"/><action name="notify" timeout="20s"/><action name="meta-data" timeout="5s"/>
  </actions>
</resource-agent>
XML
}

stamp() ( # WHAT SERVICE
    exec 8>>"$dir/records.lock"
    flock 8
    echo "$(date +%s.%N) $1 $2 $node" >> "$dir/records"
)

pid_of() { # SERVICE
    pid=$(cat "/run/record-$1.pid" 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/fd/9")" = "$dir/held/$1" ]
}

begin() { # SERVICE WHAT
    pid_of "$1" && return 0
    mkdir -p "$dir/held"
    (
        exec 9>>"$dir/held/$1"
        if ! flock -n 9; then
            exec 8>>"$dir/records.lock"
            flock 8
            echo "$(date +%s.%N) $1 on $node: $2 while it runs on $(cat "$dir/held/$1.owner")" >> "$dir/violations"
            exec 8>&-
        fi
        echo "$node" > "$dir/held/$1.owner"
        stamp "$2" "$1" 9>&-
        exec sleep 1000000 </dev/null >/dev/null 2>&1
    ) &
    pid=$!
    echo "$pid" > "/run/record-$1.pid"
    # It is there when it has become what monitors look for.
    while ! [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]; do
        kill -0 "$pid" 2>/dev/null || { echo "ocf-exit-reason:$1 ended while it began" >&2; return 1; }
        sleep 0.02
    done
}

finish() { # SERVICE WHAT
    pid_of "$1" || return 0
    stamp "$2" "$1"
    kill -9 "$pid" 2>/dev/null
    while pid_of "$1"; do sleep 0.02; done
    rm -f "/run/record-$1.pid"
}

fault=$(cat "$dir/faults/$resource.$node.$1" 2>/dev/null)
case $fault in
    fail) echo "ocf-exit-reason:the test wants $1 to fail" >&2; exit 1 ;;
    hang) exec sleep 1000 ;;
esac
case $1 in
    meta-data) metadata ;;
    start)
        begin "$service" start || exit 1
        [ -z "$OCF_RESKEY_CRM_meta_promoted_max" ] ||
            @HOLDFAST@ crm_master -l reboot -v "$(( 10 - ${node#n} ))" >/dev/null || exit 1 ;;
    stop)
        finish "$resource!" demote
        finish "$service" stop ;;
    monitor)
        if ! pid_of "$service"; then
            # A promoted one without what it stands on.
            pid_of "$resource!" && { echo "ocf-exit-reason:half of it is gone" >&2; exit 1; }
            exit 7
        fi
        pid_of "$resource!" && exit 8
        exit 0 ;;
    promote)
        pid_of "$service" || { echo "ocf-exit-reason:not started" >&2; exit 1; }
        begin "$resource!" promote ;;
    demote)
        finish "$resource!" demote
        pid_of "$service" || exit 7 ;;
    notify) ;;
    *) exit 3 ;;
esac
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str]) -> usize {
        let record = |line: &&str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Record {
                at: "0".into(),
                what: words[0].clone(),
                service: words[1].clone(),
                node: words[2].clone(),
            }
        };
        overlaps(&lines.iter().map(record).collect::<Vec<_>>()).len()
    }

    #[test]
    fn what_ended_after_another_one_began_ran_beside_it() {
        assert_eq!(check(&["start a n1", "stop a n1", "start a n2", "stop a n2"]), 0);
        assert_eq!(check(&["start a n1", "start a n2", "stop a n1"]), 1);
        assert_eq!(check(&["start a n1", "start b n2", "stop a n1"]), 0, "two services");
        // Its node died, and began anew later.
        assert_eq!(check(&["start a n1", "start a n2", "life - n1", "start b n1", "stop a n2"]), 0);
        assert_eq!(check(&["promote a! n1", "promote a! n2", "demote a! n1"]), 1);
    }
}
