//! The attributes of an element: few, in order, and short. A history has a million of them, so they are searched one after the other,
//! and what has up to 23 bytes stands in place.

use smol_str::SmolStr;

/// Names and values in document order, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(SmolStr, SmolStr)>);

impl Pairs {
    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether a name is there.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a value, in its old place, or at the end.
    pub fn insert(&mut self, name: &str, value: impl AsRef<str>) {
        let value = SmolStr::new(value);
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((SmolStr::new(name), value)),
        }
    }

    /// Sets a value unless there is one; the one that is there now.
    pub fn or_insert(&mut self, name: &str, value: &str) -> &str {
        let at = self.0.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
            self.0.push((SmolStr::new(name), SmolStr::new(value)));
            self.0.len() - 1
        });
        &self.0[at].1
    }

    /// Takes a name out; the others stay in their order.
    pub fn remove(&mut self, name: &str) -> Option<SmolStr> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All names, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
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

    /// From the parser, which has seen to it that each name is there once.
    #[expect(
        clippy::drain_collect,
        reason = "the list keeps its room for the next element, these get just theirs"
    )]
    pub(crate) fn of(pairs: &mut Vec<(SmolStr, SmolStr)>) -> Self {
        Self(pairs.drain(..).collect())
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut all = Self::default();
        for (name, value) in pairs {
            all.insert(name.as_ref(), value);
        }
        all
    }
}
