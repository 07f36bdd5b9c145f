//! `crm_mon` of a running cluster: `rgmd`'s socket, with a document behind it that changes, is played here; what the document shows
//! as is compared with Pacemaker's own monitor elsewhere (scheduler's tests).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Temp, holdfast, run};

/// A document in which a database runs on n1, then, after a failure, on n2.
fn document(moved: bool) -> String {
    let mut call = 10;
    let mut entry = |node: &str, id: &str, key: &str, task: &str, interval: u32, rc: (u32, u32)| {
        let (rc, expected) = rc;
        call += 1;
        format!(
            r#"<lrm_rsc_op id="{id}" operation_key="{key}" operation="{task}" interval="{interval}" call-id="{call}" rc-code="{rc}" op-status="0" transition-key="1:1:{expected}:t" transition-magic="0:{rc};1:1:{expected}:t" on_node="{node}" last-rc-change="1464193805"/>"#
        )
    };
    let (one, two) = if moved {
        let failed = entry("n1", "db_last_failure_0", "db_monitor_10000", "monitor", 10_000, (7, 0));
        let stopped = entry("n1", "db_last_0", "db_stop_0", "stop", 0, (0, 0));
        (failed + &stopped, entry("n2", "db_last_0", "db_start_0", "start", 0, (0, 0)))
    } else {
        let started = entry("n1", "db_last_0", "db_start_0", "start", 0, (0, 0));
        (started, entry("n2", "db_last_0", "db_monitor_0", "monitor", 0, (7, 7)))
    };
    let state = |id: u32, history: &str| {
        format!(
            r#"<node_state id="{id}" uname="n{id}" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="{id}"><lrm_resources><lrm_resource id="db" class="ocf" provider="heartbeat" type="pgsql">{history}</lrm_resource></lrm_resources></lrm></node_state>"#
        )
    };
    format!(
        r#"<cib have-quorum="1" dc-uuid="1" validate-with="pacemaker-3.9"><configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config><nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes><resources><primitive id="db" class="ocf" provider="heartbeat" type="pgsql"/><primitive id="idle" class="ocf" provider="heartbeat" type="Dummy"><meta_attributes id="m"><nvpair id="m1" name="target-role" value="Stopped"/></meta_attributes></primitive></resources><constraints/></configuration><status>{}{}</status></cib>"#,
        state(1, &one),
        state(2, &two)
    )
}

/// The socket of an `rgmd`. It ends with the test's process.
fn serve(run_dir: &Path) -> Arc<Mutex<String>> {
    fs::create_dir_all(run_dir).unwrap();
    let listener = UnixListener::bind(run_dir.join("rgmd.sock")).unwrap();
    let current = Arc::new(Mutex::new(document(false)));
    let shown = Arc::clone(&current);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = String::new();
            if BufReader::new(&stream).read_line(&mut request).is_err() {
                continue;
            }
            let request: serde_json::Value = serde_json::from_str(&request).unwrap_or_default();
            let answer = match request["cmd"].as_str() {
                Some("cib") => serde_json::json!({ "xml": *shown.lock().unwrap() }),
                Some("fence-history") => serde_json::json!({ "events": [
                    { "target": "n3", "action": "reboot", "state": "done", "origin": "n1", "delegate": "n2",
                      "client": "rgmd.1", "completed_us": 1_464_193_805_000_000_u64, "exit_reason": null },
                    { "target": "n3", "action": "off", "state": "failed", "origin": "n1", "delegate": null,
                      "client": "rgmd.1", "completed_us": 1_464_193_700_000_000_u64, "exit_reason": "no power" },
                ]}),
                _ => serde_json::json!({ "error": "not played here", "rc": 1 }),
            };
            let _ = writeln!(stream, "{answer}");
        }
    });
    current
}

fn crm_mon(temp: &Temp, args: &[&str]) -> Command {
    let mut command = holdfast(&temp.0);
    command.arg("crm_mon").args(args).env("TZ", "UTC").env_remove("CIB_file").env_remove("CIB_shadow");
    command
}

fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < end, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_running_cluster_is_shown_with_its_daemon_and_what_was_fenced() {
    let temp = Temp::new();
    let _document = serve(&temp.0.join("run"));
    let (code, screen, err) = run(&mut crm_mon(&temp, &["-1", "-m3", "-r"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(screen.starts_with("Status of pacemakerd: 'Pacemaker is running' (last updated "), "{screen}");
    let below = screen.split_once("Node List:").unwrap().1;
    let want = "
  * Online: [ n1 n2 ]

Full List of Resources:
  * db\t(ocf:heartbeat:pgsql):\t Started n1
  * idle\t(ocf:heartbeat:Dummy):\t Stopped (disabled)

Failed Fencing Actions:
  * turning off of n3 for rgmd.1@n1 failed (no power) at 2016-05-25 16:28:20Z

Fencing History:
  * reboot of n3 by n2 for rgmd.1@n1 successful at 2016-05-25 16:30:05Z
";
    assert_eq!(below, want);
    let (_, xml, _) = run(&mut crm_mon(&temp, &["--output-as=xml"]));
    for line in [
        r#"    <fence_event action="off" target="n3" client="rgmd.1" origin="n1" status="failed" exit-reason="no power" completed="2016-05-25 16:28:20Z"/>"#,
        r#"    <fence_event action="reboot" target="n3" client="rgmd.1" origin="n1" status="success" delegate="n2" completed="2016-05-25 16:30:05Z"/>"#,
    ] {
        assert!(xml.lines().any(|l| l == line), "{line} is missing in\n{xml}");
    }
    assert!(xml.contains(r#"<pacemakerd sys_from="pacemakerd" state="running" last_updated="#), "{xml}");
}

/// Ends a child, also when the test fails.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_full_screen_follows_the_cluster_and_its_keys() {
    let temp = Temp::new();
    let document_of = serve(&temp.0.join("run"));
    let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    let side = || Stdio::from(terminal.slave.try_clone().unwrap());
    let mut mon =
        Ends(crm_mon(&temp, &["-i", "1"]).stdin(side()).stdout(side()).stderr(side()).spawn().unwrap());
    let drawn = Arc::new(Mutex::new(String::new()));
    let mut screen = File::from(terminal.master.try_clone().unwrap());
    let into = Arc::clone(&drawn);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // The other side is closed when nobody has it any more.
        while let Ok(read @ 1..) = screen.read(&mut bytes) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    });
    let mut keys = File::from(terminal.master.try_clone().unwrap());
    let mut at = 0;
    // Looks only at what was drawn since the last thing that was seen.
    let mut sees = |what: &str| {
        wait_for(what, || {
            let drawn = drawn.lock().unwrap();
            let found = drawn[at..].find(what)?;
            at += found + what.len();
            Some(())
        });
    };
    sees("Active Resources:");
    sees("Started n1");
    keys.write_all(b"r").unwrap();
    sees("Full List of Resources:");
    sees("Stopped (disabled)");
    keys.write_all(b"?").unwrap();
    sees("Display option change mode");
    sees("* r:");
    keys.write_all(b"r").unwrap();
    sees("  r:");
    keys.write_all(b"x").unwrap();
    sees("Active Resources:");
    *document_of.lock().unwrap() = document(true);
    sees("Started n2");
    sees("Failed Resource Actions:");
    sees("db 10s-interval monitor on n1 returned 'not running' at Wed May 25 16:30:05 2016");
    keys.write_all(&[3]).unwrap();
    let status = wait_for("its end", || mon.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    sees("\x1b[?1049l");
}

#[test]
fn a_daemon_keeps_a_page_and_tells_an_agent_what_happened() {
    let temp = Temp::new();
    let document_of = serve(&temp.0.join("run"));
    let file = |name: &str| temp.0.join(name);
    let (pid_file, page, told, agent) = (file("pid"), file("page.html"), file("told"), file("agent"));
    fs::write(
        &agent,
        "#!/bin/sh\nprintf '%s\\n' \"$CRM_notify_node $CRM_notify_rsc $CRM_notify_task $CRM_notify_rc \
         $CRM_notify_target_rc $CRM_notify_desc to $CRM_notify_recipient\" >>\"$(dirname \"$0\")/told\"\n",
    )
    .unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let (pid_name, page_name, agent_name) =
        (pid_file.to_str().unwrap(), page.to_str().unwrap(), agent.to_str().unwrap());
    let to = format!("--output-to={page_name}");
    let args = ["-d", "-i", "1", "-p", pid_name, "-E", agent_name, "-e", "ops", "--output-as=html", &to];
    struct Stops(std::path::PathBuf);
    impl Stops {
        fn pid(&self) -> Option<i32> {
            fs::read_to_string(&self.0).ok()?.trim().parse().ok()
        }
    }
    impl Drop for Stops {
        fn drop(&mut self) {
            if let Some(pid) = self.pid() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
    }
    let daemon = Stops(pid_file.clone());
    let (code, out, err) = run(&mut crm_mon(&temp, &args));
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", ""));
    let holds = |what: &str| {
        let page = fs::read_to_string(&page).ok()?;
        page.contains(what).then_some(page)
    };
    let whole = wait_for("the page", || holds("Started n1"));
    assert!(whole.contains("<meta http-equiv=\"refresh\" content=\"1\">"), "{whole}");
    let pid = daemon.pid().unwrap();
    // A second one sees the first.
    let (code, out, _) = run(&mut crm_mon(&temp, &args));
    assert!(code == Some(1) && out.contains(&format!("already running [pid {pid} in ")), "{out}");

    *document_of.lock().unwrap() = document(true);
    wait_for("the new page", || holds("Started n2"));
    let lines = wait_for("what the agent was told", || {
        let told = fs::read_to_string(&told).ok()?;
        let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
        lines.sort();
        (lines.len() >= 3).then_some(lines)
    });
    assert_eq!(
        lines,
        ["n1 db monitor 7 0 not running to ops", "n1 db stop 0 0 OK to ops", "n2 db start 0 0 OK to ops"]
    );
    drop(daemon);
    wait_for("the daemon's end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));

    let (code, _, err) = run(&mut crm_mon(&temp, &["-d", "-p", pid_name]));
    assert!(code == Some(64) && err.contains("--daemonize requires"), "{err}");
}
