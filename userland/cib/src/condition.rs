//! Rules, wherever they stand: expressions on attributes, dates, kinds of resources and operations, joined and nested.
//!
//! A rule is evaluated on its element, with what its place lets it see.

use std::cell::Cell;
use std::cmp::Ordering;

use indexmap::IndexMap;

use crate::date::Moment;
use crate::tree::Element;

/// Attributes by name.
pub type Attributes = IndexMap<String, String>;

/// What a rule sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The time; `None`: no date passes.
    pub now: Option<Moment>,
    /// The node's attributes.
    pub node: Option<&'a Attributes>,
    /// The role in question.
    pub role: Option<&'a str>,
    /// Class, provider and type of the resource.
    pub agent: Option<(&'a str, Option<&'a str>, &'a str)>,
    /// Name and interval (ms) of the operation.
    pub operation: Option<(&'a str, u64)>,
    /// Parameters that an expression may compare with.
    pub parameters: Option<&'a Attributes>,
    /// Meta-attributes that an expression may compare with.
    pub meta: Option<&'a Attributes>,
    /// The earliest moment at which a date looked at may be judged otherwise.
    pub next_change: Option<&'a Cell<Option<Moment>>>,
}

impl Facts<'_> {
    /// Whether a rule accepts.
    #[must_use]
    pub fn accept(&self, rule: &Element) -> bool {
        let any = rule.get("boolean-op") == Some("or");
        let mut conditions = rule.children.iter().filter(|c| is_condition(c)).peekable();
        if conditions.peek().is_none() {
            return !any;
        }
        // All are looked at: each may say when it changes.
        let judged = conditions.map(|c| self.judge(c));
        judged.fold(!any, |so_far, one| if any { so_far || one } else { so_far && one })
    }

    /// Whether what carries these rules counts: without rules it does, else one has to accept.
    #[must_use]
    pub fn accept_any_rule(&self, element: &Element) -> bool {
        let mut rules = element.children_named("rule").peekable();
        rules.peek().is_none() || rules.filter(|rule| self.accept(rule)).count() > 0
    }

    fn judge(&self, condition: &Element) -> bool {
        match condition.name.as_str() {
            "rule" => self.accept(condition),
            "expression" => self.expression(condition),
            "date_expression" => self.date(condition),
            "rsc_expression" => self.agent.is_some_and(|(class, provider, kind)| {
                let same = |name: &str, is: &str| condition.get(name).is_none_or(|want| want == is);
                same("class", class) && same("type", kind) && condition.get("provider") == provider
            }),
            _ => self.operation.is_some_and(|(name, interval)| {
                let wanted = condition.get("interval").and_then(crate::parse_duration_ms);
                condition.get("name") == Some(name)
                    && condition.get("interval").is_none_or(|_| wanted == Some(interval))
            }),
        }
    }

    fn expression(&self, e: &Element) -> bool {
        let (Some(attribute), Some(operation)) = (e.get("attribute"), e.get("operation")) else {
            return false;
        };
        if attribute == "#role" {
            return self.role_expression(e, operation);
        }
        let Some(node) = self.node else { return false };
        let have = node.get(attribute).map(String::as_str);
        let named = e.get("value");
        let want = match (e.get("value-source"), named) {
            (Some("param"), Some(name)) => self.parameters.and_then(|p| p.get(name)).map(String::as_str),
            (Some("meta"), Some(name)) => self.meta.and_then(|m| m.get(name)).map(String::as_str),
            _ => named,
        };
        match operation {
            "defined" => return have.is_some(),
            "not_defined" => return have.is_none(),
            _ => {}
        }
        let order = match (have, want) {
            (Some(have), Some(want)) => compare(have, want, e.get("type"), operation),
            (None, None) => Ordering::Equal,
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
        };
        match operation {
            "eq" => order.is_eq(),
            "ne" => order.is_ne(),
            _ if have.is_none() || want.is_none() => false,
            "lt" => order.is_lt(),
            "lte" => order.is_le(),
            "gt" => order.is_gt(),
            "gte" => order.is_ge(),
            _ => false,
        }
    }

    fn role_expression(&self, e: &Element, operation: &str) -> bool {
        // A role is never unset: these two are about attributes.
        let Some(role) = self.role else { return operation == "not_defined" };
        let same = e.get("value").is_some_and(|v| v.eq_ignore_ascii_case(role));
        match operation {
            "defined" => true,
            "eq" => same,
            "ne" => !same,
            _ => false,
        }
    }

    fn date(&self, e: &Element) -> bool {
        let Some(now) = self.now else { return false };
        let start = e.get("start").and_then(Moment::parse);
        let mut end = e.get("end").and_then(Moment::parse);
        if let (None, Some(start), Some(duration)) = (end, start, e.child("duration")) {
            end = start.plus(duration);
        }
        match e.get("operation").unwrap_or("in_range") {
            "gt" => start.is_some_and(|start| {
                if now <= start {
                    self.changes_at(Moment(start.0 + 1));
                }
                now > start
            }),
            "lt" => end.is_some_and(|end| {
                if now < end {
                    self.changes_at(end);
                }
                now < end
            }),
            "date_spec" => e.child("date_spec").is_some_and(|spec| now.is_in(spec)),
            "in_range" => {
                if start.is_none() && end.is_none() {
                    return false;
                }
                if let Some(start) = start.filter(|start| now < *start) {
                    self.changes_at(start);
                    return false;
                }
                match end {
                    Some(end) if now > end => false,
                    Some(end) => {
                        self.changes_at(Moment(end.0 + 1));
                        true
                    }
                    None => true,
                }
            }
            _ => false,
        }
    }

    fn changes_at(&self, moment: Moment) {
        if let Some(next) = self.next_change {
            next.set(Some(next.get().map_or(moment, |so_far| so_far.min(moment))));
        }
    }
}

fn is_condition(element: &Element) -> bool {
    matches!(
        element.name.as_str(),
        "rule" | "expression" | "date_expression" | "rsc_expression" | "op_expression"
    )
}

fn compare(have: &str, want: &str, kind: Option<&str>, operation: &str) -> Ordering {
    let ordered = matches!(operation, "lt" | "lte" | "gt" | "gte");
    let kind = kind.unwrap_or(match ordered {
        false => "string",
        true if have.contains('.') || want.contains('.') => "number",
        true => "integer",
    });
    let text = || have.to_ascii_lowercase().cmp(&want.to_ascii_lowercase());
    match kind {
        "integer" => match (whole(have), whole(want)) {
            (Some(have), Some(want)) => have.cmp(&want),
            _ => text(),
        },
        "number" => match (have.trim().parse::<f64>(), want.trim().parse::<f64>()) {
            (Ok(have), Ok(want)) => have.partial_cmp(&want).unwrap_or_else(text),
            _ => text(),
        },
        "version" => compare_versions(have, want),
        _ => text(),
    }
}

/// A whole number; what stands behind a point is left out.
fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n as i64))
}

/// Dotted numbers, part by part; a missing part is zero.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<u64> { text.split('.').map(|p| p.parse().unwrap_or(0)).collect() };
    let (a, b) = (parts(a), parts(b));
    let at = |parts: &[u64], i: usize| parts.get(i).copied().unwrap_or(0);
    (0..a.len().max(b.len()))
        .map(|i| at(&a, i).cmp(&at(&b, i)))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}
