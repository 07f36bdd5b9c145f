//! What takes a node down, and what keeps one from starting.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use failfast::black_box::Class;

use crate::nodes::{Cluster, wait_until};

#[test]
fn the_death_of_a_configured_unit_takes_the_node_down_and_the_others_know_why() {
    let cluster = Cluster::new(2);
    let mut unit = Command::new("sleep")
        .arg("1000")
        .env("HOLDFAST_RUN_DIR", cluster.run_dir(1))
        .stdin(Stdio::null())
        .spawn()
        .expect("sleep starts");
    let pidfile = cluster.dir.join("dlm.pid");
    let more = format!(
        "failfast {{\n  unit {{\n    name: dlm\n    delay: 1000\n    pidfile: {}\n  }}\n}}\n",
        pidfile.display()
    );
    cluster.write_config(1, "", &more);
    let mut sick = cluster.spawn(1, &[]);
    let other = cluster.start(2);
    sick.wait_for("Members[2]: 1 2");
    // It may start after cmmd.
    fs::write(&pidfile, unit.id().to_string()).expect("writes");
    sick.wait_for("Failfast: unit \"dlm\" armed by pid");
    other.wait_for("Members[2]: 1 2");
    unit.kill().expect("it is ours");
    unit.wait().expect("it is ours");
    sick.wait_for("unit \"dlm\" (pid");
    assert!(!sick.wait_exit().success(), "killed, not ended");
    sick.wait_for("Failfast: Aborting because \"dlm\" died 1 seconds ago.");
    other.wait_for("Node 1 goes down: Failfast: Aborting because \"dlm\" died 1 seconds ago.");
    other.wait_for("Death of node 1 is confirmed");
    let black_box = failfast::black_box::read(&cluster.dir.join("1.state/blackbox")).expect("a black box");
    assert!(black_box.iter().any(|r| r.text.as_str().contains("\"dlm\" died")), "{black_box:?}");
}

/// Text of a JSON field of a line; quotes are the only thing that is escaped in what is looked for here.
fn field<'a>(line: &'a str, name: &str) -> Option<(&'a str, String)> {
    let rest = &line[line.find(&format!("\"{name}\":\""))? + name.len() + 4..];
    let mut end = rest.find('"')?;
    while rest[..end].ends_with('\\') {
        end += 1 + rest[end + 1..].find('"')?;
    }
    Some((line, rest[..end].replace("\\\"", "\"")))
}

/// The daemon is killed while it starts, joins, is a member, and while the other one comes and goes: whatever it has said by then,
/// its black box says, too, in the same order; and so does the box after the next life.
#[test]
fn what_was_said_before_kill_9_is_in_the_black_box() {
    // What others recorded is kept once for each of a node's lives, in records of its own.
    const LEFT_OUT: [&str; 6] =
        ["retransmit", "packets_rejected", "packets_unlisted", "send_failed", "client", "testimony"];
    let cluster = Cluster::new(2);
    let other = cluster.start(2);
    other.wait_for("Members[1]: 2");
    cluster.write_config(1, "", "");
    let box_path = cluster.dir.join("1.state/blackbox");
    let mut lives = 0;
    for (round, millis) in [0_u64, 3, 11, 40, 90, 170, 260, 500].into_iter().enumerate() {
        let mut victim = cluster.spawn(1, &["--log-format", "json"]);
        victim.wait_for("\"event\":\"started\"");
        std::thread::sleep(std::time::Duration::from_millis(millis));
        victim.kill_9();
        lives += 1;
        let log = victim.log();
        let from = log.find("\"event\":\"started\"").expect("it was waited for");
        let said = log[log[..from].rfind('\n').map_or(0, |at| at + 1)..]
            .lines()
            .filter(|line| line.ends_with('}'))
            .filter_map(|line| field(line, "event"))
            .filter(|(line, event)| {
                let debug = line.contains("\"level\":\"debug\"");
                !LEFT_OUT.contains(&event.as_str())
                    && (!debug || event.starts_with("enter_") || event == "step")
            })
            .filter_map(|(line, _)| Some(field(line, "message")?.1));
        let records = failfast::black_box::read(&box_path).expect("a black box");
        let of = |class| records.iter().filter(move |r| r.class == class);
        assert_eq!(of(Class::Start).count(), lives, "round {round}");
        let pid = of(Class::Start).next_back().expect("just counted").pid;
        let mut events = of(Class::Event).filter(|r| r.pid == pid);
        for message in said {
            let kept = failfast_core::Text::from(message.as_str());
            assert!(
                events.any(|r| r.text == kept),
                "round {round}: {message:?} is missing, or in another order, in\n{records:?}"
            );
        }
        let death = of(Class::Death).next_back().expect("the guardian wrote why");
        assert!(death.text.contains("\"cmmd\" died"), "{death:?}");
        assert_eq!(of(Class::Death).count(), lives, "round {round}");
    }
}

#[test]
fn a_ring_is_not_formed_before_its_number_is_durable() {
    let cluster = Cluster::new(1);
    // A folder in the place of the temporary file: writing fails, also for root.
    let obstacle = cluster.dir.join("1.state/ringid_1.new");
    fs::create_dir_all(&obstacle).expect("a folder");
    let daemon = cluster.start(1);
    daemon.wait_for("The state cannot be written, trying again until it can");
    assert!(!daemon.log().contains("A new membership"), "{}", daemon.log());
    fs::remove_dir(&obstacle).expect("removes");
    daemon.wait_for("The state is written again.");
    daemon.wait_for("This node is within the primary component");
    let reserved = fs::read_to_string(cluster.dir.join("1.state/ringid_1")).expect("a number");
    assert!(reserved.trim().parse::<u64>().expect("a number") > 0);
}

#[test]
fn a_damaged_state_file_is_refused_with_a_remedy() {
    let cluster = Cluster::new(1);
    cluster.write_config(1, "", "");
    fs::create_dir_all(cluster.dir.join("1.state")).expect("a folder");
    fs::write(cluster.dir.join("1.state/ringid_1"), "").expect("writes");
    let run = cluster.command(1).arg("-f").output().expect("runs");
    assert_eq!(run.status.code(), Some(73));
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains("ringid_1: is not a number; restore it, or write one that is greater"), "{said}");
}

#[test]
fn a_taken_port_and_a_wrong_watchdog_are_named() {
    let cluster = Cluster::new(1);
    cluster.write_config(1, "", "");
    let refused = || {
        let run = cluster.command(1).arg("-f").output().expect("runs");
        assert_eq!(run.status.code(), Some(71));
        String::from_utf8_lossy(&run.stderr).into_owned()
    };
    let taken = UdpSocket::bind((cluster.addr(1), 5_405)).expect("loopback");
    let said = refused();
    assert!(said.contains(&format!("cannot bind UDP {}:5405: ", cluster.addr(1))), "{said}");
    drop(taken);

    let file = cluster.dir.join("watchdog");
    fs::write(&file, "").expect("writes");
    cluster.write_config(1, "", &format!("failfast {{\n  watchdog_device: {}\n}}\n", file.display()));
    let said = refused();
    assert!(said.contains("not a character device") && said.contains("watchdog_device: off"), "{said}");
    wait_until("no guardian left behind", || {
        let none = fs::read_dir("/proc").expect("/proc").flatten().all(|p| {
            let env = fs::read(p.path().join("environ")).unwrap_or_default();
            let mark = format!("HOLDFAST_RUN_DIR={}", cluster.run_dir(1).display());
            !env.split(|b| *b == 0).any(|e| e == mark.as_bytes())
        });
        none.then_some(())
    });
}
