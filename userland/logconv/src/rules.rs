//! The rule language of `pm_logconv_rules.conf`: which lines are looked at, and by whom.

use std::sync::LazyLock;

use regex::Regex;

use crate::event::Level;
use crate::failover::Cause;
use crate::find;
use crate::line::Raw;

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its section's name.
    pub name: String,
    /// Any of these, in each of which every expression must match, or must not (`false`).
    patterns: Vec<Vec<(Regex, bool)>>,
    /// Its handler.
    pub(crate) handler: String,
    /// The level of its messages, instead of their own.
    pub(crate) level: Option<Level>,
    /// What a fail-over may follow from.
    pub(crate) trigger: Cause,
}

/// Rules in their order; the first that matches a line counts.
#[derive(Clone, Debug)]
pub struct Rules(pub(crate) Vec<Rule>);

/// What is wrong with a file of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct RuleError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub what: String,
}

/// Most that an expression may take when it is compiled: a count in it must not take all memory.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

impl Rules {
    /// Those that know every generation of the logs.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    pub fn standard() -> Self {
        static STANDARD: LazyLock<Rules> =
            LazyLock::new(|| Rules::parse(Rules::STANDARD).expect("our own rules are valid"));
        STANDARD.clone()
    }

    /// The text of those, to begin a file of one's own with.
    pub const STANDARD: &'static str = include_str!("rules.conf");

    /// Reads a file of rules. A section `[Settings]` is none.
    ///
    /// # Errors
    /// Each line that is wrong, and rules that lack something.
    pub fn parse(text: &str) -> Result<Self, Vec<RuleError>> {
        let (mut rules, mut errors) = (Vec::<(usize, Rule)>::new(), Vec::new());
        let mut inside = false;
        for (at, line) in text.lines().enumerate() {
            let at = at + 1;
            let line = line.trim_start();
            if line.trim_end().is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                let name = section.trim_end().trim_end_matches(']').trim().to_owned();
                inside = name != "Settings";
                if inside {
                    let handler = String::new();
                    let rule =
                        Rule { name, patterns: Vec::new(), handler, level: None, trigger: Cause::None };
                    rules.push((at, rule));
                }
                continue;
            }
            if !inside && !rules.is_empty() {
                continue;
            }
            match rules.last_mut().filter(|_| inside) {
                Some((_, rule)) => {
                    if let Err(what) = rule.set(line) {
                        errors.push(RuleError { line: at, what });
                    }
                }
                None if text.contains("[Settings]") => {}
                None => errors.push(RuleError {
                    line: at,
                    what: "this stands before the first rule; begin one with [NAME]".to_owned(),
                }),
            }
        }
        for (line, rule) in &rules {
            let lacks = if rule.patterns.is_empty() {
                "a line pattern=EXPRESSION,EXPRESSION"
            } else if rule.handler.is_empty() {
                "a line func=HANDLER"
            } else {
                continue;
            };
            errors.push(RuleError { line: *line, what: format!("rule [{}] lacks {lacks}", rule.name) });
        }
        errors.sort_by_key(|e| e.line);
        if errors.is_empty() {
            Ok(Self(rules.into_iter().map(|(_, rule)| rule).collect()))
        } else {
            Err(errors)
        }
    }

    /// The first rule that matches.
    pub(crate) fn first(&self, raw: &Raw) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(&raw.normal))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rule {
    fn set(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("{:?} is no setting of a rule; {KNOWN}", line.trim_end()))?;
        let (name, trimmed) = (name.trim_end(), value.trim());
        match name {
            "func" => {
                let known =
                    find::handler(trimmed).is_some() || matches!(trimmed, find::STATIC | find::ORIGINAL);
                if !known {
                    let mut all: Vec<&str> = find::HANDLERS.iter().map(|(name, _)| *name).collect();
                    all.extend(find::ALIASES.iter().map(|(name, _)| *name));
                    all.extend([find::STATIC, find::ORIGINAL]);
                    all.sort_unstable();
                    return Err(format!("there is no handler {trimmed}; there are {}", all.join(", ")));
                }
                trimmed.clone_into(&mut self.handler);
            }
            "loglevel" => {
                let level = Level::parse(trimmed);
                self.level = Some(level.ok_or("loglevel is error, warning or info")?);
            }
            "fotrigger" => {
                self.trigger = match trimmed {
                    "1" => Cause::Resource,
                    "2" => Cause::Score,
                    "3" => Cause::Node,
                    _ => return Err("fotrigger is 1 (a resource), 2 (a score) or 3 (a node)".to_owned()),
                }
            }
            // Of releases that wrote down what they did not know.
            "ignoremsg" => {}
            _ if name == "pattern" || name.starts_with("pattern_") || name.starts_with("pattern.") => {
                self.patterns.push(expressions(value)?);
            }
            _ => return Err(format!("a rule has no setting {name}; {KNOWN}")),
        }
        Ok(())
    }

    fn matches(&self, line: &str) -> bool {
        self.patterns
            .iter()
            .any(|all| all.iter().all(|(expression, wanted)| expression.is_match(line) == *wanted))
    }
}

/// A blank before an expression counts, if it is the whole line's: ` corosync\[` is not `x-corosync[`.
fn expressions(value: &str) -> Result<Vec<(Regex, bool)>, String> {
    let mut all = Vec::new();
    for part in value.trim_end().split(',').filter(|part| !part.trim().is_empty()) {
        let (text, wanted) = match part.trim_start().strip_prefix('!') {
            Some(text) => (text, false),
            None => (part, true),
        };
        let built = regex::RegexBuilder::new(text).size_limit(EXPRESSION_BYTES_MAX).build();
        let built = built.map_err(|e| {
            let short = e.to_string().lines().last().unwrap_or_default().to_owned();
            format!("{text:?} is no regular expression ({short}); a comma ends one, and looking ahead is not supported")
        })?;
        all.push((built, wanted));
    }
    if all.is_empty() { Err("a pattern needs an expression".to_owned()) } else { Ok(all) }
}

const KNOWN: &str = "there are pattern=, pattern_NAME=, func=, loglevel= and fotrigger=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_rules_are_valid_and_every_handler_of_theirs_is_known() {
        assert!(Rules::standard().len() > 30);
    }

    #[test]
    fn the_first_rule_counts_and_expressions_can_be_forbidden() {
        let rules = Rules::parse(
            "[A]\npattern=crmd,info:,!_monitor_\nfunc=try_to_operate\n[B]\npattern_x=nothing\npattern_y=crmd\nfunc=no_output_msg\nfotrigger=3\nloglevel=warn\n",
        )
        .unwrap();
        let first = |line: &str| rules.first(&Raw::parse(line).unwrap()).map(|r| r.name.clone());
        assert_eq!(first("May 25 16:30:05 n crmd[1]: info: op=r_start_0").as_deref(), Some("A"));
        assert_eq!(first("May 25 16:30:05 n crmd[1]: info: op=r_monitor_0").as_deref(), Some("B"));
        assert_eq!(first("May 25 16:30:05 n cib[1]: info: x"), None);
        assert_eq!(rules.0[1].trigger, Cause::Node);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let errors = Rules::parse(
            "x=1\n[A]\npattern=(\nfunc=magic\nloglevel=loud\nfotrigger=4\nbad\n[B]\nfunc=no_output_msg\n",
        );
        let said: Vec<String> = errors.unwrap_err().iter().map(ToString::to_string).collect();
        for (line, text) in [
            (1, "before the first rule"),
            (2, "lacks a line pattern="),
            (3, "no regular expression"),
            (4, "no handler magic"),
            (5, "error, warning or info"),
            (6, "3 (a node)"),
            (7, "no setting of a rule"),
            (8, "lacks a line pattern="),
        ] {
            assert!(
                said.iter().any(|s| s.starts_with(&format!("line {line}: ")) && s.contains(text)),
                "{line}: {said:?}"
            );
        }
    }
}
