//! A program that is run for every operation that took place, and for fencing if that is asked for, with what happened in its
//! environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cib::Element;
use scheduler::{FenceState, FencingHistory};

use super::source::Found;

/// Who is told.
pub(super) struct Reporter {
    program: PathBuf,
    recipient: Option<String>,
    fencing: bool,
    /// What was there at the last look; `None`: nobody looked yet.
    seen: Option<Seen>,
    /// Programs that run.
    running: Vec<Child>,
}

#[derive(Default)]
struct Seen {
    /// Operations by node and id, with what came of them.
    operations: BTreeMap<(String, String), String>,
    /// Fencing that is over: target, action, when.
    fenced: Vec<(String, String, i64)>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct News {
    node: String,
    resource: Option<String>,
    task: String,
    description: String,
    rc: i64,
    expected_rc: i64,
    status: i64,
}

impl Reporter {
    pub(super) fn new(program: &Path, recipient: Option<&str>, fencing: bool) -> Self {
        let recipient = recipient.map(str::to_owned);
        Self { program: program.to_owned(), recipient, fencing, seen: None, running: Vec::new() }
    }

    /// Tells what is new since the last look; at the first one nothing is.
    pub(super) fn see(&mut self, found: &Found) {
        let Found::Document { root, fencing, .. } = found else { return };
        let mut now = Seen::default();
        let mut news = Vec::new();
        let states = root.child("status").into_iter().flat_map(|s| &s.children);
        for state in states.filter(|s| s.name == "node_state") {
            let node = state.get("uname").or(state.id()).unwrap_or_default();
            state.walk(&mut |entry: &Element| {
                let (Some(id), Some(magic)) = (entry.id(), entry.get("transition-magic")) else { return };
                if entry.name != "lrm_rsc_op" {
                    return;
                }
                let key = (node.to_owned(), id.to_owned());
                // The same result of another call is news, too.
                let result = format!("{magic} {}", entry.get("call-id").unwrap_or_default());
                let before = self.seen.as_ref().map(|s| s.operations.get(&key));
                if before.is_some_and(|known| known.is_none_or(|known| *known != result)) {
                    news.extend(operation(node, entry, magic));
                }
                now.operations.insert(key, result);
            });
        }
        if let Some(FencingHistory::Known(events)) = fencing.as_ref().filter(|_| self.fencing) {
            for event in events.iter().filter(|e| !matches!(e.state, FenceState::Pending(_))) {
                let key = (event.target.clone(), event.action.clone(), event.completed_us);
                if self.seen.as_ref().is_some_and(|s| !s.fenced.contains(&key)) {
                    let failed = event.state == FenceState::Failed;
                    let by = event.delegate.as_deref().unwrap_or("some node");
                    let what = if failed { "failed" } else { "succeeded" };
                    let description = format!(
                        "Operation {} of {} by {by} for {}@{}: {what}",
                        event.action, event.target, event.client, event.origin
                    );
                    news.push(News {
                        node: event.target.clone(),
                        resource: None,
                        task: event.action.clone(),
                        description,
                        rc: i64::from(failed),
                        expected_rc: 0,
                        status: 0,
                    });
                }
                now.fenced.push(key);
            }
        }
        self.seen = Some(now);
        for one in news {
            self.tell(&one);
        }
        self.running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn tell(&mut self, news: &News) {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null());
        for (name, value) in [("rsc", &news.resource), ("recipient", &self.recipient)] {
            if let Some(value) = value {
                command.env(format!("CRM_notify_{name}"), value);
            }
        }
        let words = [("node", &news.node), ("task", &news.task), ("desc", &news.description)];
        command.envs(words.map(|(name, value)| (format!("CRM_notify_{name}"), value)));
        let numbers = [("rc", news.rc), ("target_rc", news.expected_rc), ("status", news.status)];
        command.envs(numbers.map(|(name, value)| (format!("CRM_notify_{name}"), value.to_string())));
        match command.spawn() {
            Ok(child) => self.running.push(child),
            Err(e) => {
                let program = self.program.display();
                eprintln!("crm_mon: {program}: {e}; name a program that can be run with --external-agent");
            }
        }
    }
}

/// What an entry says: `STATUS:RC;ACTION:TRANSITION:EXPECTED_RC:WHO`. That something does not run, as was expected, is no news.
fn operation(node: &str, entry: &Element, magic: &str) -> Option<News> {
    let (result, key) = magic.split_once(';')?;
    let (status, rc) = result.split_once(':')?;
    let (status, rc): (i64, i64) = (status.trim().parse().ok()?, rc.trim().parse().ok()?);
    let expected_rc: i64 = key.split(':').nth(2)?.trim().parse().ok()?;
    let name = entry.get("operation_key").or(entry.id())?;
    let task = entry.get("operation")?;
    let resource =
        name.rsplit_once('_').and_then(|(front, _)| front.strip_suffix(task)?.strip_suffix('_'))?;
    let expected = status == 0 && rc == expected_rc;
    if expected && rc == 7 {
        return None;
    }
    let description = match (expected, status) {
        (true, _) => "OK".to_owned(),
        (false, 0) => scheduler::exit_status_text(i32::try_from(rc).unwrap_or(-1)).to_owned(),
        (false, _) => scheduler::execution_text(status).to_owned(),
    };
    Some(News {
        node: entry.get("on_node").unwrap_or(node).to_owned(),
        resource: Some(resource.to_owned()),
        task: task.to_owned(),
        description,
        rc,
        expected_rc,
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, task: &str, magic: &str) -> Option<News> {
        let entry = Element::new("lrm_rsc_op").with("operation_key", key).with("operation", task);
        operation("n1", &entry, magic)
    }

    #[test]
    fn an_entry_tells_what_was_done_and_what_came_of_it() {
        let failed = entry("my_db_monitor_10000", "monitor", "0:7;5:1:0:x").unwrap();
        assert_eq!((failed.resource.as_deref(), failed.task.as_str()), (Some("my_db"), "monitor"));
        assert_eq!((failed.description.as_str(), failed.rc, failed.expected_rc), ("not running", 7, 0));
        assert_eq!(entry("db_start_0", "start", "0:0;5:1:0:x").unwrap().description, "OK");
        assert_eq!(entry("db_start_0", "start", "2:1;5:1:0:x").unwrap().description, "Timed Out");
        assert_eq!(
            entry("vm_migrate_to_0", "migrate_to", "0:0;5:1:0:x").unwrap().resource.as_deref(),
            Some("vm")
        );
        assert_eq!(entry("db_monitor_0", "monitor", "0:7;5:1:7:x"), None, "as expected");
        assert_eq!(entry("db_monitor_0", "monitor", "-1"), None);
    }
}
