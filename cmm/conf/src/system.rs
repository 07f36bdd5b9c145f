//! `system { }`: how the daemon is scheduled.

use crate::schema::{parse_number, yes_no};
use crate::{Diagnostics, Section};

/// How the daemon is scheduled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Scheduling of the loop's thread.
    pub scheduling: Scheduling,
    /// `cpu`: the CPU that the loop is pinned to, if one is named.
    pub cpu: Option<usize>,
    /// `qb_ipc_type: socket`: clients are served over datagram sockets, not over shared memory.
    pub client_sockets: bool,
}

/// Scheduling of the loop's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// Realtime, at this priority of 1 … 98.
    Realtime(u8),
    /// Ordinary, at this nice value.
    Nice(i8),
}

/// High enough to run before everything ordinary, low enough to leave the kernel's own threads (50 and more) alone.
const PRIORITY: u8 = 20;

pub(crate) fn read(root: &Section, found: &mut Diagnostics) -> System {
    let get = |key: &str| root.get(&["system"], key);
    let value = |key: &str| get(key).map(|i| i.value.as_str());
    let realtime = value("sched_rr").and_then(yes_no).unwrap_or(true);
    let scheduling = match (realtime, value("priority")) {
        (true, None | Some("max" | "min")) => Scheduling::Realtime(PRIORITY),
        (true, Some(text)) => match text.parse::<i64>() {
            Ok(n @ 1..=98) => Scheduling::Realtime(n as u8),
            // corosync reads it only with sched_rr off: an unchanged file goes on as before.
            _ => {
                let item = get("priority").expect("it was just read");
                let text = format!(
                    "priority \"{text}\" does not go with sched_rr; write a number from 1 to 98, or \"sched_rr: no\""
                );
                found.error(item.at(), text);
                Scheduling::Realtime(PRIORITY)
            }
        },
        (false, None) => Scheduling::Nice(0),
        (false, Some("max")) => Scheduling::Nice(-20),
        (false, Some("min")) => Scheduling::Nice(19),
        (false, Some(text)) => match text.parse::<i8>() {
            Ok(n @ -20..=19) => Scheduling::Nice(n),
            _ => {
                let item = get("priority").expect("it was just read");
                let text = format!(
                    "priority \"{text}\" is not a nice value; write max, min, or a number from -20 to 19"
                );
                found.error(item.at(), text);
                Scheduling::Nice(0)
            }
        },
    };
    let sockets = get("qb_ipc_type").filter(|item| item.value == "socket");
    if let Some(item) = sockets {
        let text = "qb_ipc_type \"socket\": corosync's libraries are served, but rgmd, holdfast and Pacemaker need shared memory and cannot connect; remove the line if any of them is used";
        found.warn(item.at(), text);
    }
    System {
        scheduling,
        cpu: value("cpu").and_then(parse_number).map(|n| n as usize),
        client_sockets: sockets.is_some(),
    }
}
