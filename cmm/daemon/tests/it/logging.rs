//! Where lines go, and that nobody who takes them can stop the ring.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use holdfast_sys::pidfd::Signal;

use crate::nodes::{Cluster, signal_pid, wait_until};

#[test]
fn the_log_file_is_opened_again_on_sighup() {
    let cluster = Cluster::new(1);
    let file = cluster.dir.join("logs/cmmd.log");
    let logging =
        format!("logging {{\n  to_syslog: no\n  to_logfile: yes\n  logfile: {}\n}}\n", file.display());
    cluster.write_config(1, "", &logging);
    let daemon = cluster.spawn(1, &[]);
    daemon.wait_for("This node is within the primary component");
    let text = fs::read_to_string(&file).expect("the folder is made, too");
    let line = text.lines().find(|l| l.contains("A new membership")).expect("the same lines");
    assert!(
        line.contains(&format!("[{}] ", daemon.pid())) && line.contains(" cmmd notice  [TOTEM ] "),
        "{line}"
    );
    let moved = cluster.dir.join("logs/cmmd.log.1");
    fs::rename(&file, &moved).expect("moves");
    daemon.signal(Signal::SIGHUP);
    wait_until("a new file", || {
        fs::read_to_string(&file).is_ok_and(|t| t.contains("opened again")).then_some(())
    });
}

#[test]
fn json_lines_have_the_event_and_its_fields() {
    let cluster = Cluster::new(1);
    cluster.write_config(1, "", "");
    let daemon = cluster.spawn(1, &["--log-format", "json"]);
    let line = daemon.wait_for("\"event\":\"new_membership\"");
    for part in [
        "{\"time\":\"20",
        "\"level\":\"notice\"",
        "\"subsystem\":\"TOTEM\"",
        "\"message\":\"A new membership (1.",
        "\"fields\":{\"ring\":\"1.",
        "\"members\":\"1\",\"joined\":\"1\",\"left\":\"\"}}",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert!(daemon.log().lines().all(|l| l.starts_with('{') && l.ends_with('}')), "{}", daemon.log());
}

#[test]
fn a_blocked_terminal_does_not_stop_the_ring() {
    let cluster = Cluster::new(2);
    cluster.write_config(1, "", "");
    // A pipe that is full and never read.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let fill = std::thread::spawn({
        let mut writer = writer.try_clone().expect("another end");
        move || while writer.write(&[b'x'; 4_096]).is_ok() {}
    });
    let mut blocked =
        cluster.command(1).arg("-f").stderr(Stdio::from(OwnedFd::from(writer))).spawn().expect("starts");
    let other = cluster.start(2);
    other.wait_for("Members[2]: 1 2");
    other.wait_for("This node is within the primary component");
    signal_pid(blocked.id(), Signal::SIGTERM);
    other.wait_for("Node 1 is gone (leave)");
    assert!(blocked.wait().expect("it is ours").success(), "the end does not hang either");
    drop(reader);
    fill.join().expect("the pipe is broken now");
}

#[test]
fn without_f_it_goes_into_the_background_and_leaves_when_told() {
    let cluster = Cluster::new(1);
    let file = cluster.dir.join("cmmd.log");
    let logging =
        format!("logging {{\n  to_syslog: no\n  to_logfile: yes\n  logfile: {}\n}}\n", file.display());
    cluster.write_config(1, "", &logging);
    let status = cluster.command(1).stderr(Stdio::null()).status().expect("runs");
    assert!(status.success(), "the command in the foreground ends when the daemon runs");
    let pid = fs::read_to_string(cluster.run_dir(1).join("cmmd.pid"))
        .expect("a pid file")
        .trim()
        .parse()
        .expect("a pid");
    let has = |text: &str| fs::read_to_string(&file).is_ok_and(|t| t.contains(text)).then_some(());
    wait_until("a ring", || has("This node is within the primary component"));
    signal_pid(pid, Signal::SIGTERM);
    wait_until("an orderly end", || has("exiting normally"));
    wait_until("no pid file", || (!cluster.run_dir(1).join("cmmd.pid").exists()).then_some(()));
}

/// What corosync 3.1.7 wrote at priority notice for the same story, on a node that lives through all of it; the text
/// behind a comma or colon is cut where it names what only one of the two has.
#[test]
fn a_clusters_story_is_told_in_the_lines_that_operators_search_for() {
    let cluster = Cluster::new(3);
    let mut daemons = cluster.start_all();
    let synchronised = "Completed service synchronization, ready to provide service.";
    let primary = "This node is within the primary component and will provide service.";
    let lines_after = |daemon: &crate::nodes::Daemon, from: usize, want: &[&str]| {
        for text in want {
            wait_until(&format!("{text:?} behind byte {from}"), || {
                daemon.log()[from..].contains(text).then_some(())
            });
        }
    };
    lines_after(&daemons[0], 0, &["starting up", "Sync joined[", "Members[3]: 1 2 3", primary, synchronised]);

    // One dies and says nothing: its guardian is gone with it.
    let from = daemons[0].log().len();
    drop(daemons.pop());
    let death = [
        "A processor failed, forming new configuration: ",
        "A new membership (1.",
        ") was formed. Members left: 3",
        "Failed to receive the leave message. failed: 3",
        "Sync members[2]: 1 2",
        "Sync left[1]: 3",
        "Members[2]: 1 2",
        synchronised,
    ];
    lines_after(&daemons[0], from, &death);

    let from = daemons[0].log().len();
    daemons.push(cluster.start(3));
    let join = [
        ") was formed. Members joined: 3",
        "Sync members[3]: 1 2 3",
        "Sync joined[1]: 3",
        "Members[3]: 1 2 3",
        synchronised,
    ];
    lines_after(&daemons[0], from, &join);

    // One leaves in order: it says so, and nobody misses its word.
    let from = daemons[0].log().len();
    daemons[1].signal(Signal::SIGTERM);
    let leave = [") was formed. Members left: 2", "Sync left[1]: 2", "Members[2]: 1 3", synchronised];
    lines_after(&daemons[0], from, &leave);
    lines_after(&daemons[1], 0, &["Node was shut down by a signal", "exiting normally"]);
    let told = daemons[0].log()[from..].to_owned();
    assert!(!told.contains("Failed to receive the leave message"), "{told}");
    assert!(!told.contains("A processor failed"), "{told}");

    let from = daemons[0].log().len();
    drop(daemons.pop());
    let minority = "This node is within the non-primary component and will NOT provide any services.";
    lines_after(
        &daemons[0],
        from,
        &["Failed to receive the leave message. failed: 3", minority, "Members[1]: 1"],
    );
}
