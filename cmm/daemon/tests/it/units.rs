//! Units that the configuration names are followed from process to process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::nodes::Cluster;

/// A process that belongs to a node, gone with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start(run_dir: &Path, seconds: &str) -> Self {
        let mut command = Command::new("sleep");
        command.arg(seconds).env("HOLDFAST_RUN_DIR", run_dir).stdin(Stdio::null());
        Self(command.spawn().expect("sleep starts"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn end(mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_unit_that_is_found_by_its_command_is_followed_to_its_next_process() {
    let cluster = Cluster::new(1);
    // Nobody else sleeps for so long.
    let seconds = format!("8{:09}", std::process::id());
    let which = Command::new("sh").args(["-c", "command -v sleep"]).output().expect("sh");
    let program = String::from_utf8(which.stdout).expect("a path");
    let more = format!(
        "failfast {{\n  unit {{\n    name: gw\n    delay: 3600000\n    command: {} {seconds}\n  }}\n}}\n",
        program.trim()
    );
    cluster.write_config(1, "", &more);
    let daemon = cluster.spawn(1, &[]);
    daemon.wait_for("This node is within the primary component");
    let first = Sleeper::start(&cluster.run_dir(1), &seconds);
    daemon.wait_for(&format!("Failfast: unit \"gw\" armed by pid {}", first.pid()));
    first.end();
    daemon.wait_for("unit \"gw\" (pid");
    let second = Sleeper::start(&cluster.run_dir(1), &seconds);
    daemon.wait_for(&format!("Failfast: unit \"gw\" armed again by pid {}", second.pid()));
}

/// What systemd says is said by a script here; a real one restarts the unit in the virtual machines.
#[test]
fn a_service_that_systemd_restarts_in_time_is_armed_again_until_that_was_too_often() {
    let cluster = Cluster::new(1);
    let (tools, main_pid) = (cluster.dir.join("tools"), cluster.dir.join("main_pid"));
    fs::create_dir_all(&tools).expect("a folder");
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = \"show --property=MainPID --value -- pg.service\" ] && cat {}\n",
        main_pid.display()
    );
    fs::write(tools.join("systemctl"), script).expect("writes");
    fs::set_permissions(tools.join("systemctl"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let more = "failfast {\n  unit {\n    name: pg\n    systemd: pg.service\n    delay: 5000\n    on_failure: restart\n    restarts: 1\n    window: 3600000\n  }\n}\n";
    cluster.write_config(1, "", more);
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("a path"));
    let mut daemon = cluster.spawn_with(1, &[], &[("PATH", path)]);
    daemon.wait_for(
        "unit \"pg\" of the configuration is not armed: systemd does not say which process pg.service is",
    );
    let tell = |pid: u32| {
        let new = cluster.dir.join("main_pid.new");
        fs::write(&new, format!("{pid}\n")).and_then(|()| fs::rename(&new, &main_pid)).expect("writes");
    };
    tell(0);
    let first = Sleeper::start(&cluster.run_dir(1), "600");
    tell(first.pid());
    daemon.wait_for(&format!("Failfast: unit \"pg\" armed by pid {}", first.pid()));
    let second = Sleeper::start(&cluster.run_dir(1), "600");
    tell(second.pid());
    first.end();
    daemon.wait_for(&format!("Failfast: unit \"pg\" armed again by pid {}", second.pid()));
    let third = Sleeper::start(&cluster.run_dir(1), "600");
    tell(third.pid());
    second.end();
    daemon.wait_for("unit \"pg\" was restarted 1 times in 3600000 ms: another restart does not count");
    daemon.wait_for(&format!(
        "unit \"pg\" (pid {}) of the configuration is not armed: it was restarted",
        third.pid()
    ));
    assert!(!daemon.wait_exit().success(), "killed, not ended");
    daemon.wait_for("Failfast: Aborting because \"pg\" died 5 seconds ago.");
}
