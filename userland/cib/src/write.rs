//! Tree to text: two blanks a level, attributes in order, every character that a reader would change written as a
//! reference. Reading what was written gives the same tree.

use std::fmt::Write;

use crate::tree::Element;

impl Element {
    /// As an XML document without a declaration, ending in a newline.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        write_element(self, 0, &mut out);
        out
    }
}

fn write_element(element: &Element, depth: usize, out: &mut String) {
    indent(depth, out);
    out.push('<');
    out.push_str(&element.name);
    for (name, value) in element.attributes.iter() {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        escape(value, out);
        out.push('"');
    }
    if element.children.is_empty() {
        out.push_str("/>\n");
        return;
    }
    out.push_str(">\n");
    for child in &element.children {
        write_element(child, depth + 1, out);
    }
    indent(depth, out);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "</{}>", element.name);
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

/// Writes a value as it stands between the quotes of an attribute.
pub fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Attribute normalisation would turn these into blanks.
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            c => out.push(c),
        }
    }
}
