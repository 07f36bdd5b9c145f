//! What is wrong with a document, each with its place and the remedy: its grammar first, then what its parts say of each other.
//!
//! Nothing is looked up and nothing is changed. Documents of older families are brought to the third one before
//! ([`crate::upgrade`]); places stay those of the text.

mod grammar;
mod meaning;
mod shapes;

use std::fmt;

use crate::tree::{Element, Position};
use crate::upgrade::{SCHEMAS, THIRD, schema_index, upgrade};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The cluster cannot use it, or ignores part of it.
    Error,
    /// It works, and is probably not meant.
    Warning,
    /// Worth to know. A document with nothing worse is valid.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where the element begins. Zero for what an upgrade made.
    pub position: Position,
    /// The element with those around it, each with its id: `cib/configuration/resources/primitive[@id="db"]`.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{line}:{column}: {}: {}: {}; {}", self.severity, self.path, self.what, self.remedy)
    }
}

/// A document of the third family, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The document, brought to the third family.
    pub root: Element,
    /// What is wrong: grammar first, then meaning, each in document order. What parts say of each other is only judged once the
    /// grammar is right.
    pub findings: Vec<Finding>,
    /// The grammar is right, or was not to be checked: a scheduler can work on it.
    pub usable: bool,
}

/// Finds everything that is wrong with a document, of whatever schema.
#[must_use]
pub fn validate(root: Element) -> Validated {
    let (root, mut findings) = conforming(root);
    let usable = findings.iter().all(|f| f.severity != Severity::Error);
    if usable {
        findings.extend(meaning::check(&root));
    }
    Validated { root, findings, usable }
}

/// As [`validate`], its grammar only.
pub(crate) fn conforming(root: Element) -> (Element, Vec<Finding>) {
    let claimed = root.get("validate-with").map(str::to_owned);
    let root = upgrade(root).root;
    let mut findings = Vec::new();
    let path = Path(vec![&root]);
    let unchecked = claimed.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("none"));
    if unchecked {
        findings.push(path.finding(
            Severity::Warning,
            "validate-with=\"none\": the grammar of this document is checked by nobody",
            format!("write validate-with=\"{}\"", SCHEMAS[SCHEMAS.len() - 1]),
        ));
    } else if let Some(name) = claimed.filter(|name| !is_known(name)) {
        findings.push(path.finding(
            Severity::Error,
            format!("schema \"{}\" is not known", name.escape_debug()),
            format!("write validate-with=\"{}\"", SCHEMAS[SCHEMAS.len() - 1]),
        ));
    } else {
        findings = grammar::check(&root, schema_of(&root));
    }
    (root, findings)
}

fn is_known(schema: &str) -> bool {
    schema.eq_ignore_ascii_case("pacemaker-next") || schema_index(schema).is_some()
}

/// Which schema of the third family; the newest one where none is named.
fn schema_of(root: &Element) -> u8 {
    let claimed = root.get("validate-with").and_then(schema_index);
    claimed.map_or(NEWEST, |index| u8::try_from(index.saturating_sub(THIRD)).unwrap_or(NEWEST))
}

const NEWEST: u8 = 9;

/// The way from the root to where a check is.
#[derive(Default)]
struct Path<'c>(Vec<&'c Element>);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, element) in self.0.iter().enumerate() {
            let slash = if depth == 0 { "" } else { "/" };
            write!(f, "{slash}{}", element.name)?;
            if let Some(id) = element.id() {
                write!(f, "[@id=\"{}\"]", id.escape_debug())?;
            }
        }
        Ok(())
    }
}

impl Path<'_> {
    /// Something wrong with the innermost element.
    fn finding(&self, severity: Severity, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            severity,
            position: self.0.last().map(|e| e.position).unwrap_or_default(),
            path: self.to_string(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
