//! The predecessor's command and ours on one document.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cib::{Element, Moment};
use scheduler::simulate::{Event, carry_out};
use scheduler::{WorkingSet, current_status, revised_status, transition_summary};

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Aspect {
    /// Its name.
    pub name: &'static str,
    /// The command's options for it.
    options: &'static [&'static str],
    /// Their order counts.
    ordered: bool,
    ours: fn(&Element) -> Result<String>,
}

impl Aspect {
    /// All that there are.
    pub const ALL: &'static [Self] = &[
        Self { name: "current", options: &[], ordered: true, ours: our_status },
        Self { name: "scores", options: &["-sQ"], ordered: false, ours: our_scores },
        Self { name: "simulated", options: &["-S"], ordered: true, ours: our_simulation },
        Self { name: "drawing", options: &["-Q", "-D", "/dev/stdout"], ordered: false, ours: our_drawing },
    ];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.name == name)
    }
}

/// Where the two differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// In what.
    pub aspect: &'static str,
    /// Lines that only the peer has, with `-` before them, and that only we have, with `+`.
    pub lines: Vec<String>,
}

/// Whether the peer's command is there, in the version that decides what is right.
#[must_use]
pub fn is_installed() -> bool {
    let output = Command::new("crm_simulate").arg("--version").output();
    output.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("Pacemaker 2.1.5"))
}

/// What differs for a document; `None`: the peer itself could not be asked (it aborts on some).
///
/// # Errors
/// When the peer's command cannot be run, or the document is none.
pub fn compare(document: &str, aspects: &[Aspect]) -> Result<Option<Vec<Difference>>> {
    let root = Element::parse(document, "drawn").context("a drawn document is no XML")?;
    let mut differences = Vec::new();
    for aspect in aspects {
        let Some(theirs) = ask_peer(document, aspect.options)? else { return Ok(None) };
        let ours = (aspect.ours)(&root)?;
        let (mut want, mut have) = (lines(&theirs), lines(&ours));
        if !aspect.ordered {
            want.sort();
            have.sort();
        }
        if want != have {
            differences.push(Difference { aspect: aspect.name, lines: difference(&want, &have) });
        }
    }
    Ok(Some(differences))
}

fn ask_peer(document: &str, options: &[&str]) -> Result<Option<String>> {
    let mut child = Command::new("crm_simulate")
        .args(["-p"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("crm_simulate cannot be run; install pacemaker-cli-utils")?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read to the end says why itself.
        let _ = pipe.write_all(document.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.code().is_none() {
        return Ok(None);
    }
    // A graph that cannot be carried out to its end is an answer, too.
    let answered = output.status.code() == Some(1) && options.contains(&"-S");
    if !output.status.success() && !answered {
        bail!("crm_simulate ends with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn working_set(root: &Element) -> Result<WorkingSet<'_>> {
    let now = WorkingSet::recorded_time(root).unwrap_or(Moment(0));
    let mut set = WorkingSet::new(root, now)?;
    set.without_secrets = true;
    Ok(set)
}

fn our_status(root: &Element) -> Result<String> {
    Ok(current_status(&working_set(root)?, WorkingSet::recorded_time(root).is_some()))
}

fn our_scores(root: &Element) -> Result<String> {
    let mut set = working_set(root)?;
    set.place();
    Ok(set.scores().to_owned())
}

fn our_simulation(root: &Element) -> Result<String> {
    let recorded = WorkingSet::recorded_time(root);
    let mut set = working_set(root)?;
    let mut text = current_status(&set, recorded.is_some());
    set.place();
    set.schedule();
    let graph = set.graph();
    text += &transition_summary(&mut set);
    text += "Executing Cluster Transition:\n";
    let done = carry_out(&graph, &set, &[], recorded.unwrap_or(Moment(0)));
    for line in done.events.iter().filter_map(Event::line) {
        text += &line;
    }
    text += &revised_status(&working_set(&done.cib)?, recorded.is_some());
    Ok(text)
}

fn our_drawing(root: &Element) -> Result<String> {
    let mut set = working_set(root)?;
    set.place();
    set.schedule();
    set.graph();
    // Looking at what changes gives actions their nodes, which shows in the drawing.
    let _ = transition_summary(&mut set);
    Ok(set.dot(false))
}

fn lines(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).filter(|l| !l.is_empty()).collect()
}

/// Lines that one of the two has more often.
fn difference(want: &[String], have: &[String]) -> Vec<String> {
    let mut left: Vec<&String> = have.iter().collect();
    let mut found = Vec::new();
    for line in want {
        match left.iter().position(|l| *l == line) {
            Some(at) => drop(left.swap_remove(at)),
            None => found.push(format!("-{line}")),
        }
    }
    found.extend(left.into_iter().map(|line| format!("+{line}")));
    if found.is_empty() {
        found.push(" the same lines in another order".to_owned());
    }
    found.sort_by(|a, b| a[1..].cmp(&b[1..]));
    found
}
