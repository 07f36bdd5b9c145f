//! An expression on a document.
//!
//! Nodes are numbers in document order, so a set is a sorted list, and what lies below a node is a range.

use std::cell::Cell;

use super::parse::{Arithmetic, Axis, Compare, Expr, Function, Start, Step, Test};
use super::{Place, XPathError};
use crate::tree::Element;

/// Nodes that are looked at, at most: a fraction of a second, since a daemon may be asked. A plain `//name[@id='x']` looks at each node of a document a few times.
const WORK_MAX: u64 = 20_000_000;

pub(super) fn select(expr: &Expr, root: &Element) -> Result<Vec<Place>, XPathError> {
    let document = Document::new(root);
    let Value::Nodes(nodes) = document.value(expr, Context { node: Node::NOWHERE, position: 1, size: 1 })?
    else {
        return Ok(Vec::new());
    };
    // The document itself stands for its top element.
    Ok(nodes.into_iter().map(|node| document.place(node.entry.max(1))).collect())
}

/// An element or one of its attributes (counted from 1). Entry 0 is the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    entry: u32,
    attribute: u32,
}

impl Node {
    const DOCUMENT: Self = Self { entry: 0, attribute: 0 };
    const NOWHERE: Self = Self { entry: u32::MAX, attribute: 0 };

    fn element(entry: u32) -> Self {
        Self { entry, attribute: 0 }
    }
}

struct Entry<'e> {
    element: Option<&'e Element>,
    parent: u32,
    /// One past the last one below.
    end: u32,
    /// Which child of its parent.
    place: usize,
}

struct Document<'e> {
    entries: Vec<Entry<'e>>,
    work: Cell<u64>,
}

#[derive(Clone, Copy)]
struct Context {
    node: Node,
    position: usize,
    size: usize,
}

enum Value {
    Nodes(Vec<Node>),
    Text(String),
    Number(f64),
    Boolean(bool),
}

type Valued = Result<Value, XPathError>;

impl<'e> Document<'e> {
    fn new(root: &'e Element) -> Self {
        let mut entries = vec![Entry { element: None, parent: 0, end: 0, place: 0 }];
        enter(root, 0, 0, &mut entries);
        entries[0].end = count(&entries);
        Self { entries, work: Cell::new(0) }
    }

    fn entry(&self, node: Node) -> Option<&Entry<'e>> {
        self.entries.get(node.entry as usize)
    }

    fn place(&self, mut entry: u32) -> Place {
        let mut place = Vec::new();
        while entry > 1 {
            let at = &self.entries[entry as usize];
            place.push(at.place);
            entry = at.parent;
        }
        place.reverse();
        place
    }

    fn worked(&self, nodes: usize) -> Result<(), XPathError> {
        let work = self.work.get().saturating_add(nodes as u64);
        self.work.set(work);
        if work > WORK_MAX {
            return Err(XPathError(
                "XPath: this takes too long on this document; write a more direct one".into(),
            ));
        }
        Ok(())
    }

    fn value(&self, expr: &Expr, context: Context) -> Valued {
        self.worked(1)?;
        Ok(match expr {
            Expr::Or(a, b) => {
                Value::Boolean(truth(&self.value(a, context)?) || truth(&self.value(b, context)?))
            }
            Expr::And(a, b) => {
                Value::Boolean(truth(&self.value(a, context)?) && truth(&self.value(b, context)?))
            }
            Expr::Compare(how, a, b) => {
                let (a, b) = (self.value(a, context)?, self.value(b, context)?);
                Value::Boolean(self.compare(*how, &a, &b)?)
            }
            Expr::Arithmetic(how, a, b) => {
                let a = self.number(&self.value(a, context)?);
                let b = self.number(&self.value(b, context)?);
                Value::Number(match how {
                    Arithmetic::Add => a + b,
                    Arithmetic::Subtract => a - b,
                    Arithmetic::Multiply => a * b,
                    Arithmetic::Divide => a / b,
                    Arithmetic::Modulo => a % b,
                })
            }
            Expr::Negate(a) => Value::Number(-self.number(&self.value(a, context)?)),
            Expr::Union(a, b) => {
                let mut nodes = self.nodes(a, context)?;
                nodes.extend(self.nodes(b, context)?);
                sort(&mut nodes);
                Value::Nodes(nodes)
            }
            Expr::Literal(text) => Value::Text(text.clone()),
            Expr::Number(number) => Value::Number(*number),
            Expr::Call(function, arguments) => self.call(*function, arguments, context)?,
            Expr::Path { start, steps } => {
                let mut nodes = match start {
                    Start::Root => vec![Node::DOCUMENT],
                    Start::Context if context.node == Node::NOWHERE => Vec::new(),
                    Start::Context => vec![context.node],
                    Start::Of(expr, predicates) => {
                        // A value that is no set of nodes has no steps below it and nothing to choose from.
                        let mut nodes = self.nodes(expr, context)?;
                        for predicate in predicates {
                            nodes = self.chosen(nodes, predicate)?;
                        }
                        nodes
                    }
                };
                for step in steps {
                    nodes = self.step(&nodes, step)?;
                }
                Value::Nodes(nodes)
            }
        })
    }

    fn nodes(&self, expr: &Expr, context: Context) -> Result<Vec<Node>, XPathError> {
        match self.value(expr, context)? {
            Value::Nodes(nodes) => Ok(nodes),
            _ => Err(XPathError("XPath: a set of nodes is needed where a value stands".into())),
        }
    }

    fn step(&self, from: &[Node], step: &Step) -> Result<Vec<Node>, XPathError> {
        let mut all = Vec::new();
        for node in from {
            let mut found = Vec::new();
            self.along(*node, step.axis, &mut |candidate| {
                if self.fits(candidate, step.axis, &step.test) {
                    found.push(candidate);
                }
            })?;
            for predicate in &step.predicates {
                found = self.chosen(found, predicate)?;
            }
            all.extend(found);
        }
        sort(&mut all);
        Ok(all)
    }

    /// What a predicate leaves, in the order given: a number chooses by position.
    fn chosen(&self, nodes: Vec<Node>, predicate: &Expr) -> Result<Vec<Node>, XPathError> {
        let size = nodes.len();
        let mut left = Vec::new();
        for (i, node) in nodes.into_iter().enumerate() {
            let keep = match self.value(predicate, Context { node, position: i + 1, size })? {
                #[expect(clippy::float_cmp, reason = "a position is a whole number")]
                #[expect(clippy::cast_precision_loss, reason = "no document has so many nodes")]
                Value::Number(number) => number == (i + 1) as f64,
                value => truth(&value),
            };
            if keep {
                left.push(node);
            }
        }
        Ok(left)
    }

    /// The nodes of an axis, in its own order: backwards for those that look back.
    fn along(&self, node: Node, axis: Axis, take: &mut impl FnMut(Node)) -> Result<(), XPathError> {
        let Some(entry) = self.entry(node) else { return Ok(()) };
        let is_attribute = node.attribute > 0;
        let own = node.entry;
        // An attribute has an element above it and nothing below.
        let parent = match (is_attribute, own) {
            (true, own) => Some(own),
            (false, 0) => None,
            (false, _) => Some(entry.parent),
        };
        match axis {
            Axis::Own => take(node),
            Axis::Parent => {
                if let Some(parent) = parent {
                    take(Node::element(parent));
                }
            }
            Axis::Ancestor | Axis::AncestorOrSelf => {
                if axis == Axis::AncestorOrSelf {
                    take(node);
                }
                let mut at = parent;
                while let Some(above) = at {
                    self.worked(1)?;
                    take(Node::element(above));
                    at = (above > 0).then(|| self.entries[above as usize].parent);
                }
            }
            Axis::Attribute if !is_attribute => {
                let number = entry.element.map_or(0, |e| e.attributes.len());
                self.worked(number)?;
                (0..number).for_each(|i| {
                    take(Node { entry: own, attribute: u32::try_from(i + 1).unwrap_or(u32::MAX) });
                });
            }
            Axis::Child if !is_attribute => self.children(own + 1, entry.end, take)?,
            Axis::Descendant | Axis::DescendantOrSelf => {
                if axis == Axis::DescendantOrSelf {
                    take(node);
                }
                if !is_attribute {
                    self.worked((entry.end - own) as usize)?;
                    (own + 1..entry.end).for_each(|below| take(Node::element(below)));
                }
            }
            Axis::FollowingSibling if !is_attribute && own > 0 => {
                self.children(entry.end, self.entries[entry.parent as usize].end, take)?;
            }
            Axis::PrecedingSibling if !is_attribute && own > 0 => {
                let mut before = Vec::new();
                self.children(entry.parent + 1, own, &mut |node| before.push(node))?;
                before.into_iter().rev().for_each(take);
            }
            Axis::Following => {
                let begin = if is_attribute { own + 1 } else { entry.end };
                let end = count(&self.entries);
                self.worked(end.saturating_sub(begin) as usize)?;
                (begin..end).for_each(|after| take(Node::element(after)));
            }
            Axis::Preceding => {
                self.worked(own as usize)?;
                for before in (1..own).rev() {
                    // What it lies in is above it, not before it.
                    if self.entries[before as usize].end <= own {
                        take(Node::element(before));
                    }
                }
            }
            Axis::Attribute | Axis::Child | Axis::FollowingSibling | Axis::PrecedingSibling => {}
        }
        Ok(())
    }

    /// Siblings from one on, up to where what they lie in ends.
    fn children(&self, mut at: u32, end: u32, take: &mut impl FnMut(Node)) -> Result<(), XPathError> {
        let mut number = 0;
        while at < end {
            number += 1;
            take(Node::element(at));
            at = self.entries[at as usize].end;
        }
        self.worked(number)
    }

    fn fits(&self, node: Node, axis: Axis, test: &Test) -> bool {
        let own_kind = (node.attribute > 0) == (axis == Axis::Attribute) && node != Node::DOCUMENT;
        match test {
            Test::Any => true,
            Test::Nothing => false,
            Test::Star => own_kind,
            Test::Name(name) => own_kind && self.name(node) == name,
        }
    }

    fn name(&self, node: Node) -> &str {
        let element = self.entry(node).and_then(|e| e.element);
        match (element, node.attribute.checked_sub(1)) {
            (Some(element), None) => &element.name,
            (Some(element), Some(i)) => element.attributes.keys().nth(i as usize).unwrap_or_default(),
            (None, _) => "",
        }
    }

    /// The value of an attribute; elements have no text.
    fn text_of(&self, node: Node) -> &str {
        let element = self.entry(node).and_then(|e| e.element);
        match (element, node.attribute.checked_sub(1)) {
            (Some(element), Some(i)) => {
                element.attributes.iter().nth(i as usize).map_or("", |(_, value)| value)
            }
            _ => "",
        }
    }

    fn text(&self, value: &Value) -> String {
        match value {
            Value::Nodes(nodes) => nodes.first().map_or("", |n| self.text_of(*n)).to_owned(),
            Value::Text(text) => text.clone(),
            Value::Number(number) => written(*number),
            Value::Boolean(is) => is.to_string(),
        }
    }

    fn number(&self, value: &Value) -> f64 {
        match value {
            Value::Number(number) => *number,
            Value::Boolean(is) => f64::from(u8::from(*is)),
            Value::Nodes(_) | Value::Text(_) => read(&self.text(value)),
        }
    }

    fn compare(&self, how: Compare, a: &Value, b: &Value) -> Result<bool, XPathError> {
        let ordered = !matches!(how, Compare::Equal | Compare::NotEqual);
        Ok(match (a, b) {
            (Value::Nodes(left), Value::Nodes(right)) => {
                self.worked(left.len().saturating_mul(right.len()))?;
                left.iter().any(|l| {
                    let l = self.text_of(*l);
                    right.iter().any(|r| {
                        let r = self.text_of(*r);
                        if ordered {
                            holds(how, read(l), read(r))
                        } else {
                            (l == r) == (how == Compare::Equal)
                        }
                    })
                })
            }
            (Value::Nodes(_), Value::Boolean(is)) if !ordered => (truth(a) == *is) == (how == Compare::Equal),
            (Value::Boolean(is), Value::Nodes(_)) if !ordered => (truth(b) == *is) == (how == Compare::Equal),
            (Value::Nodes(nodes), other) => {
                self.worked(nodes.len())?;
                nodes.iter().any(|node| self.single(how, &Value::Text(self.text_of(*node).to_owned()), other))
            }
            (other, Value::Nodes(nodes)) => {
                self.worked(nodes.len())?;
                nodes.iter().any(|node| self.single(how, other, &Value::Text(self.text_of(*node).to_owned())))
            }
            _ => self.single(how, a, b),
        })
    }

    /// Two values, neither a set.
    fn single(&self, how: Compare, a: &Value, b: &Value) -> bool {
        if matches!(how, Compare::Equal | Compare::NotEqual) {
            let equal = match (a, b) {
                (Value::Boolean(_), _) | (_, Value::Boolean(_)) => truth(a) == truth(b),
                #[expect(clippy::float_cmp, reason = "so XPath compares numbers")]
                (Value::Number(_), _) | (_, Value::Number(_)) => self.number(a) == self.number(b),
                _ => self.text(a) == self.text(b),
            };
            return equal == (how == Compare::Equal);
        }
        holds(how, self.number(a), self.number(b))
    }

    fn call(&self, function: Function, arguments: &[Expr], context: Context) -> Valued {
        let value = |i: usize| -> Valued {
            match arguments.get(i) {
                Some(argument) => self.value(argument, context),
                // What is left out stands for the node at hand.
                None => Ok(Value::Nodes(vec![context.node])),
            }
        };
        let text = |i: usize| value(i).map(|v| self.text(&v));
        let number = |i: usize| value(i).map(|v| self.number(&v));
        #[expect(clippy::cast_precision_loss, reason = "no document has so many nodes")]
        let counted = |n: usize| Value::Number(n as f64);
        Ok(match function {
            Function::True => Value::Boolean(true),
            Function::False => Value::Boolean(false),
            Function::Not => Value::Boolean(!truth(&value(0)?)),
            Function::Boolean => Value::Boolean(truth(&value(0)?)),
            Function::Position => counted(context.position),
            Function::Last => counted(context.size),
            Function::Count | Function::Sum => {
                let Some(argument) = arguments.first() else { return Ok(Value::Number(0.0)) };
                let nodes = self.nodes(argument, context)?;
                if function == Function::Count {
                    return Ok(counted(nodes.len()));
                }
                Value::Number(nodes.iter().map(|n| read(self.text_of(*n))).sum())
            }
            Function::Name => match value(0)? {
                Value::Nodes(nodes) => Value::Text(nodes.first().map_or("", |n| self.name(*n)).to_owned()),
                _ => return Err(XPathError("XPath: name() is of a node, not of a value".into())),
            },
            Function::String => Value::Text(text(0)?),
            Function::Number => Value::Number(number(0)?),
            Function::Floor => Value::Number(number(0)?.floor()),
            Function::Ceiling => Value::Number(number(0)?.ceil()),
            Function::Round => Value::Number((number(0)? + 0.5).floor()),
            Function::Concat => {
                let mut all = String::new();
                for i in 0..arguments.len() {
                    all.push_str(&text(i)?);
                }
                Value::Text(all)
            }
            Function::Contains => Value::Boolean(text(0)?.contains(&text(1)?)),
            Function::StartsWith => Value::Boolean(text(0)?.starts_with(&text(1)?)),
            Function::StringLength => counted(text(0)?.chars().count()),
            Function::NormalizeSpace => {
                Value::Text(text(0)?.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
            }
            Function::SubstringBefore => {
                let (text, mark) = (text(0)?, text(1)?);
                Value::Text(text.find(&mark).map_or("", |at| &text[..at]).to_owned())
            }
            Function::SubstringAfter => {
                let (text, mark) = (text(0)?, text(1)?);
                Value::Text(text.find(&mark).map_or("", |at| &text[at + mark.len()..]).to_owned())
            }
            Function::Substring => {
                let (text, from) = (text(0)?, (number(1)? + 0.5).floor());
                let to = match arguments.get(2) {
                    Some(_) => from + (number(2)? + 0.5).floor(),
                    None => f64::INFINITY,
                };
                let mut at = 0.0;
                let inside = text.chars().filter(|_| {
                    at += 1.0;
                    at >= from && at < to
                });
                Value::Text(inside.collect())
            }
            Function::Translate => {
                let (text, from, to) = (text(0)?, text(1)?, text(2)?);
                let to: Vec<char> = to.chars().collect();
                let changed = text.chars().filter_map(|c| match from.chars().position(|f| f == c) {
                    Some(i) => to.get(i).copied(),
                    None => Some(c),
                });
                Value::Text(changed.collect())
            }
        })
    }
}

fn enter<'e>(element: &'e Element, parent: u32, place: usize, entries: &mut Vec<Entry<'e>>) {
    let own = count(entries);
    entries.push(Entry { element: Some(element), parent, end: 0, place });
    for (i, child) in element.children.iter().enumerate() {
        enter(child, own, i, entries);
    }
    entries[own as usize].end = count(entries);
}

fn count(entries: &[Entry<'_>]) -> u32 {
    // A document has some millions of elements at most.
    u32::try_from(entries.len()).unwrap_or(u32::MAX)
}

fn sort(nodes: &mut Vec<Node>) {
    if !nodes.is_sorted_by(|a, b| a < b) {
        nodes.sort_unstable();
        nodes.dedup();
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Nodes(nodes) => !nodes.is_empty(),
        Value::Text(text) => !text.is_empty(),
        Value::Number(number) => *number != 0.0 && !number.is_nan(),
        Value::Boolean(is) => *is,
    }
}

fn holds(how: Compare, a: f64, b: f64) -> bool {
    match how {
        Compare::Less => a < b,
        Compare::LessOrEqual => a <= b,
        Compare::Greater => a > b,
        Compare::GreaterOrEqual => a >= b,
        #[expect(clippy::float_cmp, reason = "so XPath compares numbers")]
        Compare::Equal => a == b,
        #[expect(clippy::float_cmp, reason = "so XPath compares numbers")]
        Compare::NotEqual => a != b,
    }
}

/// Digits with one point and a sign at most: what else Rust would read is no number here.
fn read(text: &str) -> f64 {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        text.parse().unwrap_or(f64::NAN)
    } else {
        f64::NAN
    }
}

fn written(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if number == 0.0 { "0".to_owned() } else { number.to_string() }
}
