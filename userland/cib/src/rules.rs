//! Location rules: expressions on a node's name, id and attributes, joined by `and` or `or`.

use std::cmp::Ordering;

use indexmap::IndexMap;

use crate::values::Score;

/// What a rule sees of a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'a> {
    /// Its id in decimal.
    pub id: &'a str,
    /// Its name.
    pub uname: &'a str,
    /// Its attributes.
    pub attributes: &'a IndexMap<String, String>,
    /// It is the designated controller.
    pub dc: bool,
}

impl NodeFacts<'_> {
    fn get(&self, attribute: &str) -> Option<&str> {
        match attribute {
            "#uname" => Some(self.uname),
            "#id" => Some(self.id),
            "#kind" => Some("cluster"),
            "#is_dc" => Some(if self.dc { "true" } else { "false" }),
            other => self.attributes.get(other).map(String::as_str),
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// Score of the nodes it accepts; `None`: the value of `score_attribute`.
    pub score: Score,
    /// `score-attribute`: the node's attribute that holds the score; missing there: minus infinity.
    pub score_attribute: Option<String>,
    /// One condition is enough (`boolean-op="or"`).
    pub any: bool,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The attribute compares so with the value.
    Compare {
        /// Name of the attribute.
        attribute: String,
        /// How.
        comparison: Comparison,
        /// With what; empty for defined and not defined.
        value: String,
        /// Compared as numbers if both sides are, else as text.
        numeric: bool,
    },
    /// A rule in the rule.
    Nested(Rule),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Defined,
    NotDefined,
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
}

impl Comparison {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "defined" => Self::Defined,
            "not_defined" => Self::NotDefined,
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "lt" => Self::Lt,
            "lte" => Self::Lte,
            "gt" => Self::Gt,
            "gte" => Self::Gte,
            _ => return None,
        })
    }

    /// The four that order values compare as numbers unless told otherwise.
    pub(crate) fn is_ordering(self) -> bool {
        matches!(self, Self::Lt | Self::Lte | Self::Gt | Self::Gte)
    }
}

impl Rule {
    /// Whether the rule accepts the node. A rule without conditions accepts every node, unless one would be enough.
    #[must_use]
    pub fn accepts(&self, node: NodeFacts<'_>) -> bool {
        let mut results = self.conditions.iter().map(|c| c.holds(node));
        if self.any { results.any(|r| r) } else { results.all(|r| r) }
    }

    /// The score that it gives to a node it accepts.
    #[must_use]
    pub fn score_for(&self, node: NodeFacts<'_>) -> Score {
        match &self.score_attribute {
            None => self.score,
            Some(name) => node.get(name).and_then(Score::parse).unwrap_or(Score::MINUS_INFINITY),
        }
    }
}

impl Condition {
    fn holds(&self, node: NodeFacts<'_>) -> bool {
        match self {
            Self::Nested(rule) => rule.accepts(node),
            Self::Compare { attribute, comparison, value, numeric } => {
                compare(*comparison, node.get(attribute), value, *numeric)
            }
        }
    }
}

fn compare(comparison: Comparison, left: Option<&str>, right: &str, numeric: bool) -> bool {
    let Some(left) = left else {
        return matches!(comparison, Comparison::NotDefined | Comparison::Ne);
    };
    let ordering = match (numeric, left.parse::<i64>(), right.parse::<i64>()) {
        (true, Ok(l), Ok(r)) => l.cmp(&r),
        _ => left.to_lowercase().cmp(&right.to_lowercase()),
    };
    match comparison {
        Comparison::Defined => true,
        Comparison::NotDefined => false,
        Comparison::Eq => ordering == Ordering::Equal,
        Comparison::Ne => ordering != Ordering::Equal,
        Comparison::Lt => ordering == Ordering::Less,
        Comparison::Lte => ordering != Ordering::Greater,
        Comparison::Gt => ordering == Ordering::Greater,
        Comparison::Gte => ordering != Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_follow_the_table() {
        use Comparison::*;
        for (left, comparison, right, numeric, want) in [
            (Some("n1"), Eq, "N1", false, true),
            (Some("n1"), Ne, "n1", false, false),
            (None, Eq, "n1", false, false),
            (None, Ne, "n1", false, true),
            (None, Lt, "5", true, false),
            (None, NotDefined, "", false, true),
            (Some("x"), Defined, "", false, true),
            (Some("9"), Lt, "10", true, true),
            (Some("9"), Lt, "10", false, false),
            (Some("100"), Gte, "100", true, true),
            (Some("abc"), Lte, "100", true, false),
        ] {
            assert_eq!(compare(comparison, left, right, numeric), want, "{left:?} {comparison:?} {right}");
        }
    }
}
