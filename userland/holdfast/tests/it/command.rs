//! Everything that needs no cluster.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use status::{ClusterStatus, RingReport, TimingReport};

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
fn the_timing_model_without_a_daemon_is_had_from_the_file() {
    let temp = Temp::new();
    let (code, out, err) = run(holdfast(&temp.0).args(["status", "--timing"]));
    assert_eq!((code, err.as_str()), (Some(69), ""));
    assert!(out.contains("! cmmd does not run on this node") && out.contains("cmmd -t"), "{out}");
    let (code, out, _) = run(holdfast(&temp.0).args(["status", "--timing", "--json"]));
    let report: TimingReport = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report.answered, report.safe), (Some(69), false, None));
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
    // In each form in that form, with the status that monitoring systems know.
    let (code, out, err) = run(holdfast(&temp.0).args(["crm_mon", "--output-as=xml"]));
    assert_eq!((code, err.as_str()), (Some(102), ""));
    assert!(
        out.contains("<pacemaker-result api-version=\"2.25\" request=\"crm_mon --output-as=xml\">"),
        "{out}"
    );
    assert!(out.contains("<status code=\"102\" message=\"Not connected\">"), "{out}");
    let (code, out, _) = run(holdfast(&temp.0).args(["crm_mon", "--output-as=html"]));
    assert!(code == Some(102) && out.contains("Connection to cluster failed"), "{out}");
    let (code, _, err) = run(holdfast(&temp.0).args(["crm_mon", "-s"]));
    assert!(code == Some(2) && err.contains("CLUSTER CRIT: "), "{err}");
}

#[test]
fn crm_mon_shows_a_document_wherever_it_comes_from_and_writes_where_it_is_told() {
    let temp = Temp::new();
    let (document, screen) = (temp.0.join("cib.xml"), temp.0.join("screen"));
    fs::write(
        &document,
        "<cib><configuration><nodes><node id=\"1\" uname=\"n1\"/></nodes></configuration></cib>",
    )
    .unwrap();
    let mon = |args: &[&str]| {
        let mut command = holdfast(&temp.0);
        command.arg("crm_mon").args(args);
        command
    };
    let (code, plain, err) = run(mon(&["-1", "-I", "none,nodes"]).env("CIB_file", &document));
    let want = "Node List:\n  * Node n1: UNCLEAN (offline)\n";
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(plain.ends_with(want), "{plain}");
    let (_, named, _) = run(mon(&["-1", "-U", "all", "-I", "nodes", "-x"]).arg(&document));
    assert_eq!(named, plain);
    let to = format!("--output-to={}", screen.display());
    assert_eq!(run(mon(&["-I", "none,nodes", &to]).env("CIB_file", &document)).0, Some(0));
    assert_eq!(fs::read_to_string(&screen).unwrap(), plain);
    let (code, _, err) = run(mon(&["-1", "--output-to=/nowhere/at/all"]).env("CIB_file", &document));
    assert!(code == Some(1) && err.contains("--output-to"), "{err}");
    // What cannot be read, or is none.
    let (code, out, err) = run(mon(&["-1"]).env("CIB_file", temp.0.join("gone")));
    assert!(code == Some(105) && out.is_empty() && err.contains("cibadmin -Q"), "{err}");
    fs::write(&document, "<cluster/>").unwrap();
    assert_eq!(run(mon(&["-1"]).env("CIB_file", &document)).0, Some(78));
    // Mistakes.
    for (args, what) in [
        (&["-1", "--include=list"][..], "--include options: all, attributes, bans[:PREFIX]"),
        (&["-m", "7", "-1"], "Fence history must be 0-3"),
        (&["-w"], "CGI mode used with CIB file"),
        (&["-i", "often", "-1"], "Invalid value for -i: often"),
    ] {
        let (code, out, err) = run(mon(args).env("CIB_file", &document));
        assert!(code == Some(64) && (out + &err).contains(what), "{args:?}");
    }
    assert!(run(&mut mon(&["-$"])).1.starts_with("Pacemaker 2.1.5\n"));
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
fn ring_without_a_daemon_says_what_to_type_next() {
    let temp = Temp::new();
    let (code, out, err) = run(holdfast(&temp.0).arg("ring"));
    assert_eq!((code, err.as_str()), (Some(69), ""));
    assert!(out.contains("! cmmd does not run on this node") && out.contains("start it: cmmd"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colours on a pipe: {out:?}");
    let (code, out, _) = run(holdfast(&temp.0).args(["ring", "--json"]));
    let report: RingReport = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report.answered, report.notes.len()), (Some(69), false, 1));

    let (code, out, err) = run(holdfast(&temp.0).args(["ring", "--watch"]));
    assert_eq!((code, out.as_str()), (Some(64), ""));
    assert!(err.contains("holdfast ring --json --watch"), "{err}");
    let (code, _, err) = run(holdfast(&temp.0).args(["ring", "--watch", "0.01"]));
    assert!(code == Some(64) && err.contains("0.1 to 3600"), "{err}");
}

#[test]
fn a_watching_pipe_gets_a_line_each_interval_and_ends_with_its_reader() {
    use std::io::{BufRead, BufReader};
    let temp = Temp::new();
    let mut child =
        holdfast(&temp.0).args(["ring", "--json", "--watch", "0.1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let report: RingReport = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert!(report.updated_unix_ms > 0);
    }
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_live_view_gives_the_terminal_back() {
    use std::io::{Read, Write};
    let temp = Temp::new();
    // script(1) of util-linux gives the command a terminal; what is written to it are keys.
    for key in ["q", "\u{3}"] {
        let command = format!("{} ring --watch 0.1", env!("CARGO_BIN_EXE_holdfast"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("{command}; code=$?; stty -a; exit $code"), "/dev/null"]);
        script.env("HOLDFAST_RUN_DIR", temp.0.join("run")).env("HOLDFAST_STATE_DIR", temp.0.join("state"));
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut shown = Vec::new();
        let mut chunk = [0; 4096];
        let drawn = |shown: &[u8]| String::from_utf8_lossy(shown).matches("cmmd does not run").count();
        while drawn(&shown) < 2 {
            let n = screen.read(&mut chunk).unwrap();
            assert!(n > 0, "it ended by itself: {}", String::from_utf8_lossy(&shown));
            shown.extend(&chunk[..n]);
        }
        keys.write_all(key.as_bytes()).unwrap();
        screen.read_to_end(&mut shown).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{key:?}");
        let shown = String::from_utf8_lossy(&shown);
        let (view, after) = shown.split_once("\u{1b}[?1049l").expect("back on the screen before");
        assert!(view.contains("\u{1b}[?1049h") && view.contains("\u{1b}[?25h"), "{view:?}");
        let cooked =
            ["icanon", "isig", "echo"].iter().all(|flag| after.split_whitespace().any(|word| word == *flag));
        assert!(cooked, "{after}");
    }
}

#[test]
fn usage_errors_and_help() {
    let temp = Temp::new();
    assert_eq!(run(&mut holdfast(&temp.0)).0, Some(64));
    let (code, _, err) = run(holdfast(&temp.0).arg("statsu"));
    assert!(code == Some(64) && err.contains("status"), "{err}");
    for applet in ["status", "ring", "crm_mon", "key", "corosync-keygen", "link", "demo", "fence-demo"] {
        let (code, out, _) = run(holdfast(&temp.0).args([applet, "--help"]));
        assert_eq!(code, Some(0), "{applet}");
        assert!(out.contains("Examples:") && out.contains("Exit status:"), "{applet}: {out}");
    }
    let (code, out, _) = run(holdfast(&temp.0).arg("--version"));
    assert!(code == Some(0) && out.starts_with("holdfast "), "{out}");
}

#[test]
fn a_key_file_is_for_its_owner_only_and_not_replaced_by_mistake() {
    use std::os::unix::fs::PermissionsExt;
    let temp = Temp::new();
    let file = temp.0.join("authkey");
    let generate = |more: &[&str]| run(holdfast(&temp.0).args(["key", "generate"]).arg(&file).args(more));
    let (code, out, err) = generate(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("copy it to every node") && out.contains("holdfast key change"), "{out}");
    let first = fs::read(&file).unwrap();
    assert_eq!((first.len(), fs::metadata(&file).unwrap().permissions().mode() & 0o7777), (256, 0o400));
    let (code, _, err) = generate(&[]);
    assert!(code == Some(73) && err.contains("is there already") && err.contains("--force"), "{err}");
    assert_eq!(fs::read(&file).unwrap(), first);
    let (code, out, _) = generate(&["--force", "--size", "1024", "--json"]);
    assert!(code == Some(0) && out.contains("\"bytes\":1024"), "{out}");
    let second = fs::read(&file).unwrap();
    assert!(second.len() == 1024 && !second.starts_with(&first[..32]));
    assert_eq!(fs::read_dir(&temp.0).unwrap().count(), 1, "no temporary file stays");
    for size in ["127", "4097"] {
        assert_eq!(generate(&["--force", "--size", size]).0, Some(64));
    }
    let (code, _, err) = run(holdfast(&temp.0).args(["key", "generate"]).arg(temp.0.join("none/authkey")));
    assert!(code == Some(73) && err.contains("mkdir -p"), "{err}");
}

#[test]
fn corosync_keygen_does_what_its_callers_expect() {
    let temp = Temp::new();
    let file = temp.0.join("authkey");
    let mut keygen = holdfast(&temp.0);
    let (code, out, err) =
        run(keygen.args(["corosync-keygen", "-l", "-s", "128", "-r", "/dev/urandom", "-k"]).arg(&file));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.contains("Gathering 1024 bits for key from /dev/urandom.")
            && out.contains("Writing corosync key to")
    );
    assert_eq!(fs::read(&file).unwrap().len(), 128);
    let again = run(holdfast(&temp.0).args(["corosync-keygen", "-k"]).arg(&file));
    assert_eq!(
        (again.0, fs::read(&file).unwrap().len()),
        (Some(0), 256),
        "it replaces, as the original does"
    );
    let (code, _, err) = run(holdfast(&temp.0).args(["corosync-keygen", "-r", "/dev/zero", "-k"]).arg(&file));
    assert!(code == Some(1) && err.contains("no randomness"), "{err}");
}

#[test]
fn keys_of_a_node_that_does_not_run_cannot_be_shown_or_changed() {
    let temp = Temp::new();
    for what in ["status", "change"] {
        let (code, _, err) = run(holdfast(&temp.0).args(["key", what]));
        assert!(code == Some(69) && err.contains("start it: cmmd"), "{err}");
    }
}

#[test]
fn a_quorum_device_is_put_into_the_file_of_a_node_that_is_down_and_taken_out_again() {
    let temp = Temp::new();
    let conf = temp.0.join("holdfast.conf");
    let nodes: String =
        (1..=2).map(|n| format!("  node {{\n    nodeid: {n}\n    ring0_addr: 127.0.0.{n}\n  }}\n")).collect();
    let text = format!(
        "totem {{\n  version: 2\n  cluster_name: web\n  nodeid: 1\n}}\nnodelist {{\n{nodes}}}\n# votes\nquorum {{\n  provider: corosync_votequorum\n}}"
    );
    fs::write(&conf, &text).unwrap();
    let disk = temp.0.join("disk");
    fs::write(&disk, vec![0; 4 << 20]).unwrap();
    let quorum = |args: &[&str]| {
        run(holdfast(&temp.0).arg("quorum").arg("device").args(args).env("HOLDFAST_CONF", &conf))
    };
    let path = disk.to_str().unwrap();
    // Without a daemon nothing can be worked out, unless that is not wanted.
    let (code, _, err) = quorum(&["remove"]);
    assert!(code == Some(73) && err.contains("there is no quorum device in it"), "{err}");
    let (code, _, err) = quorum(&["add", "disk", path, "--file-only"]);
    let remedy = format!("holdfast qdisk create {path} --label web --cluster web");
    assert!(code == Some(73) && err.contains("it holds nothing (zeros)") && err.contains(&remedy), "{err}");
    let made = run(holdfast(&temp.0).args(["qdisk", "create", path, "--cluster", "mail", "--yes"]));
    assert_eq!(made.0, Some(0), "{made:?}");
    let (code, _, err) = quorum(&["add", "disk", path, "--file-only"]);
    assert!(code == Some(73) && err.contains("a quorum disk of cluster \"mail\", not of \"web\""), "{err}");
    assert_eq!(
        run(holdfast(&temp.0).args(["qdisk", "create", path, "--cluster", "web", "--yes"])).0,
        Some(0)
    );
    let (code, _, err) = quorum(&["add", "disk", path]);
    assert!(code == Some(69) && err.contains("cmmd does not run on this node"), "{err}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), text);
    let (code, out, _) = quorum(&["add", "disk", path, "--file-only", "--dry-run"]);
    assert!(code == Some(0) && out.contains("would be changed"), "{out}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), text);

    let (code, out, err) = quorum(&["add", "disk", path, "--file-only", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    let kept = value["kept"].as_str().unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), text);
    let with = fs::read_to_string(&conf).unwrap();
    assert!(
        with.contains(&format!("  device {{\n    model: disk\n    disk {{\n      device: {path}\n")),
        "{with}"
    );
    let (code, _, err) = quorum(&["remove", "--file-only"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(&conf).unwrap(), text, "byte for byte");
    // A file that cmmd would refuse is not written.
    fs::write(&conf, text.replace("provider", "two_node: 1\n  provider")).unwrap();
    let (code, _, err) = quorum(&["add", "disk", path, "--file-only"]);
    assert!(code == Some(73) && err.contains("two_node void each other; remove two_node"), "{err}");
    assert!(!fs::read_to_string(&conf).unwrap().contains("device"));
}
