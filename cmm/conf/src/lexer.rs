//! The syntax of corosync.conf: `section { … }` and `key: value`, one item a line, `#` comments on lines of their own.
//!
//! Every value keeps its line and column, so that whatever is found wrong with it later can be named exactly. The
//! rules are corosync's, with one difference: what corosync skips or misreads in silence (text behind a brace, a
//! line that is neither) is an error here.

use crate::Diagnostics;

/// `key: value` with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Left of the colon, trimmed.
    pub key: String,
    /// Right of the colon, trimmed.
    pub value: String,
    /// Line, from 1.
    pub line: u32,
    /// Column of the value in characters, from 1.
    pub column: u32,
}

impl Item {
    /// Place of the value, for a diagnostic.
    #[must_use]
    pub fn at(&self) -> (u32, u32) {
        (self.line, self.column)
    }
}

/// `name { … }`. The file itself is a section without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Its name; empty for the file.
    pub name: String,
    /// Line of the opening brace, from 1.
    pub line: u32,
    /// Line of the closing brace.
    pub end: u32,
    /// Values in the order of the file.
    pub items: Vec<Item>,
    /// Sections inside, in the order of the file.
    pub sections: Vec<Section>,
}

impl Section {
    /// Sections of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |s| s.name == name)
    }

    /// Every value of `key` directly in this section.
    pub fn all_items<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |i| i.key == key)
    }

    /// The value of `key` in a nested section (`["quorum", "device"]`); the last one counts, as in corosync.
    #[must_use]
    pub fn get(&self, path: &[&str], key: &str) -> Option<&Item> {
        match path.split_first() {
            None => self.items.iter().rfind(|i| i.key == key),
            Some((first, rest)) => {
                self.sections.iter().rev().filter(|s| s.name == *first).find_map(|s| s.get(rest, key))
            }
        }
    }

    /// Place of the section, for a diagnostic.
    #[must_use]
    pub fn at(&self) -> (u32, u32) {
        (self.line, 0)
    }
}

/// Reads the text into a tree. Findings of syntax are fatal: a misread brace could move a value to another section.
#[must_use]
pub fn parse_sections(text: &[u8], found: &mut Diagnostics) -> Section {
    if text.len() > FILE_BYTES_MAX {
        found.fatal(
            (1, 0),
            format!("the file has more than {FILE_BYTES_MAX} bytes; a cluster configuration never has"),
        );
        return Section::default();
    }
    let text = match str::from_utf8(text) {
        Ok(t) => t,
        Err(e) => {
            let line = text[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() as u32 + 1;
            found.fatal((line, 0), "bytes that are not UTF-8 text; write the file in UTF-8 or plain ASCII");
            return Section::default();
        }
    };
    let mut open = vec![Section::default()];
    let mut last = 0;
    for (line, raw) in (1u32..).zip(text.lines()) {
        last = line;
        read_line(raw, line, &mut open, found);
        if found.has_fatal() {
            return Section::default();
        }
    }
    if open.len() > 1 {
        let s = &open[open.len() - 1];
        let text =
            format!("section {} opened here is never closed; write \"}}\" on a line of its own", s.name);
        found.fatal(s.at(), text);
        return Section::default();
    }
    let mut root = open.swap_remove(0);
    root.line = last.max(1);
    root.end = last.max(1);
    root
}

fn read_line(raw: &str, line: u32, open: &mut Vec<Section>, found: &mut Diagnostics) {
    let text = raw.trim();
    if text.is_empty() || text.starts_with('#') {
        return;
    }
    if let Some(bad) = raw.chars().position(|c| c.is_control() && c != '\t' && c != '\r') {
        return found.fatal((line, bad as u32 + 1), "a control character in the line; remove it");
    }
    if text == "}" {
        if open.len() == 1 {
            return found.fatal(
                (line, 0),
                "\"}\" without a section to close; remove it, or add the missing \"NAME {\"",
            );
        }
        let mut section = open.pop().expect("more than one is open");
        section.end = line;
        let outer = open.last_mut().expect("the file itself is always open");
        if outer.sections.len() == ENTRIES_MAX {
            return found
                .fatal((line, 0), format!("more than {ENTRIES_MAX} sections in one section; remove some"));
        }
        outer.sections.push(section);
    } else if let Some((key, value)) = text.split_once(':').filter(|(key, _)| !key.contains(['{', '}'])) {
        let (key, value) = (key.trim(), value.trim());
        let column =
            |part: &str| raw[..part.as_ptr() as usize - raw.as_ptr() as usize].chars().count() as u32 + 1;
        if key.is_empty() || key.contains(char::is_whitespace) {
            return found.fatal((line, 0), format!("{key:?} is not a key; write one word before the colon"));
        }
        if value.ends_with(['{', '}']) {
            let brace = &value[value.len() - 1..];
            return found
                .fatal((line, 0), format!("\"{brace}\" behind a value; write it on a line of its own"));
        }
        let item = Item { key: key.to_owned(), value: value.to_owned(), line, column: column(value) };
        let section = open.last_mut().expect("the file itself is always open");
        if section.items.len() == ENTRIES_MAX {
            return found
                .fatal((line, 0), format!("more than {ENTRIES_MAX} values in one section; remove some"));
        }
        section.items.push(item);
    } else if let Some((name, rest)) = text.split_once('{') {
        let (name, rest) = (name.trim(), rest.trim());
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains('}') {
            return found
                .fatal((line, 0), format!("{name:?} is not the name of a section; write \"NAME {{\""));
        }
        if !rest.is_empty() {
            return found.fatal((line, 0), format!("{rest:?} behind \"{{\"; write it on a line of its own"));
        }
        if open.len() > DEPTH_MAX {
            return found.fatal(
                (line, 0),
                format!("sections nest deeper than {DEPTH_MAX}; a \"}}\" is missing above"),
            );
        }
        open.push(Section { name: name.to_owned(), line, ..Section::default() });
    } else if text.ends_with('}') {
        found.fatal((line, 0), "\"}\" behind other text; write it on a line of its own");
    } else {
        let word = text.split_whitespace().next().unwrap_or_default();
        let what = "neither \"section {\" nor \"key: value\" nor \"}\"";
        found.fatal((line, 0), format!("this line is {what}; write \"{word}: VALUE\" or \"{word} {{\""));
    }
}

/// A cluster configuration of 64 nodes with 8 links has some 30 KiB.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Values, and sections, directly in one section.
const ENTRIES_MAX: usize = 500;
/// corosync's deepest is `resources.process.NAME`.
const DEPTH_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Section, String) {
        let mut found = Diagnostics::new("f");
        let root = parse_sections(text.as_bytes(), &mut found);
        (root, found.to_string())
    }

    #[test]
    fn values_keep_line_and_column() {
        let (root, found) = read("# top\ntotem {\n  token:   1000\n\tinterface {\n\t\tttl: 3\n  }\n}\n");
        assert_eq!(found, "");
        let token = root.get(&["totem"], "token").expect("there");
        assert_eq!((token.value.as_str(), token.line, token.column), ("1000", 3, 12));
        assert_eq!(root.get(&["totem", "interface"], "ttl").expect("there").at(), (5, 8));
        assert_eq!(root.get(&["totem"], "ttl"), None);
    }

    #[test]
    fn a_value_may_hold_colons_and_blanks_and_be_empty() {
        let (root, found) = read("node {\n ring0_addr: fe80::1\n name:\n nodes: 1 3 5\r\n}");
        assert_eq!(found, "");
        assert_eq!(root.get(&["node"], "ring0_addr").expect("there").value, "fe80::1");
        assert_eq!(root.get(&["node"], "name").expect("there").value, "");
        assert_eq!(root.get(&["node"], "nodes").expect("there").value, "1 3 5");
    }

    #[test]
    fn broken_syntax_names_line_and_remedy() {
        for (text, want) in [
            (
                "totem {\n",
                "f:1: section totem opened here is never closed; write \"}\" on a line of its own\n",
            ),
            (
                "a {\n}\n}\n",
                "f:3: \"}\" without a section to close; remove it, or add the missing \"NAME {\"\n",
            ),
            ("a { b: 1 }\n", "f:1: \"b: 1 }\" behind \"{\"; write it on a line of its own\n"),
            ("a {\nb: 1 }\n}\n", "f:2: \"}\" behind a value; write it on a line of its own\n"),
            (
                "a {\nversion 2\n}\n",
                "f:2: this line is neither \"section {\" nor \"key: value\" nor \"}\"; write \"version: VALUE\" or \"version {\"\n",
            ),
            ("a {\nb c: 1\n}\n", "f:2: \"b c\" is not a key; write one word before the colon\n"),
            ("{\n}\n", "f:1: \"\" is not the name of a section; write \"NAME {\"\n"),
            ("a {\nb: \u{1}\n}\n", "f:2: a control character in the line; remove it\n"),
        ] {
            assert_eq!(read(text).1, want, "for {text:?}");
        }
        let deep = "a {\n".repeat(8) + &"}\n".repeat(8);
        assert!(read(&deep).1.contains("nest deeper"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let mut found = Diagnostics::new("f");
        let _ = parse_sections(b"a {\nb: \xff\n}\n", &mut found);
        assert!(found.to_string().starts_with("f:2: bytes that are not UTF-8"));
    }
}
