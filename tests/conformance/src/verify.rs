//! Documents with one thing wrong, and whether the predecessor's checker and ours call them valid.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use cib::{Element, Moment, Severity};
use scheduler::WorkingSet;

/// Whether ours calls a document valid.
#[must_use]
pub fn we_accept(document: &str) -> bool {
    let Ok(root) = Element::parse(document, "drawn") else { return false };
    let checked = cib::validate(root);
    if checked.findings.iter().any(|f| f.severity != Severity::Note) {
        return false;
    }
    let now = WorkingSet::recorded_time(&checked.root).unwrap_or(Moment(0));
    let Ok(mut set) = WorkingSet::new(&checked.root, now) else { return false };
    set.without_secrets = true;
    set.place();
    set.schedule();
    scheduler::concerns(&set).is_empty()
}

/// Whether the predecessor's calls it valid; `None`: it did not come to an answer.
///
/// # Errors
/// When the command cannot be run.
pub fn peer_accepts(document: &str) -> Result<Option<bool>> {
    let mut child = Command::new("crm_verify")
        .arg("-p")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("crm_verify cannot be run; install pacemaker-cli-utils")?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read to the end says so by its exit status.
        let _ = pipe.write_all(document.as_bytes());
    }
    Ok(match child.wait()?.code() {
        Some(0) => Some(true),
        Some(78) => Some(false),
        _ => None,
    })
}

/// The document with one small thing changed in its configuration, drawn by the seed, and what that was.
///
/// # Errors
/// When it is no XML.
pub fn mutate(document: &str, seed: u64) -> Result<(String, String)> {
    let mut root = Element::parse(document, "drawn")?;
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
    let mut ids = Vec::new();
    let Some(configuration) = root.children.iter_mut().find(|c| c.name == "configuration") else {
        return Ok((document.to_owned(), "nothing".into()));
    };
    configuration.walk(&mut |e| ids.extend(e.id().map(str::to_owned)));
    let count = count(configuration);
    let mut at = dice.below(count);
    let target = nth(configuration, &mut at).context("an element was counted that is not there")?;
    let what = change(target, &mut dice, &ids);
    Ok((root.to_xml(), what))
}

fn count(element: &Element) -> usize {
    1 + element.children.iter().map(count).sum::<usize>()
}

fn nth<'a>(element: &'a mut Element, left: &mut usize) -> Option<&'a mut Element> {
    if *left == 0 {
        return Some(element);
    }
    *left -= 1;
    element.children.iter_mut().find_map(|child| nth(child, left))
}

fn change(element: &mut Element, dice: &mut Dice, ids: &[String]) -> String {
    let names: Vec<String> = element.attributes.iter().map(|(name, _)| name.to_owned()).collect();
    let place = format!("<{} id={:?}>", element.name, element.id());
    let attribute = names.get(dice.below(names.len().max(1)));
    match (dice.below(8), attribute) {
        (0, Some(name)) => {
            element.attributes = element.attributes.iter().filter(|(n, _)| n != name).fold(
                cib::Pairs::default(),
                |mut kept, (name, value)| {
                    kept.insert(name, value);
                    kept
                },
            );
            format!("{place}: no {name}")
        }
        (1, Some(name)) => {
            element.attributes.insert(name, "no-such-thing");
            format!("{place}: {name}=no-such-thing")
        }
        (2, Some(name)) => {
            let id = &ids[dice.below(ids.len())];
            element.attributes.insert(name, id);
            format!("{place}: {name}={id}")
        }
        (3, _) => {
            element.attributes.insert("unknown", "1");
            format!("{place}: an unknown attribute")
        }
        (4, _) => {
            element.children.push(Element::new("unknown"));
            format!("{place}: an unknown element inside")
        }
        (5, _) if !element.children.is_empty() => {
            let which = dice.below(element.children.len());
            let gone = element.children.remove(which);
            format!("{place}: no <{} id={:?}>", gone.name, gone.id())
        }
        (6, _) if !element.children.is_empty() => {
            let again = element.children[dice.below(element.children.len())].clone();
            let what = format!("{place}: <{} id={:?}> twice", again.name, again.id());
            element.children.push(again);
            what
        }
        (_, Some(name)) => {
            element.attributes.insert(name, "");
            format!("{place}: {name} is empty")
        }
        _ => {
            element.name.push('x');
            format!("{place}: called {}", element.name)
        }
    }
}

/// Numbers by a seed: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}
