//! Topology: which devices have to succeed for which nodes, in which order.

use std::collections::BTreeMap;

use regex::Regex;

/// Nodes that a level is for.
#[derive(Clone, Debug)]
pub enum Target {
    /// This one.
    Name(String),
    /// Those whose name has a match.
    Pattern(Regex),
    /// Those that have a node attribute of this name and value.
    Attribute(String, String),
}

/// A topology level: devices that must all succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The victims.
    pub target: Target,
    /// Lower ones first.
    pub index: u32,
    /// Ids of its devices, in order.
    pub devices: Vec<String>,
}

impl Target {
    /// Nodes by pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn pattern(text: &str) -> Result<Self, String> {
        let wrong = |e: regex::Error| format!("\"{text}\" is no regular expression: {e}");
        Regex::new(text).map(Self::Pattern).map_err(wrong)
    }

    fn fits(&self, name: &str, attributes: Option<&BTreeMap<String, String>>) -> bool {
        match self {
            Self::Name(target) => target == name,
            Self::Pattern(pattern) => pattern.is_match(name),
            Self::Attribute(key, value) => attributes.and_then(|a| a.get(key)) == Some(value),
        }
    }
}

impl From<String> for Target {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a == b,
            (Self::Pattern(a), Self::Pattern(b)) => a.as_str() == b.as_str(),
            (Self::Attribute(k, v), Self::Attribute(l, w)) => (k, v) == (l, w),
            _ => false,
        }
    }
}

impl Eq for Target {}

/// The levels for a node: those that name it, else those of the first target that fits it. Targets are not mixed.
pub(crate) fn levels_for<'a>(
    levels: &'a [Level],
    name: &str,
    attributes: Option<&BTreeMap<String, String>>,
) -> Vec<&'a Level> {
    let named = levels.iter().find(|l| matches!(&l.target, Target::Name(n) if n == name));
    let target = named.or_else(|| levels.iter().find(|l| l.target.fits(name, attributes)));
    let mut found: Vec<&Level> =
        target.map(|t| levels.iter().filter(|l| l.target == t.target).collect()).unwrap_or_default();
    found.sort_by_key(|l| l.index);
    found
}
