//! What a command of Pacemaker's says, as text or as the XML that its programs read. XML is written when the command ends, with
//! the exit status in it.

use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;

use cib::Element;

use super::results::exit_text;
use crate::exit::Exit;
use crate::io::Io;

/// An element that may hold text.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    name: String,
    attributes: Vec<(String, String)>,
    content: Vec<Content>,
}

#[derive(Clone, Debug)]
enum Content {
    Node(Node),
    Text(String),
    Raw(String),
}

impl Node {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// With one more attribute.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.push((name.to_owned(), value.into()));
        self
    }

    /// With an attribute, if there is a value.
    pub(super) fn maybe(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With text inside.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.content.push(Content::Text(text.to_owned()));
        self
    }

    /// With text inside that is written as it is.
    pub(super) fn raw(mut self, text: &str) -> Self {
        self.content.push(Content::Raw(text.to_owned()));
        self
    }

    pub(super) fn push(&mut self, child: Node) {
        self.content.push(Content::Node(child));
    }

    fn elements(&self) -> usize {
        self.content.iter().filter(|c| matches!(c, Content::Node(_))).count()
    }

    fn write(&self, depth: usize, formatted: bool, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attributes {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            cib::escape(value, out);
            out.push('"');
        }
        if self.content.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        let formatted = formatted && !self.content.iter().any(|c| !matches!(c, Content::Node(_)));
        for child in &self.content {
            if formatted {
                out.push('\n');
                out.push_str(&"  ".repeat(depth + 1));
            }
            match child {
                Content::Node(node) => node.write(depth + 1, formatted, out),
                Content::Text(text) => {
                    for c in text.chars() {
                        match c {
                            '&' => out.push_str("&amp;"),
                            '<' => out.push_str("&lt;"),
                            '>' => out.push_str("&gt;"),
                            '\r' => out.push_str("&#13;"),
                            c => out.push(c),
                        }
                    }
                }
                Content::Raw(text) => {
                    out.push_str("<![CDATA[");
                    out.push_str(&text.replace("]]>", "]]]]><![CDATA[>"));
                    out.push_str("]]>");
                }
            }
        }
        if formatted {
            out.push('\n');
            out.push_str(&"  ".repeat(depth));
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
    }
}

impl From<&Element> for Node {
    fn from(element: &Element) -> Self {
        Self {
            name: element.name.clone(),
            attributes: element.attributes.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            content: element.children.iter().map(|c| Content::Node(c.into())).collect(),
        }
    }
}

/// Where a command's words go.
pub(super) struct Out<'i> {
    io: &'i mut Io,
    /// Only what was asked for.
    pub(super) quiet: bool,
    /// Text with headings and indented lists.
    pub(super) fancy: bool,
    /// Lists are elements of their own name in XML.
    pub(super) simple_lists: bool,
    /// Elements that are open, the outermost first; `None`: text is written.
    xml: Option<Vec<Node>>,
    /// How deep text is indented.
    level: usize,
    errors: Vec<String>,
    file: Option<File>,
}

impl<'i> Out<'i> {
    /// `called` is the command line for the XML form; `None` makes it text.
    pub(super) fn new(called: Option<&[String]>, file: Option<File>, io: &'i mut Io) -> Self {
        let root = called.map(|words| {
            let request: Vec<String> = words.iter().map(|w| quoted(w)).collect();
            vec![Node::new("pacemaker-result").with("api-version", "2.25").with("request", request.join(" "))]
        });
        Self {
            io,
            quiet: false,
            fancy: false,
            simple_lists: false,
            xml: root,
            level: 0,
            errors: Vec::new(),
            file,
        }
    }

    pub(super) fn is_xml(&self) -> bool {
        self.xml.is_some()
    }

    /// XML knows no quiet form.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet && !self.is_xml()
    }

    /// The streams themselves, for what is no part of the answer.
    pub(super) fn io(&mut self) -> &mut Io {
        self.io
    }

    /// Text as it is; nothing in XML.
    pub(super) fn print(&mut self, text: Arguments<'_>) {
        if self.is_xml() {
            return;
        }
        self.write(text);
    }

    fn write(&mut self, text: Arguments<'_>) {
        match &mut self.file {
            // A disk that is full is told of by the exit status of whoever reads the file.
            Some(file) => drop(file.write_fmt(text)),
            None => self.io.say(text),
        }
    }

    /// A line that a quiet reader does not want, and XML does not have.
    pub(super) fn info(&mut self, text: Arguments<'_>) {
        if !self.quiet {
            self.print(format_args!("{text}\n"));
        }
    }

    /// What went wrong: standard error, or the errors of the XML.
    pub(super) fn error(&mut self, text: Arguments<'_>) {
        if self.is_xml() {
            self.errors.push(text.to_string());
        } else {
            self.io.complain(format_args!("{text}\n"));
        }
    }

    /// Opens a list.
    pub(super) fn list(&mut self, heading: &str) {
        if self.is_xml() {
            let name = heading.to_lowercase();
            let node =
                if self.simple_lists { Node::new(&name) } else { Node::new("list").with("name", name) };
            self.open(node);
        } else {
            if self.fancy && !heading.is_empty() {
                self.indented(format_args!("{heading}:"));
            }
            self.level += 1;
        }
    }

    /// Closes the list.
    pub(super) fn end(&mut self) {
        if !self.is_xml() {
            self.level -= 1;
        } else if self.simple_lists {
            self.close();
        } else {
            let mut node = self.take();
            let count = node.elements().to_string();
            node = node.with("count", count);
            self.add(node);
        }
    }

    /// An entry of a list, with a name that only XML and fancy text have.
    pub(super) fn item(&mut self, name: Option<&str>, text: &str) {
        if self.is_xml() {
            let node = Node::new("item").maybe("name", name).text(text);
            self.add(node);
        } else {
            match name.filter(|_| self.fancy) {
                Some(name) => self.indented(format_args!("{name}: {text}")),
                None => self.indented(format_args!("{text}")),
            }
        }
    }

    /// A line of text, indented if that is wanted.
    pub(super) fn indented(&mut self, text: Arguments<'_>) {
        let level = self.level;
        if self.fancy && level > 0 {
            self.print(format_args!("{}* {text}\n", "  ".repeat(level)));
        } else {
            self.print(format_args!("{text}\n"));
        }
    }

    /// An element of the answer; nothing in text.
    pub(super) fn add(&mut self, node: Node) {
        if let Some(open) = self.xml.as_mut().and_then(|x| x.last_mut()) {
            open.push(node);
        }
    }

    /// An element that following ones go into.
    pub(super) fn open(&mut self, node: Node) {
        if let Some(open) = &mut self.xml {
            open.push(node);
        }
    }

    /// Ends the element that was opened last.
    pub(super) fn close(&mut self) {
        if self.is_xml() {
            let node = self.take();
            self.add(node);
        }
    }

    fn take(&mut self) -> Node {
        let open = self.xml.as_mut();
        // The answer itself stays open until the end.
        open.filter(|open| open.len() > 1).and_then(Vec::pop).unwrap_or_default()
    }

    /// XML as a part of the answer: as it is, or under `name`.
    pub(super) fn document(&mut self, name: &str, text: &str) {
        if self.is_xml() {
            self.add(Node::new(name).raw(text));
        } else if self.fancy && self.level > 0 {
            let level = self.level;
            self.print(format_args!("{}* {text}", "  ".repeat(level)));
        } else {
            self.print(format_args!("{text}"));
        }
    }

    /// Ends the answer.
    pub(super) fn finish(mut self, status: u8) -> Exit {
        while self.xml.as_ref().is_some_and(|open| open.len() > 1) {
            self.close();
        }
        if let Some(mut root) = self.xml.take().and_then(|mut open| open.pop()) {
            let mut end =
                Node::new("status").with("code", status.to_string()).with("message", exit_text(status));
            if !self.errors.is_empty() {
                let mut errors = Node::new("errors");
                for error in &self.errors {
                    errors.push(Node::new("error").text(error));
                }
                end.push(errors);
            }
            root.push(end);
            let mut text = String::new();
            root.write(0, true, &mut text);
            self.write(format_args!("{text}\n"));
        }
        match status {
            0 => Exit::Ok,
            status => Exit::Of(status),
        }
    }
}

/// A word of a command line as a shell would take it.
fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{}'", word.replace('\'', "\\'")) } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_answer_is_text_or_xml() {
        let (mut io, said) = Io::captured("");
        let words = ["crm_x".to_owned(), "a b".to_owned()];
        for called in [None, Some(&words[..])] {
            let mut out = Out::new(called, None, &mut io);
            out.list("Nodes");
            out.item(Some("node"), "a<b");
            out.end();
            out.error(format_args!("bad"));
            assert_eq!(out.finish(105), Exit::Of(105));
        }
        let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
        assert_eq!(
            said,
            "a<b\nbad\n\
             <pacemaker-result api-version=\"2.25\" request=\"crm_x 'a b'\">\n  \
             <list name=\"nodes\" count=\"1\">\n    <item name=\"node\">a&lt;b</item>\n  </list>\n  \
             <status code=\"105\" message=\"No such object\">\n    <errors>\n      <error>bad</error>\n    </errors>\n  \
             </status>\n</pacemaker-result>\n"
        );
    }
}
