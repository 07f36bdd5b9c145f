//! The demo's fence agent on real processes.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::{Temp, holdfast};

/// A process that is killed at the end, whatever happens.
struct Sleeper(Child);

impl Sleeper {
    fn tagged(run_dir: Option<&std::path::Path>) -> Self {
        let mut command = Command::new("sleep");
        command.arg("1007").env_remove("HOLDFAST_RUN_DIR");
        if let Some(dir) = run_dir {
            command.env("HOLDFAST_RUN_DIR", dir);
        }
        Self(command.spawn().unwrap())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    temp: Temp,
}

impl Site {
    fn new() -> Self {
        let temp = Temp::new();
        fs::write(temp.0.join("nodes"), "n1\nn2\n").unwrap();
        for node in ["n1", "n2"] {
            fs::create_dir_all(temp.0.join(node).join("run")).unwrap();
        }
        Self { temp }
    }

    fn run_dir(&self, node: &str) -> std::path::PathBuf {
        self.temp.0.join(node).join("run")
    }

    /// As the cluster calls it: keys on standard input.
    fn agent(&self, lines: &str) -> (Option<i32>, String, String) {
        // Not tagged as a node itself.
        let mut command = holdfast(&self.temp.0.join("elsewhere"));
        let command =
            command.arg("fence-demo").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = format!("# a comment\n{lines}dir={}\n", self.temp.0.display());
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    }
}

#[test]
fn off_ends_the_nodes_processes_and_no_others() {
    let site = Site::new();
    let mut victims =
        [Sleeper::tagged(Some(&site.run_dir("n1"))), Sleeper::tagged(Some(&site.run_dir("n1")))];
    let mut spared = [Sleeper::tagged(Some(&site.run_dir("n2"))), Sleeper::tagged(None)];
    let near = site.temp.0.join("n1").join("run2");
    let mut near = Sleeper::tagged(Some(&near));
    assert_eq!(site.agent("action=status\nplug=n1\n").0, Some(0));
    let (code, _, err) = site.agent("action=off\nplug=n1\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(victims.iter_mut().all(|v| !v.lives()));
    assert!(spared.iter_mut().all(Sleeper::lives) && near.lives());
    assert_eq!(site.agent("action=status\nport=n1\n").0, Some(2));
    assert_eq!(site.agent("action=status\nnodename=n2\n").0, Some(0));
    assert_eq!(site.agent("action=reboot\nplug=n1\n").0, Some(0), "off what is off already");
}

#[test]
fn metadata_list_monitor() {
    let site = Site::new();
    let (code, out, _) = site.agent("action=metadata\n");
    assert!(
        code == Some(0) && out.starts_with("<?xml") && out.contains("<action name=\"reboot\"/>"),
        "{out}"
    );
    assert_eq!(site.agent("action=list\n"), (Some(0), "n1,\nn2,\n".to_owned(), String::new()));
    assert_eq!(site.agent("action=monitor\n").0, Some(0));
}

#[test]
fn mistakes_touch_nothing() {
    let site = Site::new();
    let mut bystander = Sleeper::tagged(Some(&site.run_dir("n1")));
    for (lines, word) in [
        ("action=off\nplug=n9\n", "n9 is no node"),
        ("action=off\nplug=../n1\n", "is no node"),
        ("action=off\n", "no plug"),
        ("action=explode\nplug=n1\n", "unknown action"),
    ] {
        let (code, _, err) = site.agent(lines);
        assert_eq!(code, Some(1), "{lines}");
        assert!(err.contains(word), "{lines}: {err}");
    }
    fs::write(site.temp.0.join("nodes"), "/\n").unwrap();
    assert_eq!(site.agent("action=off\nplug=/\n").0, Some(1));
    fs::remove_file(site.temp.0.join("nodes")).unwrap();
    let (code, _, err) = site.agent("action=off\nplug=n1\n");
    assert!(code == Some(1) && err.contains("is not the folder of a demo"), "{err}");
    assert!(bystander.lives());
}
