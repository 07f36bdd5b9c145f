//! What shells and manuals are told of the commands, taken by real shells and by the programs that show manuals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Temp, holdfast, run};

/// Made by `holdfast WORDS --dir`.
fn made(temp: &Temp, words: &[&str]) -> PathBuf {
    let dir = temp.0.join(words.join("-"));
    let make = || run(holdfast(&temp.0).args(words).arg("--dir").arg(&dir));
    let (code, _, err) = make();
    assert!(code == Some(73) && err.contains("make it first: mkdir -p"), "{err}");
    fs::create_dir(&dir).unwrap();
    let (code, out, err) = make();
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(out.lines().count(), fs::read_dir(&dir).unwrap().count(), "{out}");
    dir
}

/// Whether a program is there. A machine that should run these tests never skips them in silence.
fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    let skip = std::env::var_os("HOLDFAST_ALLOW_SKIP").is_some();
    assert!(found || skip, "cannot run: {program} is not installed; set HOLDFAST_ALLOW_SKIP=1 to skip this");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// What a shell says to a script.
fn says(shell: &mut Command) -> String {
    let (code, out, err) = run(shell);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    out
}

/// The words that bash offers for the last of `words`.
fn bash_offers(file: &Path, words: &[&str]) -> String {
    let last = words.len() - 1;
    let script = format!(
        "source '{}'; COMP_WORDS=({}) COMP_CWORD={last}; function=$(complete -p {} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         $function '{}' '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
        file.display(),
        words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" "),
        words[0],
        words[0],
        words[last],
        words[last - 1]
    );
    says(Command::new("bash").args(["--norc", "--noprofile", "-c", &script])).trim().to_owned()
}

#[test]
fn bash_completes_commands_options_and_names_of_applets() {
    let temp = Temp::new();
    let dir = made(&temp, &["completion", "bash"]);
    let ours = dir.join("holdfast.bash");
    let loaded =
        says(Command::new("bash").args(["--norc", "-c", "source \"$0\"; complete -p holdfast"]).arg(&ours));
    assert!(loaded.starts_with("complete ") && loaded.contains("-F _holdfast holdfast"), "{loaded}");
    for (words, offered) in [
        (&["holdfast", "stat"][..], "status"),
        (&["holdfast", "status", "--tim"], "--timing"),
        (&["holdfast", "qdisk", "tomb"], "tombstones"),
        (&["holdfast", "qdisk", "create", "--sec"], "--sector"),
        (&["holdfast", "demo-serv"], ""),
    ] {
        assert_eq!(bash_offers(&ours, words), offered, "{words:?}");
    }
    assert_eq!(bash_offers(&dir.join("crm_mon.bash"), &["crm_mon", "--one"]), "--one-shot");
    assert!(bash_offers(&dir.join("mkqdisk.bash"), &["mkqdisk", "-"]).contains("-L"));

    // All of it at once, for the shell that runs.
    let (code, all, _) = run(holdfast(&temp.0).args(["completion", "bash"]));
    assert_eq!(code, Some(0));
    let file = temp.0.join("all");
    fs::write(&file, all).unwrap();
    assert_eq!(bash_offers(&file, &["corosync-keygen", "--le"]), "--less-secure");
}

#[test]
fn zsh_and_fish_take_theirs() {
    let temp = Temp::new();
    if have("zsh") {
        let dir = made(&temp, &["completion", "zsh"]);
        let script = "fpath=($0 $fpath); autoload -U compinit; compinit -D -u; print -r -- $_comps[holdfast] $_comps[mkqdisk]; autoload +X _holdfast";
        assert_eq!(says(Command::new("zsh").args(["-f", "-c", script]).arg(&dir)), "_holdfast _mkqdisk\n");
    }
    if have("fish") {
        let dir = made(&temp, &["completion", "fish"]);
        let script =
            format!("source {}; complete -C 'holdfast qdisk tomb'", dir.join("holdfast.fish").display());
        let offered = says(Command::new("fish").args(["--no-config", "-c", &script]).env("HOME", &temp.0));
        assert!(offered.starts_with("tombstones\t"), "{offered}");
    }
}

#[test]
fn every_command_has_a_manual_page_without_a_fault() {
    let temp = Temp::new();
    let dir = made(&temp, &["man"]);
    let mut pages: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    pages.sort();
    let (_, help, _) = run(holdfast(&temp.0).arg("--help"));
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let names: Vec<&str> =
        commands.filter(|l| !l.starts_with("   ")).filter_map(|l| l.split_whitespace().next()).collect();
    assert!(names.len() >= 12, "{help}");
    for name in names.into_iter().filter(|n| *n != "help") {
        assert!(dir.join(format!("holdfast-{name}.8")).exists(), "{name}");
    }
    for name in ["holdfast", "crm_mon", "corosync-keygen", "mkqdisk", "fence_demo", "holdfast-qdisk-create"] {
        assert!(dir.join(format!("{name}.8")).exists(), "{name}");
    }
    assert!(!dir.join("holdfast-demo-service.8").exists());

    let page = dir.join("holdfast-ring.8");
    let (_, shown, _) = run(holdfast(&temp.0).args(["man", "ring"]));
    assert_eq!(shown, fs::read_to_string(&page).unwrap());
    let (code, _, err) = run(holdfast(&temp.0).args(["man", "rong"]));
    assert!(code == Some(73) && err.contains("holdfast --help"), "{err}");
    if have("man") {
        for page in &pages {
            let mut man = Command::new("man");
            man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(page).env("LC_ALL", "C.UTF-8");
            says(&mut man);
        }
        let text = says(Command::new("man").args(["-l", "-P", "cat"]).arg(&page).env("MANWIDTH", "120"));
        let line = "       holdfast ring --json --watch 5 >> ring.jsonl    one line every 5 seconds";
        assert!(text.lines().any(|l| l == line), "an example keeps its line: {text}");
    }
    if have("mandoc") {
        assert_eq!(says(Command::new("mandoc").args(["-Tlint", "-Werror"]).args(&pages)), "");
    }
}
