//! Elements as bytes: as libxml2 writes documents and pages, since what reads them reads lines.

use std::fmt::Write;

use super::out::Markup;

impl Markup {
    /// As a document without a declaration, two blanks a level, ending in a newline.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        write_xml(self, 0, &mut out);
        out
    }

    /// As a page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut out = String::from("<!DOCTYPE html>\n");
        write_html(self, None, true, &mut out);
        out.push('\n');
        out
    }
}

fn write_xml(element: &Markup, depth: usize, out: &mut String) {
    let _ = write!(out, "{:1$}<{2}", "", 2 * depth, element.name); // a String takes everything
    for (name, value) in &element.attributes {
        let _ = write!(out, " {name}=\"");
        escape(value, true, &|c, out| _ = write!(out, "&#x{:X};", u32::from(c)), out);
        out.push('"');
    }
    if let Some(text) = &element.text {
        out.push('>');
        escape(text, false, &|c, out| _ = write!(out, "&#x{:X};", u32::from(c)), out);
        let _ = writeln!(out, "</{}>", element.name);
    } else if element.children.is_empty() {
        out.push_str("/>\n");
    } else {
        out.push_str(">\n");
        for child in &element.children {
            write_xml(child, depth + 1, out);
        }
        let _ = writeln!(out, "{:1$}</{2}>", "", 2 * depth, element.name);
    }
}

/// Characters that mean something else, or are none of ASCII, as references.
fn escape(text: &str, in_attribute: bool, other: &dyn Fn(char, &mut String), out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if in_attribute => out.push_str("&quot;"),
            '\n' if in_attribute => out.push_str("&#10;"),
            '\t' if in_attribute => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            c if c.is_ascii() => out.push(c),
            c => other(c, out),
        }
    }
}

/// `last`: nothing comes after it in what it stands in. Lines end where that shows nowhere on the page.
fn write_html(element: &Markup, around: Option<&Markup>, last: bool, out: &mut String) {
    let name = element.name.as_str();
    let block = name != "span";
    let ends = block && !last && around.is_some_and(|a| !a.name.starts_with('p'));
    let _ = write!(out, "<{name}");
    for (name, value) in &element.attributes {
        let _ = write!(out, " {name}=\"");
        let mut escaped = String::new();
        escape(value, false, &reference, &mut escaped);
        out.push_str(&escaped.replace('"', "&quot;"));
        out.push('"');
    }
    out.push('>');
    if !matches!(name, "meta" | "link") {
        let several = block && element.children.len() > 1 && !name.starts_with('p');
        match &element.text {
            Some(text) if name == "style" => out.push_str(text),
            Some(text) => escape(text, false, &reference, out),
            None => {}
        }
        if several {
            out.push('\n');
        }
        let count = element.children.len();
        for (at, child) in element.children.iter().enumerate() {
            write_html(child, Some(element), at + 1 == count, out);
        }
        if several {
            out.push('\n');
        }
        let empty = element.children.is_empty() && element.text.as_ref().is_none_or(String::is_empty);
        if !(empty && name == "li") {
            let _ = write!(out, "</{name}>");
        }
    }
    if ends {
        out.push('\n');
    }
}

/// A character that is none of ASCII, on a page.
fn reference(c: char, out: &mut String) {
    let _ = write!(out, "&#{};", u32::from(c));
}

/// Version of what programs read.
const API: &str = "2.25";
/// The release whose output this is.
const RELEASE: &str = "2.1.5";

/// A document for programs: how it was asked for, what there is to know, how that ended, and what was wrong.
#[must_use]
pub fn result_document(request: &str, content: Vec<Markup>, status: (u8, &str), errors: &[String]) -> Markup {
    let (code, message) = status;
    let mut end = Markup::new("status").with("code", &code.to_string()).with("message", message);
    if !errors.is_empty() {
        let mut list = Markup::new("errors");
        list.children = errors.iter().map(|e| Markup::new("error").with_text(e)).collect();
        end.children.push(list);
    }
    let mut root = Markup::new("pacemaker-result").with("api-version", API).with("request", request);
    root.children = content;
    root.children.push(end);
    root
}

/// A document as programs read it before there was [`result_document`].
#[must_use]
pub fn legacy_document(content: Vec<Markup>) -> Markup {
    let mut root = Markup::new("crm_mon").with("version", RELEASE);
    root.children = content;
    root
}

/// A page. `refresh`: browsers ask for it again after so many seconds.
#[must_use]
pub fn page(title: &str, stylesheet: Option<&str>, refresh: Option<u64>, content: Vec<Markup>) -> Markup {
    let mut head = Markup::new("head");
    head.children.push(Markup::new("title").with_text(title));
    head.children.push(Markup::new("meta").with("charset", "utf-8"));
    if let Some(seconds) = refresh {
        let again = Markup::new("meta").with("http-equiv", "refresh").with("content", &seconds.to_string());
        head.children.push(again);
    }
    head.children.push(Markup::new("style").with_text(STYLE));
    if let Some(stylesheet) = stylesheet {
        head.children.push(Markup::new("link").with("rel", "stylesheet").with("href", stylesheet));
    }
    let mut body = Markup::new("body");
    body.children = content;
    let mut root = Markup::new("html").with("lang", "en");
    root.children = vec![head, body];
    root
}

const STYLE: &str = "\
.bold { font-weight: bold }
.online { color: green }
.offline { color: red }
.maint { color: blue }
.standby { color: blue }
.health_red { color: red }
.health_yellow { color: GoldenRod }
.rsc-failed { color: red }
.rsc-failure-ignored { color: DarkGreen }
.rsc-managed { color: blue }
.rsc-multiple { color: orange }
.rsc-ok { color: green }
.warning { color: red; font-weight: bold }";
