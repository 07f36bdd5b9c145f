//! How long it takes until the survivors of a fault have their new configuration, by the host's clock.
//!
//! A fault begins when the harness does it. A machine is down when QEMU says so. The new configuration is there when its line is in the
//! log of the first survivor, which reaches the host through the folder that they share; so its time includes the way
//! of a line out of an emulated machine. One line of a table for each fault is printed, and added to a file.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::qmp::Event;

/// A fault and what came of it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When it was done.
    pub began: Instant,
    /// What QEMU said first of the machine's end, if it said anything before the survivors knew.
    pub down: Option<Event>,
    /// When the first survivor had its new configuration.
    pub configured: Instant,
    /// The survivors were told by a gasp or a leave, and did not have to find out.
    pub told: bool,
}

/// The file that lines of the table are added to: `$HOLDFAST_TIMES`, else in the folder of what tests leave behind.
fn table(cache: &Path) -> PathBuf {
    std::env::var_os("HOLDFAST_TIMES").map_or_else(|| cache.join("times.txt"), PathBuf::from)
}

impl Cluster {
    /// Does something to `victim` that ends its membership, and waits until a survivor has a configuration without it; the figures go to
    /// the table as `name`.
    pub fn strike(&self, name: &str, victim: u32, act: impl FnOnce(&Self)) -> Fault {
        let survivors = self.all().into_iter().filter(|n| *n != victim && self.is_on(*n));
        let logs: Vec<PathBuf> = survivors.map(|n| self.share(n).join("cmmd.log")).collect();
        let seen = watch(logs, move |line| left(line, victim));
        let began = Instant::now();
        act(self);
        let (configured, told) =
            self.wait_for(&format!("a configuration without n{victim} ({name})"), || seen.try_recv().ok());
        let ends = ["GUEST_PANICKED", "WATCHDOG", "RESET", "SHUTDOWN"];
        let down = self.events(victim, began).into_iter().find(|e| ends.contains(&e.name.as_str()));
        let down = down.filter(|event| event.at <= configured);
        let fault = Fault { began, down, configured, told };
        self.add_row(name, &fault);
        fault
    }

    fn add_row(&self, name: &str, fault: &Fault) {
        let millis = |at: Instant| at.saturating_duration_since(fault.began).as_millis().to_string();
        let (what, when) = match &fault.down {
            Some(event) => (event.name.as_str(), millis(event.at)),
            None => ("-", "-".to_owned()),
        };
        let news = if fault.told { "told" } else { "silence" };
        let row = |cells: [&str; 6]| {
            let [name, nodes, what, down, news, seen] = cells;
            format!("{name:<46} {nodes:>5}  {what:<14} {down:>8}  {news:<8} {seen:>8}\n")
        };
        let head = row(["fault", "nodes", "the machine", "ms", "news", "ms"]);
        let line = row([name, &self.all().len().to_string(), what, &when, news, &millis(fault.configured)]);
        print!("{line}");
        let path = table(self.cache());
        let mut text = if path.exists() { String::new() } else { head };
        text += &line;
        let file = File::options().create(true).append(true).open(&path);
        if let Err(e) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
            eprintln!("vm: {}: {e}", path.display());
        }
    }
}

/// Whether a line of `cmmd`'s log tells of a configuration that `node` has left.
fn left(line: &str, node: u32) -> bool {
    let members = line.split_once("A new membership").and_then(|(_, rest)| rest.split_once(" left: "));
    members.is_some_and(|(_, list)| list.split([' ', ',']).any(|id| id.trim() == node.to_string()))
}

/// Tells when such a line is first in one of the logs, lines that are there already aside, and whether that log had told
/// of a gasp or a leave before.
fn watch(logs: Vec<PathBuf>, wanted: impl Fn(&str) -> bool + Send + 'static) -> Receiver<(Instant, bool)> {
    let (sender, receiver) = mpsc::channel();
    let mut logs: Vec<(PathBuf, u64, String)> = logs
        .into_iter()
        .map(|path| {
            let length = fs::metadata(&path).map_or(0, |m| m.len());
            (path, length, String::new())
        })
        .collect();
    std::thread::spawn(move || {
        let end = Instant::now() + harness::patience() * 2;
        while Instant::now() < end {
            for (path, read, text) in &mut logs {
                if fs::metadata(&*path).is_ok_and(|m| m.len() > *read) {
                    let mut bytes = Vec::new();
                    let file = File::open(&*path).and_then(|mut f| {
                        f.seek(SeekFrom::Start(*read))?;
                        f.read_to_end(&mut bytes)
                    });
                    *read += file.unwrap_or(0) as u64;
                    text.push_str(&String::from_utf8_lossy(&bytes));
                }
                if text.lines().any(&wanted) {
                    let told = text.contains("goes down:") || text.contains("is gone (leave)");
                    let _ = sender.send((Instant::now(), told)); // the test may have failed meanwhile
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configuration_that_a_node_has_left_counts() {
        let line = "[TOTEM ] A new membership (1.1c) was formed. Members left: 2 13";
        assert!(left(line, 2) && left(line, 13) && !left(line, 1) && !left(line, 3));
        assert!(!left("A new membership (1.1c) was formed. Members joined: 2", 2));
    }
}
