//! The children of an element: a list that copies share until one of them is changed. A document of thousands of elements is
//! copied, compared with what it was and put together with a status for every change; of what a change has not touched
//! there is one.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::tree::Element;

/// Elements in document order. Used as the [`Vec`] that it is.
#[derive(Clone, Debug, Default)]
pub struct Children(Option<Arc<Vec<Element>>>);

static NONE: Vec<Element> = Vec::new();

impl Deref for Children {
    type Target = Vec<Element>;

    fn deref(&self) -> &Vec<Element> {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

/// Whoever asks for a list to change it gets one of its own.
impl DerefMut for Children {
    fn deref_mut(&mut self) -> &mut Vec<Element> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl PartialEq for Children {
    fn eq(&self, other: &Self) -> bool {
        let one = matches!((&self.0, &other.0), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        one || **self == **other
    }
}
impl Eq for Children {}

impl From<Vec<Element>> for Children {
    fn from(elements: Vec<Element>) -> Self {
        Self((!elements.is_empty()).then(|| Arc::new(elements)))
    }
}

impl FromIterator<Element> for Children {
    fn from_iter<I: IntoIterator<Item = Element>>(elements: I) -> Self {
        elements.into_iter().collect::<Vec<_>>().into()
    }
}

impl IntoIterator for Children {
    type Item = Element;
    type IntoIter = std::vec::IntoIter<Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

impl<'a> IntoIterator for &'a Children {
    type Item = &'a Element;
    type IntoIter = std::slice::Iter<'a, Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Children {
    type Item = &'a mut Element;
    type IntoIter = std::slice::IterMut<'a, Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Element {
        let mut root = Element::new("root");
        root.children.push(Element::new("a").with("id", "1"));
        root.children.push(Element::new("b").with("id", "2"));
        root.children[0].children.push(Element::new("c"));
        root
    }

    #[test]
    fn a_copy_is_changed_and_the_other_one_stays_as_it_was() {
        let before = list();
        let mut after = before.clone();
        after.children[0].children[0].attributes.insert("x", "y");
        assert_ne!(before, after);
        assert_eq!(before, list());
        assert!(Arc::ptr_eq(
            before.clone().children.0.as_ref().unwrap(),
            before.children.0.as_ref().unwrap()
        ));
        let shared = |root: &Element| root.children[1].children.0.as_ref().map(Arc::as_ptr);
        assert_eq!(shared(&before), shared(&after), "what was not touched is one");
        after.children.clear();
        assert_eq!(after, Element::new("root"), "a list that was emptied is as one that never was");
    }
}
