//! `cmmd -t`, and what `cmmd -f` makes of a configuration that `-t` refuses.

use std::fs;
use std::process::{Command, Output};

use crate::nodes::{CMMD, Cluster};

fn check(cluster: &Cluster) -> (i32, String, String) {
    let Output { status, stdout, stderr } = cluster.command(1).arg("-t").output().expect("runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code().expect("it exits"), text(&stdout), text(&stderr))
}

#[test]
fn a_good_configuration_prints_its_timing_model() {
    let cluster = Cluster::new(3);
    cluster.write_config(1, "", "");
    let (status, stdout, stderr) = check(&cluster);
    assert_eq!(status, 0, "{stderr}");
    for line in [
        "  token                    1000 ms",
        "  lease                     200 ms",
        "  lateness ",
        "The configuration is fine.",
    ] {
        assert!(stdout.contains(line), "no {line:?} in\n{stdout}");
    }
    assert!(!cluster.run_dir(1).exists(), "a check leaves nothing behind");
}

#[test]
fn a_mistake_is_named_with_file_line_and_remedy() {
    let cluster = Cluster::new(3);
    let path = cluster.write_config(1, "  tokn: 900\n", "");
    let (status, stdout, stderr) = check(&cluster);
    assert_eq!(status, 1);
    let want = format!("{}:8: unknown key \"tokn\" in totem; did you mean \"token\"?", path.display());
    assert!(stderr.lines().any(|l| l == want), "{stderr}");
    assert!(stdout.contains("The configuration is refused."));

    fs::write(&path, "totem {\n  version: 2\n").expect("writes");
    let (status, _, stderr) = check(&cluster);
    assert_eq!(status, 1);
    assert!(
        stderr.starts_with(&format!("{}:1: section totem opened here is never closed;", path.display())),
        "{stderr}"
    );

    fs::remove_file(&path).expect("removes");
    let (status, _, stderr) = check(&cluster);
    assert_eq!(status, 78);
    assert!(stderr.contains("cannot be read") && stderr.contains("name the file with -c"), "{stderr}");
}

#[test]
fn cryptography_without_a_key_cannot_run() {
    let cluster = Cluster::new(1);
    cluster.write_config(1, "  crypto_cipher: aes256\n  keyfile: /nonexistent/authkey\n", "");
    let (status, _, stderr) = check(&cluster);
    assert_eq!(status, 1);
    assert!(stderr.contains("totem.keyfile /nonexistent/authkey: No such file"), "{stderr}");
    let run = cluster.command(1).arg("-f").output().expect("runs");
    assert_eq!(run.status.code(), Some(78));
}

#[test]
fn what_only_the_check_refuses_runs_with_a_warning() {
    let cluster = Cluster::new(1);
    cluster.write_config(1, "  tokn: 900\n", "");
    let daemon = cluster.spawn(1, &[]);
    daemon.wait_for("unknown key \"tokn\" in totem; did you mean \"token\"?");
    daemon.wait_for("This node is within the primary component");
}

#[test]
fn what_cannot_run_is_refused_by_both() {
    let cluster = Cluster::new(1);
    let path = cluster.write_config(1, "  window_size: many\n", "");
    let run = cluster.command(1).arg("-f").output().expect("runs");
    assert_eq!(run.status.code(), Some(78));
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        said.contains(&format!("{}:8: \"many\" is not a value of totem.window_size", path.display())),
        "{said}"
    );
    assert_eq!(check(&cluster).0, 1);
}

#[test]
fn wrong_arguments_and_help_have_their_statuses() {
    let run = |args: &[&str]| Command::new(CMMD).args(args).output().expect("runs");
    assert_eq!(run(&["--frobnicate"]).status.code(), Some(64));
    let help = run(&["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("Exit status:"));
    assert!(String::from_utf8_lossy(&run(&["-v"]).stdout).starts_with("Holdfast cmmd "));
    let relative = Command::new(CMMD).arg("-f").env("HOLDFAST_RUN_DIR", "here").output().expect("runs");
    assert_eq!(relative.status.code(), Some(64));
}
