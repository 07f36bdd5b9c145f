//! Tidiness is a test: which crate may depend on which, where `unsafe` may stand, that each file says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Crates without I/O: they may depend on each other (as listed) and on nothing that touches the system.
const PURE: &[&str] = &[
    "holdfast-types",
    "cmm-qdisk",
    "cmm-scsi",
    "cmm-qnet",
    "cmm-proto",
    "cmm-conf",
    "failfast-core",
    "fencing",
    "cib",
    "scheduler",
    "status",
    "logconv",
    "advice",
];

/// Which of our crates each one may use. What is not listed is a wrong arrow; see docs/ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("holdfast-types", &[]),
    ("holdfast-sys", &["holdfast-types"]),
    ("cmm-conf", &["holdfast-types"]),
    ("cmm-qdisk", &["holdfast-types"]),
    ("cmm-scsi", &["holdfast-types"]),
    ("cmm-qnet", &["holdfast-types"]),
    ("cmm-proto", &["holdfast-types", "cmm-qdisk", "cmm-scsi", "cmm-qnet"]),
    ("cmm-ipc", &["holdfast-types", "holdfast-sys"]),
    ("failfast-core", &["holdfast-types"]),
    ("failfast", &["holdfast-types", "holdfast-sys", "failfast-core", "cmm-qdisk"]),
    ("holdfast-guardian", &["holdfast-types", "holdfast-sys", "failfast-core", "failfast"]),
    ("fencing", &["holdfast-types"]),
    ("fencing-scsi", &["holdfast-sys", "cmm-scsi"]),
    ("cib", &["holdfast-types"]),
    ("admin", &["holdfast-sys", "cib"]),
    ("scheduler", &["holdfast-types", "cib"]),
    ("executor", &["holdfast-types", "holdfast-sys"]),
    ("status", &["holdfast-types"]),
    ("logconv", &[]),
    ("advice", &["cib", "logconv", "scheduler"]),
    (
        "cmmd",
        &[
            "holdfast-types",
            "holdfast-sys",
            "cmm-conf",
            "cmm-qdisk",
            "cmm-scsi",
            "cmm-qnet",
            "cmm-proto",
            "cmm-ipc",
            "failfast-core",
            "failfast",
            "fencing-scsi",
        ],
    ),
    (
        "rgmd",
        &[
            "holdfast-types",
            "holdfast-sys",
            "cmm-ipc",
            "failfast",
            "cib",
            "admin",
            "scheduler",
            "executor",
            "fencing",
            "status",
            "logconv",
            "advice",
        ],
    ),
    (
        "holdfast",
        &[
            "holdfast-types",
            "holdfast-sys",
            "cmm-conf",
            "cmm-qdisk",
            "cmm-scsi",
            "cmm-ipc",
            "failfast",
            "fencing-scsi",
            "cib",
            "admin",
            "scheduler",
            "status",
            "logconv",
            "advice",
        ],
    ),
];

/// Runs every check and reports all findings at once.
pub(crate) fn run() -> Result<()> {
    let root = crate::root();
    let mut findings = arrows(&root)?;
    let files = tracked(&root)?;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())?;
        findings.extend(rust_file(file, &text));
    }
    findings.extend(promises(&root, &files)?);
    for file in &files {
        if let Ok(text) = std::fs::read_to_string(root.join(file)) {
            findings.extend(stray_paths(file, &text));
        }
    }
    if findings.is_empty() {
        println!("tidy: {} files, {} crates, nothing to say", files.len(), ARROWS.len());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("{} findings", findings.len())
}

fn arrows(root: &Path) -> Result<Vec<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()?;
    if !out.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    }
    let metadata: Value = serde_json::from_slice(&out.stdout)?;
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let ours: BTreeMap<&str, &Value> =
        packages.iter().filter_map(|p| Some((p["name"].as_str()?, p))).collect();
    let mut findings = Vec::new();
    for (name, allowed) in ARROWS {
        let Some(package) = ours.get(name) else {
            findings.push(format!("tidy: crate {name} is in the table of arrows but not in the workspace"));
            continue;
        };
        let deps = package["dependencies"].as_array().unwrap_or(&empty);
        for dep in deps.iter().filter(|d| d["kind"].is_null()) {
            let dep = dep["name"].as_str().unwrap_or_default();
            if ours.contains_key(dep) && !allowed.contains(&dep) {
                findings.push(format!(
                    "{name}/Cargo.toml: may not depend on {dep} (docs/ARCHITECTURE.md, \"Arrows\")"
                ));
            }
            if PURE.contains(name) && ["nix", "libc", "mio", "io-uring", "socket2"].contains(&dep) {
                findings.push(format!("{name}/Cargo.toml: a crate without I/O may not depend on {dep}"));
            }
        }
    }
    for name in ours.keys().filter(|n| !ARROWS.iter().any(|(a, _)| a == *n)) {
        let manifest = ours[name]["manifest_path"].as_str().unwrap_or_default();
        if !manifest.contains("/tests/") {
            findings.push(format!("{name}: a shipped crate that the table of arrows does not know"));
        }
    }
    Ok(findings)
}

fn rust_file(file: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let name = file.display();
    if !text.lines().take(3).any(|l| l.starts_with("//!")) && !file.ends_with("build.rs") {
        findings.push(format!("{name}:1: no module comment; say in one line what the file is for"));
    }
    if !file.starts_with("cmm/sys") {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|u| code.contains(u))
                && !code.contains('"')
            {
                findings.push(format!("{name}:{}: unsafe outside cmm/sys; move it there", number + 1));
            }
        }
    }
    let lines = text.lines().count();
    if lines > 1_200 {
        findings.push(format!("{name}: {lines} lines; does one thing live here, or two?"));
    }
    findings
}

/// A promise names the tests that hold it: those that are not there (any more) hold nothing.
fn promises(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut tests = BTreeSet::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())?;
        tests.extend(text.lines().filter_map(test_name).map(str::to_owned));
    }
    let text = std::fs::read_to_string(root.join(PROMISES)).context(PROMISES)?;
    let lost = |(line, name): (usize, &str)| {
        (!tests.contains(name)).then(|| format!("{PROMISES}:{line}: no test is called `{name}`"))
    };
    Ok(named_tests(&text).into_iter().filter_map(lost).collect())
}

/// The name of the function that begins in a line, or of the test that a table of a macro has there (`NAME: WHAT by …`).
fn test_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = match line.split_once("fn ") {
        Some((before, name)) if !before.contains("//") => name,
        _ => line.split_once(": ").filter(|(_, rest)| rest.contains(" by "))?.0,
    };
    let end = name.find(|c: char| !is_of_name(c)).unwrap_or(name.len());
    Some(&name[..end]).filter(|name| !name.is_empty())
}

/// Tests named in the last column of the tables, with their lines: what stands in backticks and reads like a sentence.
fn named_tests(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, l)| l.starts_with('|')) {
        let last = line.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let quoted = last.split('`').skip(1).step_by(2);
        let is_sentence = |w: &&str| w.chars().all(is_of_name) && w.matches('_').count() > 2;
        found.extend(quoted.filter(is_sentence).map(|name| (number + 1, name)));
    }
    found
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// Where the promises stand.
const PROMISES: &str = "docs/SPECIFICATION.md";

/// Paths of the machine that something was written on do not belong in the tree.
fn stray_paths(file: &Path, text: &str) -> Vec<String> {
    let needles = [concat!("/wo", "rk/main"), concat!("/tmp/", "t/"), concat!("/wo", "rk/shared")];
    let hit = |line: &str| needles.iter().any(|n| line.contains(n));
    text.lines()
        .enumerate()
        .filter(|(_, line)| hit(line))
        .map(|(number, _)| format!("{}:{}: path of one machine", file.display(), number + 1))
        .collect()
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let out =
        Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().context("git ls-files")?;
    let listed = String::from_utf8_lossy(&out.stdout);
    Ok(listed
        .split('\0')
        .filter(|f| !f.is_empty())
        .map(PathBuf::from)
        .filter(|f| root.join(f).is_file())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_known_by_their_names_and_asked_for_by_the_tables() {
        let names =
            ["    fn one_of_three_waits() {", "pub(crate) fn x<T>(t: T)", "  a_lie_is_found: Lie by \"Q4\";"];
        assert_eq!(names.map(test_name), [Some("one_of_three_waits"), Some("x"), Some("a_lie_is_found")]);
        assert_eq!(["// fn not_this_one()", "let a = b;", "a: b,"].map(test_name), [None; 3]);
        let text = "| `not_the_first_one` | netns `one_of_three_waits`, sim; `qdisk`, `a b c_d_e_f` |\n`nor_what_is_outside`\n";
        assert_eq!(named_tests(text), [(1, "one_of_three_waits")]);
    }
}
