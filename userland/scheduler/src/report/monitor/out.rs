//! What is shown as it grows: lists in lists, as text, as a web page, or as elements for programs.

use std::fmt::Write;

/// An element of a page or of a document for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markup {
    /// Its name.
    pub name: String,
    /// Its attributes, in order.
    pub attributes: Vec<(String, String)>,
    /// What is inside: of an element with text, nothing else.
    pub children: Vec<Markup>,
    /// Its text.
    pub text: Option<String>,
}

impl Markup {
    /// An empty element.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// With one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these attributes besides; those without a value are left out.
    #[must_use]
    pub fn with_all(mut self, attributes: &[(&str, Option<&str>)]) -> Self {
        let given = attributes.iter().filter_map(|(n, v)| Some(((*n).to_owned(), (*v)?.to_owned())));
        self.attributes.extend(given);
        self
    }

    /// With text inside.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }
}

/// What it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Html,
    Xml,
}

/// A list's heading, once something stands in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heading(pub(super) bool);

/// What is shown so far.
pub(super) struct Out {
    pub(super) kind: Kind,
    /// Text without headings and marks.
    pub(super) plain: bool,
    text: String,
    level: usize,
    /// What is open, outermost first; the first one is never closed.
    open: Vec<Markup>,
}

impl Out {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, plain: false, text: String::new(), level: 0, open: vec![Markup::default()] }
    }

    /// The text, and the elements. What is still open ends here.
    pub(super) fn finish(mut self) -> (String, Vec<Markup>) {
        while self.open.len() > 1 {
            self.close();
        }
        (self.text, self.open.pop().unwrap_or_default().children)
    }

    /// What follows stands in a list that somebody else has begun.
    pub(super) fn indent(&mut self) {
        self.level += 1;
    }

    /// Text as it stands, where there is text.
    pub(super) fn raw(&mut self, text: &str) {
        if self.kind == Kind::Text {
            self.text.push_str(text);
        }
    }

    /// An empty line, where there is text.
    pub(super) fn spacer(&mut self, wanted: bool) {
        if wanted {
            self.raw("\n");
        }
    }

    /// An indented line of text.
    pub(super) fn line(&mut self, text: &str) {
        if self.level > 0 && !self.plain {
            let _ = write!(self.text, "{:1$}* ", "", 2 * self.level); // a String takes everything
        }
        let _ = writeln!(self.text, "{text}");
    }

    /// Begins a list unless that was done.
    pub(super) fn heading(&mut self, so_far: &mut Heading, spacer: bool, title: &str) {
        if !std::mem::replace(&mut so_far.0, true) {
            self.spacer(spacer);
            self.begin(Some(title));
        }
    }

    /// Ends a list if it was begun.
    pub(super) fn footer(&mut self, so_far: Heading) {
        if so_far.0 {
            self.end();
        }
    }

    /// Begins a list.
    pub(super) fn begin(&mut self, title: Option<&str>) {
        match self.kind {
            Kind::Text => {
                if let Some(title) = title.filter(|_| !self.plain) {
                    self.line(&format!("{title}:"));
                }
                self.level += 1;
            }
            Kind::Html => {
                // A list in a list stands in an item of its own.
                let nested = self.open.len() > 1;
                if nested {
                    self.open(Markup::new("li"));
                }
                if let Some(title) = title {
                    self.leaf(Markup::new(if nested { "h3" } else { "h2" }).with_text(title));
                }
                self.open(Markup::new("ul"));
            }
            Kind::Xml => {
                let title = title.unwrap_or_default();
                let known = LISTS.iter().find(|(from, _)| *from == title).map(|(_, to)| (*to).to_owned());
                let name = known.unwrap_or_else(|| title.to_ascii_lowercase());
                self.open(Markup::new(&name));
            }
        }
    }

    /// Ends the innermost list.
    pub(super) fn end(&mut self) {
        match self.kind {
            Kind::Text => self.level = self.level.saturating_sub(1),
            Kind::Html => {
                self.close();
                if self.open.len() > 1 {
                    self.close();
                }
            }
            Kind::Xml => self.close(),
        }
    }

    /// An item of a list.
    pub(super) fn item(&mut self, text: &str) {
        match self.kind {
            Kind::Text => self.line(text),
            Kind::Html => self.leaf(Markup::new("li").with_text(text)),
            Kind::Xml => self.leaf(Markup::new("item").with_text(text)),
        }
    }

    /// An item of a list with a name, which plain text leaves out.
    pub(super) fn named(&mut self, name: &str, text: &str) {
        if self.plain {
            self.item(text);
        } else {
            self.item(&format!("{name}: {text}"));
        }
    }

    /// An item of a list in pieces, each with its class on a page.
    pub(super) fn pieces(&mut self, pieces: &[(Option<&str>, &str)]) {
        if self.kind == Kind::Html {
            self.open(Markup::new("li"));
            for (class, text) in pieces {
                self.span(*class, text);
            }
            self.close();
        } else {
            self.item(&pieces.iter().map(|(_, text)| *text).collect::<String>());
        }
    }

    /// A piece of text of a page.
    pub(super) fn span(&mut self, class: Option<&str>, text: &str) {
        self.leaf(Markup::new("span").with_all(&[("class", class)]).with_text(text));
    }

    /// Begins an element.
    pub(super) fn open(&mut self, element: Markup) {
        self.open.push(element);
    }

    /// Ends the innermost element.
    pub(super) fn close(&mut self) {
        if self.open.len() > 1
            && let Some(element) = self.open.pop()
        {
            self.leaf(element);
        }
    }

    /// An element that is whole.
    pub(super) fn leaf(&mut self, element: Markup) {
        if let Some(around) = self.open.last_mut() {
            around.children.push(element);
        }
    }
}

/// Lists that are called otherwise where programs read them.
const LISTS: [(&str, &str); 10] = [
    ("Active Resources", "resources"),
    ("Cluster Summary", "summary"),
    ("Failed Resource Actions", "failures"),
    ("Fencing History", "fence_history"),
    ("Full List of Resources", "resources"),
    ("Inactive Resources", "resources"),
    ("Migration Summary", "node_history"),
    ("Negative Location Constraints", "bans"),
    ("Node Attributes", "node_attributes"),
    ("Operations", "node_history"),
];
