//! The commands under Pacemaker's names against Pacemaker's own: both streams, exit status, and the document that is left.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::{Temp, run};

const DOCUMENT: &str = include_str!("testdata/tools.xml");
const CASES: &str = include_str!("testdata/stand_ins.txt");

/// Words of a command line: quotes keep blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
    document: cib::Element,
}

fn call(program: &Path, words: &[String], dir: &Path) -> Ended {
    let file = dir.join("cib.xml");
    fs::write(&file, DOCUMENT).unwrap();
    let _ = fs::remove_file(dir.join("cib.xml.sig"));
    let mut command = Command::new(program);
    command
        .arg0(&words[0])
        .args(&words[1..])
        .env("CIB_file", &file)
        .env("TZ", "UTC")
        .current_dir(dir)
        .stdin(Stdio::null());
    for variable in ["CIB_shadow", "CIB_user", "OCF_RESOURCE_INSTANCE", "OCF_RESKEY_CRM_meta_on_node"] {
        command.env_remove(variable);
    }
    let (status, stdout, stderr) = run(&mut command);
    let document = cib::Element::parse(&fs::read_to_string(&file).unwrap(), "left").unwrap();
    Ended { status, stdout, stderr, document }
}

/// Without what cannot be the same: the time, who changed the document, hints that only we give, how XML is laid out.
fn comparable(mut ended: Ended, loosely: bool) -> Ended {
    fn timeless(element: &mut cib::Element) {
        for name in
            ["cib-last-written", "update-origin", "update-client", "update-user", "last-granted", "end"]
        {
            if element.get(name).is_some() {
                element.attributes.insert(name, "");
            }
        }
        element.children.iter_mut().for_each(timeless);
    }
    timeless(&mut ended.document);
    let until = "Migration will take effect until: ";
    let lines = ended.stdout.lines().map(|l| if l.starts_with(until) { until } else { l });
    ended.stdout = lines.map(|l| format!("{l}\n")).collect();
    let hint = |l: &&str| l.starts_with("crm_resource: to remove it: ") || l.contains(" rather runs on ");
    ended.stderr = ended.stderr.lines().filter(|l| !hint(l)).map(|l| format!("{l}\n")).collect();
    if loosely {
        // Where what is added to an agent's words stands, and how they are indented.
        let mut elements: Vec<String> =
            ended.stdout.split('<').map(|e| e.replace([' ', '\t', '\n', '\'', '"', '/'], "")).collect();
        elements.retain(|e| !e.is_empty() && !e.starts_with("?xml"));
        elements.sort();
        ended.stdout = elements.join("\n");
    }
    ended
}

#[test]
fn every_call_ends_as_with_pacemakers_own_command() {
    if !Path::new("/usr/sbin/crm_resource").exists() {
        eprintln!("SKIPPED: needs the package pacemaker-cli-utils");
        return;
    }
    let temp = Temp::new();
    let bin = temp.0.join("bin");
    fs::create_dir(&bin).unwrap();
    let (status, _, stderr) = run(crate::holdfast(&temp.0).arg("link").arg(&bin));
    assert_eq!(status, Some(0), "{stderr}");
    let cases: Vec<&str> = CASES.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
    assert!(cases.len() > 250);
    let (next, wrong) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let dir = temp.0.join(worker.to_string());
            fs::create_dir(&dir).unwrap();
            let (next, wrong, bin) = (&next, &wrong, &bin);
            scope.spawn(move || {
                loop {
                    let Some(case) = next.lock().unwrap().next() else { break };
                    let words = words(case.trim_start_matches('~'));
                    let loosely = case.starts_with('~');
                    let theirs = call(&Path::new("/usr/sbin").join(&words[0]), &words, &dir);
                    let ours = call(&bin.join(&words[0]), &words, &dir);
                    let (theirs, ours) = (comparable(theirs, loosely), comparable(ours, loosely));
                    if theirs != ours {
                        wrong.lock().unwrap().push(format!(
                            "{case}\n  theirs: {}\n  ours:   {}",
                            shown(&theirs),
                            shown(&ours)
                        ));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} calls differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn shown(ended: &Ended) -> String {
    let Ended { status, stdout, stderr, document } = ended;
    let xml = document.to_xml();
    let new: Vec<&str> = xml.lines().filter(|l| !DOCUMENT.contains(l.trim())).collect();
    format!("{status:?} {stdout:?} {stderr:?} {new:?}")
}

#[test]
fn a_ban_without_an_end_says_how_it_is_removed_and_a_move_that_will_not_happen_what_would() {
    let temp = Temp::new();
    let file = temp.0.join("cib.xml");
    fs::write(&file, DOCUMENT).unwrap();
    let resource = |words: &[&str]| {
        let mut command = crate::holdfast(&temp.0);
        command.arg("crm_resource").args(words).env("CIB_file", &file).env_remove("CIB_shadow");
        run(&mut command)
    };
    let (status, _, stderr) = resource(&["--ban", "-r", "grp", "-N", "n2"]);
    assert_eq!(
        (status, stderr.as_str()),
        (Some(0), "crm_resource: to remove it: crm_resource --clear --resource grp\n")
    );
    assert_eq!(resource(&["--clear", "-r", "grp"]).1, "Removing constraint: cli-ban-grp-on-n2\n");
    let (status, _, stderr) = resource(&["--ban", "-r", "grp", "-N", "n2", "-u", "P1D"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(resource(&["--clear", "-r", "grp"]).1, "Removing constraint: cli-ban-grp-on-n2\n");
    let (status, _, stderr) = resource(&["--move", "-r", "grp", "-N", "n2"]);
    assert_eq!(status, Some(0));
    assert!(stderr.contains("--move --resource grp --node n2 --force"), "{stderr}");
    assert_eq!(resource(&["--move", "-r", "grp", "-N", "n2", "-Q"]).2, "");
}

#[test]
fn bans_and_moves_last_as_long_as_the_cluster_says_where_nobody_says_how_long() {
    let temp = Temp::new();
    let file = temp.0.join("cib.xml");
    fs::write(&file, DOCUMENT).unwrap();
    let holdfast = |words: &[&str]| {
        let mut command = crate::holdfast(&temp.0);
        run(command.args(words).env("CIB_file", &file).env_remove("CIB_shadow"))
    };
    let ban = ["crm_resource", "--ban", "-r", "grp", "-N", "n2"];
    let rule = || fs::read_to_string(&file).unwrap().contains("cli-ban-grp-on-n2-lifetime");
    assert_eq!(holdfast(&ban).0, Some(0));
    assert!(!rule(), "for good, as ever");
    holdfast(&["crm_resource", "--clear", "-r", "grp"]);
    assert_eq!(holdfast(&["crm_attribute", "-n", "holdfast-ban-lifetime", "-v", "PT8H"]).0, Some(0));
    let (status, stdout, stderr) = holdfast(&ban);
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "nothing is left to be removed by hand");
    assert!(stdout.starts_with("Migration will take effect until: "), "{stdout}");
    assert!(rule());

    // What cannot be understood changes nothing.
    holdfast(&["crm_resource", "--clear", "-r", "grp"]);
    holdfast(&["crm_attribute", "-n", "holdfast-ban-lifetime", "-v", "a while"]);
    let before = fs::read_to_string(&file).unwrap();
    for words in [&ban[..], &["crm_resource", "--move", "-r", "grp", "-N", "n2"]] {
        let (status, _, stderr) = holdfast(words);
        assert_eq!(status, Some(64), "{stderr}");
        assert!(stderr.contains("crm_attribute -n holdfast-ban-lifetime -v P1D"), "{stderr}");
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    }
    assert_eq!(holdfast(&[&ban[..], &["-u", "P1D"]].concat()).0, Some(0));
}

#[test]
fn failures_in_a_file_are_not_cleared_and_nothing_breaks() {
    // Pacemaker's own command crashes here, so it is no measure.
    let temp = Temp::new();
    let file = temp.0.join("cib.xml");
    fs::write(&file, DOCUMENT).unwrap();
    let (status, stdout, stderr) = run(crate::holdfast(&temp.0)
        .args(["crm_resource", "-C", "-r", "fs"])
        .env("CIB_file", &file)
        .env_remove("CIB_shadow"));
    let said = "Dry run: skipping clean-up of fs on n1 due to CIB_file\nDry run: skipping clean-up of ip on n1 due to CIB_file\n";
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (Some(0), "", said));
    assert_eq!(fs::read_to_string(&file).unwrap(), DOCUMENT);
}

#[test]
fn daemons_tell_of_the_same_options_as_pacemakers() {
    let folder = Path::new("/usr/lib/pacemaker");
    if !folder.join("pacemaker-schedulerd").exists() {
        eprintln!("SKIPPED: needs the package pacemaker");
        return;
    }
    let temp = Temp::new();
    let options = |text: &str| {
        let mut options: Vec<String> = Vec::new();
        for part in text.split("<parameter ").skip(1) {
            let kept = part
                .split('<')
                .filter(|e| e.starts_with("name=") || e.starts_with("content") || e.starts_with("option"));
            options.push(
                kept.map(|e| e.split('>').next().unwrap().trim_end_matches([' ', '/']))
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        }
        options
    };
    for name in ["pacemaker-schedulerd", "pacemaker-controld", "pacemaker-fenced", "pacemaker-based"] {
        let theirs = run(Command::new(folder.join(name)).arg("metadata")).1;
        let ours = run(crate::holdfast(&temp.0).args(["metadata", name])).1;
        assert!(options(&ours).len() > 1);
        assert_eq!(options(&theirs), options(&ours), "{name}");
    }
}
