//! Everything that needs no cluster.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use status::ClusterStatus;

use crate::{Temp, holdfast, run};

#[test]
fn status_without_daemons_says_what_to_type_next() {
    let temp = Temp::new();
    let (code, out, err) = run(holdfast(&temp.0).arg("status"));
    assert_eq!((code, err.as_str()), (Some(69), ""));
    assert!(out.contains("! cmmd does not run on this node"), "{out}");
    assert!(out.contains("start it: cmmd"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colours on a pipe: {out:?}");

    let (code, out, _) = run(holdfast(&temp.0).args(["status", "--json"]));
    let status: ClusterStatus = serde_json::from_str(&out).unwrap();
    assert_eq!((code, status.answered.cmmd, status.answered.rgmd), (Some(69), false, false));
    assert!(!status.notes.is_empty());
}

#[test]
fn status_does_not_hang_on_daemons_that_do_not_answer() {
    let temp = Temp::new();
    let run_dir = temp.0.join("run");
    fs::create_dir_all(&run_dir).unwrap();
    // Listeners that never accept, as of stopped processes.
    let _silent: Vec<_> =
        ["cmap", "rgmd.sock"].iter().map(|n| UnixListener::bind(run_dir.join(n)).unwrap()).collect();
    let (code, out, _) = run(holdfast(&temp.0).arg("status"));
    assert_eq!(code, Some(69));
    assert!(out.contains("cmmd does not answer") || out.contains("cmmd cannot be asked"), "{out}");
}

#[test]
fn a_broken_answer_is_told_not_believed() {
    use std::io::{BufRead, BufReader, Write};
    let temp = Temp::new();
    let run_dir = temp.0.join("run");
    fs::create_dir_all(&run_dir).unwrap();
    let listener = UnixListener::bind(run_dir.join("rgmd.sock")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(b"{\"nodes\": 7}\n").unwrap();
    });
    let (code, out, _) = run(holdfast(&temp.0).args(["status", "--json"]));
    server.join().unwrap();
    let status: ClusterStatus = serde_json::from_str(&out).unwrap();
    assert_eq!((code, status.answered.rgmd), (Some(69), false));
}

#[test]
fn crm_mon_without_a_cluster_ends_as_pacemakers() {
    let temp = Temp::new();
    let (code, out, err) = run(holdfast(&temp.0).args(["crm_mon", "-1"]));
    assert_eq!((code, out.as_str()), (Some(102), ""));
    assert!(err.starts_with(
        "error: Could not connect to launcher: Connection refused\ncrm_mon: Connection to cluster failed"
    ));
    assert!(err.contains("start it: cmmd"), "{err}");
    assert_eq!(run(holdfast(&temp.0).args(["crm_mon", "-1", "-y"])).0, Some(64));
    let (code, _, err) = run(holdfast(&temp.0).args(["crm_mon", "-1", "--output-as=xml"]));
    assert_eq!(code, Some(3));
    assert!(err.contains("holdfast status --json"), "{err}");
}

#[test]
fn links_are_made_once_and_answer_to_their_names() {
    let temp = Temp::new();
    let bin = temp.0.join("bin");
    let link = |args: &[&str]| run(holdfast(&temp.0).arg("link").args(args).arg(&bin));
    assert_eq!(link(&[]).0, Some(73));
    fs::create_dir(&bin).unwrap();
    let (code, out, _) = link(&["--dry-run"]);
    assert!(code == Some(0) && out.starts_with("would make ") && !bin.join("crm_mon").exists(), "{out}");
    let (code, out, _) = link(&[]);
    assert!(code == Some(0) && out.starts_with("made "), "{out}");
    assert!(link(&[]).1.contains("is there already"));

    let mut crm_mon = std::process::Command::new(bin.join("crm_mon"));
    let (code, _, err) = run(crm_mon.arg("-1").env("HOLDFAST_RUN_DIR", temp.0.join("run")));
    assert!(code == Some(102) && err.contains("crm_mon: "), "{err}");

    // What is there and not ours is not touched.
    for foreign in [true, false] {
        fs::remove_file(bin.join("crm_mon")).unwrap();
        if foreign {
            fs::write(bin.join("crm_mon"), "#!/bin/sh\n").unwrap();
        } else {
            symlink("/bin/true", bin.join("crm_mon")).unwrap();
        }
        let (code, _, err) = link(&[]);
        assert!(code == Some(73) && err.contains("crm_mon"), "{err}");
    }
    assert_eq!(fs::read_link(bin.join("crm_mon")).unwrap(), std::path::Path::new("/bin/true"));
}

#[test]
fn usage_errors_and_help() {
    let temp = Temp::new();
    assert_eq!(run(&mut holdfast(&temp.0)).0, Some(64));
    let (code, _, err) = run(holdfast(&temp.0).arg("statsu"));
    assert!(code == Some(64) && err.contains("status"), "{err}");
    for applet in ["status", "crm_mon", "link", "demo", "fence-demo"] {
        let (code, out, _) = run(holdfast(&temp.0).args([applet, "--help"]));
        assert_eq!(code, Some(0), "{applet}");
        assert!(out.contains("Examples:") && out.contains("Exit status:"), "{applet}: {out}");
    }
    let (code, out, _) = run(holdfast(&temp.0).arg("--version"));
    assert!(code == Some(0) && out.starts_with("holdfast "), "{out}");
}
