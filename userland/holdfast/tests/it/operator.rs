//! The operator's log in the background, and the questions of an operator to a running cluster.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Temp, holdfast, run};

/// One that is stopped at the end whatever happens.
struct Converter<'a>(&'a Path);

impl Converter<'_> {
    fn command(&self, what: &[&str]) -> Command {
        let mut command = holdfast(self.0);
        command.arg("pm_logconv");
        for (option, file) in [("--config", "conf"), ("--state", "stat"), ("--pid-file", "pid")] {
            command.arg(option).arg(self.0.join(file));
        }
        command.args(what);
        command
    }

    fn waits_for(&self, lines: usize) -> String {
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(self.0.join("out")).unwrap_or_default();
            if text.lines().count() >= lines {
                return text;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{lines} lines: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Converter<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["-k"]).output();
    }
}

#[test]
fn the_converter_runs_in_the_background_and_goes_on_after_a_restart() {
    let temp = Temp::new();
    let (log, out) = (temp.0.join("ha-log"), temp.0.join("out"));
    let conf = format!("[Settings]\nha_log_path = {}\noutput_path = {}\n", log.display(), out.display());
    fs::write(temp.0.join("conf"), conf).unwrap();
    let says = |n: u32| {
        let mut file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        writeln!(file, "May 25 16:30:05 srv01 crmd[1]:     info: Cluster node n{n} is now lost (was member)")
            .unwrap();
    };
    let converter = Converter(&temp.0);
    says(1);
    assert_eq!(run(&mut converter.command(&["-s"])).0, Some(1));
    assert_eq!(run(&mut converter.command(&["-d"])), (Some(0), String::new(), String::new()));
    converter.waits_for(1);
    let (code, text, _) = run(&mut converter.command(&["-s"]));
    assert!(code == Some(0) && text.contains("running [pid = "), "{text}");
    let (code, _, text) = run(&mut converter.command(&["-d"]));
    assert!(code == Some(1) && text.contains("pm_logconv -k"), "{text}");
    fs::rename(&log, temp.0.join("ha-log.1")).unwrap();
    says(2);
    converter.waits_for(2);
    assert_eq!(run(&mut converter.command(&["-k"])).0, Some(0));
    assert_eq!(run(&mut converter.command(&["-s"])).0, Some(1));
    says(3);
    assert_eq!(run(&mut converter.command(&["-d"])).0, Some(0));
    says(4);
    let text = converter.waits_for(4);
    let want: String =
        (1..=4).map(|n| format!("May 25 16:30:05 srv01 warning: Node n{n} is lost\n")).collect();
    assert_eq!(text, want);
}

/// Both nodes are up; db runs on n1, and n2 is in standby.
const DOCUMENT: &str = r#"<cib validate-with="pacemaker-3.7" have-quorum="1" dc-uuid="1"><configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="true"/></cluster_property_set></crm_config><nodes><node id="1" uname="n1"/><node id="2" uname="n2"><instance_attributes id="s"><nvpair id="s1" name="standby" value="on"/></instance_attributes></node></nodes><resources><primitive id="db" class="ocf" provider="pacemaker" type="Dummy"/><primitive id="f" class="stonith" type="fence_x"/></resources><constraints/></configuration><status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources><lrm_resource id="db" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="db_last_0" operation="start" operation_key="db_start_0" transition-key="2:2:0:x" transition-magic="0:0;2:2:0:x" call-id="3" rc-code="0" op-status="0" interval="0" last-rc-change="1464161407"/></lrm_resource></lrm_resources></lrm></node_state><node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>"#;

#[test]
fn why_and_doctor_ask_the_running_cluster() {
    let temp = Temp::new();
    let run_dir = temp.0.join("run");
    fs::create_dir_all(&run_dir).unwrap();
    let listener = UnixListener::bind(run_dir.join("rgmd.sock")).unwrap();
    let server = std::thread::spawn(move || {
        // Two commands, each with a connection of its own.
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let mut writer = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines() {
                let request: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                let answer = match request["cmd"].as_str() {
                    Some("cib-do") => serde_json::json!({ "xml": DOCUMENT }),
                    Some("fence-history") => serde_json::json!({"events": [{
                        "target": "n2", "action": "reboot", "state": "success", "origin": "n1", "delegate": "n1",
                        "client": "rgmd", "completed_us": 1_464_161_000_000_000_u64, "exit_reason": null,
                    }]}),
                    _ => serde_json::json!({"error": "no such request", "rc": 1}),
                };
                writeln!(writer, "{answer}").unwrap();
            }
        }
    });
    let (code, text, err) = run(holdfast(&temp.0).args(["why", "n2"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(text.starts_with("n2 is up, and in standby: an operator put it there.\n"), "{text}");
    assert!(text.contains("n2 was fenced (reboot) by n1"), "{text}");
    let (code, text, _) = run(holdfast(&temp.0).args(["doctor"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("Next: crm_standby -U n2 -v off\n"), "{text}");
    server.join().unwrap();
    // Nobody answers.
    fs::remove_file(run_dir.join("rgmd.sock")).unwrap();
    let (code, _, err) = run(holdfast(&temp.0).args(["doctor"]));
    assert!(code == Some(69) && err.contains("start it"), "{err}");
}
