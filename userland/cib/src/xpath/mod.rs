//! XPath 1.0 on the tree: what commands select by, what access lists say, where a patch applies.
//!
//! All of the language but variables, namespaces and `id()`: a CIB has none of them. Its documents have no text either, so
//! `text()` selects nothing. Expressions come from users: their length, depth and work are bounded.

mod eval;
mod parse;

use std::fmt;

use crate::tree::Element;

/// Where an element stands: at each level, from the top, which child. Empty: the top itself.
pub type Place = Vec<usize>;

/// An expression that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct XPath(parse::Expr);

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct XPathError(String);

impl fmt::Display for XPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl XPath {
    /// Reads an expression.
    ///
    /// # Errors
    /// Where it is no XPath 1.0, or longer or deeper than any honest one.
    pub fn parse(text: &str) -> Result<Self, XPathError> {
        parse::parse(text).map(Self)
    }

    /// The elements that it selects in a document, in document order. An attribute stands for its element, so one may be there
    /// more than once; what is no set of nodes (`count(//op)`) selects nothing. As in Pacemaker there is no context to
    /// begin at: an expression begins with `/`.
    ///
    /// # Errors
    /// When it would take too long on this document.
    pub fn select(&self, root: &Element) -> Result<Vec<Place>, XPathError> {
        eval::select(&self.0, root)
    }

    /// Whether it selects this element, without asking for those below. Used where one document is asked often.
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn select_first(&self, root: &Element) -> Result<Option<Place>, XPathError> {
        Ok(self.select(root)?.into_iter().next())
    }
}

impl Element {
    /// The element at a place.
    #[must_use]
    pub fn at(&self, place: &[usize]) -> Option<&Element> {
        place.iter().try_fold(self, |element, child| element.children.get(*child))
    }

    /// As [`Self::at`], to change it.
    pub fn at_mut(&mut self, place: &[usize]) -> Option<&mut Element> {
        place.iter().try_fold(self, |element, child| element.children.get_mut(*child))
    }

    /// Takes the element at a place out. The top cannot be taken.
    pub fn take(&mut self, place: &[usize]) -> Option<Element> {
        let (last, above) = place.split_last()?;
        let parent = self.at_mut(above)?;
        (*last < parent.children.len()).then(|| parent.children.remove(*last))
    }

    /// The way to a place as an XPath that selects just it: `/cib/configuration/resources/primitive[@id='db']`.
    #[must_use]
    pub fn path_of(&self, place: &[usize]) -> String {
        let mut path = String::new();
        let mut at = Some(self);
        for depth in 0..=place.len() {
            let Some(element) = at else { break };
            path.push('/');
            path.push_str(&element.name);
            if let Some(id) = element.id() {
                path.push_str("[@id='");
                path.push_str(id);
                path.push_str("']");
            }
            at = place.get(depth).and_then(|child| element.children.get(*child));
        }
        path
    }
}
