//! Text to tree. The pull parser is quick-xml's; limits, entity policy and positions are ours: only the five
//! predefined entities and character references exist, and a document type is refused, so nothing can be expanded
//! or fetched.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use smol_str::SmolStr;

use crate::error::CibError;
use crate::limits::{ATTRIBUTES_MAX, Bounds, DEPTH_MAX, DOCUMENT};
use crate::pairs::Pairs;
use crate::tree::{Element, Position};

impl Element {
    /// Reads one document as it stands; `file` is its name in messages.
    ///
    /// # Errors
    /// When it is not well-formed, or beyond [`DOCUMENT`].
    pub fn parse(text: &str, file: &str) -> Result<Self, CibError> {
        parse_tree(text, file, DOCUMENT)
    }
}

pub(crate) fn parse_tree(text: &str, file: &str, bounds: Bounds) -> Result<Element, CibError> {
    if text.len() > bounds.bytes {
        let what = format!(
            "the document has {} bytes, more than {}; remove what is not needed",
            text.len(),
            bounds.bytes
        );
        return Err(CibError::new(file, Position { line: 1, column: 1 }, what));
    }
    let mut lines = Lines::new(text);
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut elements = 0usize;
    // Filled for each element anew, so that each gets a list of just its size.
    let mut attributes = Vec::new();
    loop {
        let at = reader.buffer_position();
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => {
                let position = lines.position(reader.error_position());
                return Err(CibError::new(file, position, format!("not well-formed XML: {error}")));
            }
        };
        let position = lines.position(at);
        let fail = |what: String| Err(CibError::new(file, position, what));
        let (start, empty) = match event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                // The reader has checked that names match, so something is open.
                if let Some(done) = open.pop() {
                    attach(done, &mut open, &mut root);
                }
                continue;
            }
            Event::Text(text) if text.trim().is_empty() => continue,
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                return fail("text between elements; a CIB holds values in attributes only".into());
            }
            Event::DocType(_) => {
                return fail("a document type is not allowed in a CIB; remove the <!DOCTYPE …> line".into());
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
            Event::Eof => break,
        };
        if open.is_empty() && root.is_some() {
            return fail("a second top-level element; a CIB has one, <cib>".into());
        }
        elements += 1;
        if elements > bounds.elements {
            return fail(format!("more than {} elements", bounds.elements));
        }
        if open.len() >= DEPTH_MAX {
            return fail(format!("elements are nested deeper than {DEPTH_MAX}"));
        }
        let element = read_start(&start, file, position, &mut attributes)?;
        if empty {
            attach(element, &mut open, &mut root);
        } else {
            open.push(element);
        }
    }
    let end = lines.position(text.len() as u64);
    if let Some(unclosed) = open.last() {
        let what = format!("<{}> of line {} is never closed", unclosed.name, unclosed.position.line);
        return Err(CibError::new(file, end, what));
    }
    root.ok_or_else(|| CibError::new(file, end, "the document is empty; a CIB begins with <cib>"))
}

/// Ids must be unique within the configuration: constraints and commands name things by them.
pub(crate) fn check_ids(configuration: &Element, file: &str) -> Result<(), CibError> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut twice = None;
    configuration.walk(&mut |element| {
        let Some(id) = element.id() else { return };
        if let Some(first) = seen.insert(id, element.position.line)
            && twice.is_none()
        {
            let what = format!(
                "id \"{id}\" is used twice (first in line {first}); give <{}> an id of its own",
                element.name
            );
            twice = Some(CibError::new(file, element.position, what));
        }
    });
    twice.map_or(Ok(()), Err)
}

fn read_start(
    start: &BytesStart<'_>,
    file: &str,
    position: Position,
    attributes: &mut Vec<(SmolStr, SmolStr)>,
) -> Result<Element, CibError> {
    let name = start.name().0;
    // The tokeniser takes what stands there; a name that XML does not know could not be written again.
    if !is_xml_name(name) {
        let what = format!(
            "<{}> is no element name; names are letters, digits, '-', '_', '.' and ':'",
            name.escape_debug()
        );
        return Err(CibError::new(file, position, what));
    }
    let mut element = Element { name: name.to_owned(), position, ..Element::default() };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| {
            CibError::new(file, position, format!("attributes of <{}>: {error}", element.name))
        })?;
        let name = attribute.key.0;
        if !is_xml_name(name) {
            let what = format!("\"{}\" in <{}> is no attribute name", name.escape_debug(), element.name);
            return Err(CibError::new(file, position, what));
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| {
            let what = format!("attribute {name} of <{}>: {error}; write &amp; for a single &", element.name);
            CibError::new(file, position, what)
        })?;
        if value.contains('\0') {
            return Err(CibError::new(file, position, format!("attribute {name} holds a NUL character")));
        }
        if attributes.len() >= ATTRIBUTES_MAX {
            return Err(CibError::new(
                file,
                position,
                format!("<{}> has more than {ATTRIBUTES_MAX} attributes", element.name),
            ));
        }
        attributes.push((SmolStr::new(name), SmolStr::new(value)));
    }
    element.attributes = Pairs::of(attributes);
    Ok(element)
}

/// A name of XML 1.0, without its rarer alphabets: no name of the CIB needs them.
#[must_use]
pub fn is_xml_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

fn attach(done: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None => *root = Some(done),
    }
}

/// Byte offsets to lines; offsets are asked for mostly in ascending order, so it counts on from the last one.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, line: 1, line_start: 0 }
    }

    fn position(&mut self, offset: u64) -> Position {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.text.len());
        if offset < self.at {
            (self.at, self.line, self.line_start) = (0, 1, 0);
        }
        for (i, byte) in self.text[self.at..offset].iter().enumerate() {
            if *byte == b'\n' {
                self.line += 1;
                self.line_start = self.at + i + 1;
            }
        }
        self.at = offset;
        let column = u32::try_from(offset - self.line_start).unwrap_or(u32::MAX).saturating_add(1);
        Position { line: self.line, column }
    }
}
