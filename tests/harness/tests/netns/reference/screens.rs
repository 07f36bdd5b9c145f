//! What operators are shown, and what they should be: a recorded screen of two nodes, or what Pacemaker's own `crm_mon` makes of the
//! cluster's document.

use std::fs;
use std::process::Command;
use std::time::Instant;

use harness::FENCE_AGENT;

use super::rig::Site;

impl Site {
    /// Waits until the screen from the list of nodes on is the recorded one, in both layouts. (The recorded ones are of
    /// nodes srv01 and srv02, with a power switch of another kind and a monitor every ten seconds.)
    pub(crate) fn wait_for_screen(&self, node: u32, recorded: [&str; 2]) {
        let [new, old] = recorded.map(masked);
        let mut shown = [String::new(), String::new()];
        let same = |shown: &[String; 2]| shown[0] == new && shown[1] == old;
        let start = Instant::now();
        while !same(&shown) {
            assert!(
                start.elapsed() < harness::patience(),
                "2.1, expected:\n{new}\nshown:\n{}\n1.1, expected:\n{old}\nshown:\n{}\n{}",
                shown[0],
                shown[1],
                self.cluster.report()
            );
            shown = ["2.1", "1.1"]
                .map(|format| masked(&self.ask(node, &format!("crm_mon -1 -fA -L --format={format}")).0));
        }
    }

    /// Waits until the screen, from the list of nodes on, is what Pacemaker's `crm_mon` shows of the document, and has these
    /// lines in it.
    pub(crate) fn wait_for_pacemakers_screen(&self, node: u32, lines: &[&str]) {
        let file = self.cluster.dir().join("shown.xml");
        let start = Instant::now();
        loop {
            // Nothing has changed between the two, sooner or later.
            let screen = self.ask(node, "crm_mon -1 -fA -L").0;
            fs::write(&file, self.ask(node, "cibadmin -Q").0).unwrap();
            // Outside of the nodes the name is Pacemaker's.
            let original =
                Command::new("/usr/sbin/crm_mon").args(["-1", "-fA", "-L"]).env("CIB_file", &file).output();
            let original = original.expect("Pacemaker's crm_mon");
            let original = masked(&String::from_utf8_lossy(&[original.stdout, original.stderr].concat()));
            let shown = masked(&screen);
            let missing: Vec<_> = lines.iter().filter(|l| !screen.contains(*l)).collect();
            if missing.is_empty() && shown == original {
                return;
            }
            assert!(
                start.elapsed() < harness::patience(),
                "missing: {missing:?}\nPacemaker:\n{original}\nshown:\n{shown}\n{}",
                self.cluster.report()
            );
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

/// A screen from the list of nodes on, in the words of the recorded ones, without dates, call numbers and times.
fn masked(screen: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let body = screen
        .lines()
        .skip_while(|l| !(l.starts_with("Node List:") || l.starts_with("Online:") || l.starts_with("Node ")));
    for line in body {
        let mut line = line.replace("n1", "srv01").replace("n2", "srv02");
        line = line.replace(&format!("stonith:{FENCE_AGENT}"), "stonith:external/ipmi");
        line = line.replace("2s-interval", "10s-interval").replace("monitor_2000", "monitor_10000");
        for (from, to) in [
            ("last-failure='", "'"),
            (" at ", ""),
            ("call=", ","),
            ("last-rc-change='", "'"),
            ("exec=", "ms"),
        ] {
            if let Some((head, tail)) = line.split_once(from) {
                let rest = if to.is_empty() { None } else { tail.split_once(to) };
                line =
                    format!("{head}{from}X{}", rest.map_or(String::new(), |(_, rest)| format!("{to}{rest}")));
            }
        }
        lines.push(line);
    }
    // The order of the last part is not promised.
    let bans = lines.iter().position(|l| l.to_lowercase().starts_with("negative location"));
    if let Some(bans) = bans {
        lines[bans + 1..].sort();
    }
    lines.join("\n").trim_end().to_owned()
}
