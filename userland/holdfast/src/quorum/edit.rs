//! Puts `quorum { device { } }` into the text of a configuration file, and takes it out: every other byte stays as it is. Pure.

use cmm_conf::{Diagnostics, Section, parse_sections};

/// What goes into a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// `key: value`.
    Item(&'static str, String),
    /// `name { … }`.
    Section(&'static str, Vec<Entry>),
}

/// The text with the device's section in the last `quorum` section, or in a new one at the end.
///
/// # Errors
/// In words: what is wrong with the text, or that it has a device.
pub(super) fn add(file: &str, text: &str, device: &[Entry]) -> Result<String, String> {
    if let Some(value) = bad_value(device) {
        return Err(format!("{value:?} has a character that a configuration file cannot hold"));
    }
    let root = read(file, text)?;
    if let Some(there) = root.all("quorum").flat_map(|q| q.all("device")).next() {
        return Err(format!(
            "{file}:{}: there is a quorum device already, and one is served; take it out first: holdfast quorum device remove",
            there.line
        ));
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let of = |line: u32| lines.get((line as usize).wrapping_sub(1)).copied().unwrap_or_default();
    let mut out = String::with_capacity(text.len() + 256);
    let device = Entry::Section("device", device.to_vec());
    let Some(quorum) = root.all("quorum").last() else {
        let end = if lines.first().is_some_and(|l| l.ends_with("\r\n")) { "\r\n" } else { "\n" };
        out.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            out.push_str(end);
        }
        Entry::Section("quorum", vec![device]).write("", "    ", end, &mut out);
        return Ok(out);
    };
    let (opening, closing) = (of(quorum.line), of(quorum.end));
    let end = if opening.ends_with("\r\n") { "\r\n" } else { "\n" };
    let outer = indent_of(closing);
    let first = quorum.items.iter().map(|i| i.line).chain(quorum.sections.iter().map(|s| s.line)).min();
    let inner = first.map(of).map(indent_of).filter(|i| i.len() > outer.len() && i.starts_with(outer));
    let step = inner.and_then(|i| i.get(outer.len()..)).unwrap_or("    ");
    for (number, line) in (1..).zip(&lines) {
        if number == quorum.end {
            device.write(&format!("{outer}{step}"), step, end, &mut out);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// The text without the device's section, and the section's lines.
///
/// # Errors
/// In words: what is wrong with the text, or that it has no device.
pub(super) fn remove(file: &str, text: &str) -> Result<(String, String), String> {
    let root = read(file, text)?;
    let devices: Vec<&Section> = root.all("quorum").flat_map(|q| q.all("device")).collect();
    if devices.is_empty() {
        return Err(format!("{file}:{}: there is no quorum device in it", root.line));
    }
    let (mut rest, mut taken) = (String::with_capacity(text.len()), String::new());
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let inside = devices.iter().any(|d| (d.line..=d.end).contains(&number));
        if inside { &mut taken } else { &mut rest }.push_str(line);
    }
    Ok((rest, taken))
}

impl Entry {
    fn write(&self, indent: &str, step: &str, end: &str, out: &mut String) {
        match self {
            Self::Item(key, value) => out.push_str(&format!("{indent}{key}: {value}{end}")),
            Self::Section(name, entries) => {
                out.push_str(&format!("{indent}{name} {{{end}"));
                entries.iter().for_each(|e| e.write(&format!("{indent}{step}"), step, end, out));
                out.push_str(&format!("{indent}}}{end}"));
            }
        }
    }
}

/// A line break in a value would be a line of the file.
fn bad_value(entries: &[Entry]) -> Option<&String> {
    entries.iter().find_map(|entry| match entry {
        Entry::Item(_, value) => Some(value).filter(|v| v.chars().any(char::is_control)),
        Entry::Section(_, entries) => bad_value(entries),
    })
}

fn read(file: &str, text: &str) -> Result<Section, String> {
    let mut found = Diagnostics::new(file);
    let root = parse_sections(text.as_bytes(), &mut found);
    if found.has_fatal() { Err(found.to_string().trim_end().to_owned()) } else { Ok(root) }
}

fn indent_of(line: &str) -> &str {
    line.get(..line.len() - line.trim_start().len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Vec<Entry> {
        let item = |key, value: &str| Entry::Item(key, value.to_owned());
        vec![item("model", "disk"), Entry::Section("disk", vec![item("device", "/dev/sdb1")])]
    }

    /// What `add` makes of it; taking it out again must give every byte back.
    fn added(text: &str) -> String {
        let with = add("f", text, &disk()).unwrap();
        let (without, section) = remove("f", &with).unwrap();
        assert_eq!(without, text);
        assert!(section.contains("device: /dev/sdb1"), "{section}");
        with
    }

    #[test]
    fn the_device_goes_in_before_the_closing_brace_and_nothing_else_changes() {
        let text = "# of the web cluster\ntotem {\n  version: 2\n}\n\nquorum {\n  # votes\n  provider: corosync_votequorum\n\n  # the end\n}\n# nodes\nnodelist {\n}\n";
        assert_eq!(
            added(text),
            "# of the web cluster\ntotem {\n  version: 2\n}\n\nquorum {\n  # votes\n  provider: corosync_votequorum\n\n  # the end\n  device {\n    model: disk\n    disk {\n      device: /dev/sdb1\n    }\n  }\n}\n# nodes\nnodelist {\n}\n"
        );
    }

    #[test]
    fn indents_line_ends_and_odd_braces_are_kept() {
        assert_eq!(
            added("quorum {\r\n\tprovider: x\r\n}\r\n"),
            "quorum {\r\n\tprovider: x\r\n\tdevice {\r\n\t\tmodel: disk\r\n\t\tdisk {\r\n\t\t\tdevice: /dev/sdb1\r\n\t\t}\r\n\t}\r\n}\r\n"
        );
        // A closing brace far to the right, an empty section, no line end after the last line.
        assert_eq!(
            added("  quorum {\n  provider: x\n      }   \ntotem {\n}"),
            "  quorum {\n  provider: x\n          device {\n              model: disk\n              disk {\n                  device: /dev/sdb1\n              }\n          }\n      }   \ntotem {\n}"
        );
        let with = added("quorum{\n}");
        assert_eq!(
            with,
            "quorum{\n    device {\n        model: disk\n        disk {\n            device: /dev/sdb1\n        }\n    }\n}"
        );
        // Braces in comments are none.
        let with = added("quorum {\n# }\n  provider: x\n  #device {\n}\n");
        assert!(
            with.starts_with("quorum {\n# }\n  provider: x\n  #device {\n  device {\n    model: disk\n"),
            "{with}"
        );
    }

    #[test]
    fn of_several_quorum_sections_the_last_one_gets_it_and_without_one_it_is_made() {
        let with = added("quorum {\n  provider: x\n}\nquorum {\n    two_node: 0\n}\n");
        let tail =
            "quorum {\n  provider: x\n}\nquorum {\n    two_node: 0\n    device {\n        model: disk\n";
        assert!(with.starts_with(tail), "{with}");
        for (text, start) in [("", ""), ("totem {\n}\n", "totem {\n}\n"), ("totem {\n}", "totem {\n}\n")] {
            let with = add("f", text, &disk()).unwrap();
            assert_eq!(
                with,
                format!(
                    "{start}quorum {{\n    device {{\n        model: disk\n        disk {{\n            device: /dev/sdb1\n        }}\n    }}\n}}\n"
                )
            );
            assert_eq!(remove("f", &with).unwrap().0, format!("{start}quorum {{\n}}\n"));
        }
        assert!(add("f", "totem {\r\n}\r\n", &disk()).unwrap().ends_with("}\r\nquorum {\r\n    device {\r\n        model: disk\r\n        disk {\r\n            device: /dev/sdb1\r\n        }\r\n    }\r\n}\r\n"));
    }

    #[test]
    fn the_section_is_taken_out_with_what_is_inside_and_all_around_it_stays() {
        let text = "quorum {\n  provider: x\n  # ours\n  device {\n    model: net\n    # a server\n    net {\n      host: q\n    }\n  }\n  # behind\n}\n";
        let (rest, taken) = remove("f", text).unwrap();
        assert_eq!(rest, "quorum {\n  provider: x\n  # ours\n  # behind\n}\n");
        assert_eq!(
            taken,
            "  device {\n    model: net\n    # a server\n    net {\n      host: q\n    }\n  }\n"
        );
        let two = "quorum {\n  device {\n  }\n}\nquorum {\n  device {\n  }\n}\n";
        assert_eq!(
            remove("f", two).unwrap().0,
            "quorum {\n}\nquorum {\n}\n",
            "only one is served: none stays"
        );
    }

    #[test]
    fn what_cannot_be_edited_is_named_with_its_line() {
        let there = "quorum {\n  device {\n    model: net\n  }\n}\n";
        let why = add("f", there, &disk()).unwrap_err();
        assert!(
            why.starts_with("f:2: there is a quorum device already")
                && why.ends_with("holdfast quorum device remove"),
            "{why}"
        );
        assert_eq!(remove("f", "quorum {\n}\n").unwrap_err(), "f:2: there is no quorum device in it");
        for broken in ["quorum {\n", "quorum {\n} }\n", "quorum { device {\n}\n}\n"] {
            assert!(add("f", broken, &disk()).unwrap_err().starts_with("f:"), "{broken:?}");
            assert!(remove("f", broken).unwrap_err().starts_with("f:"), "{broken:?}");
        }
        let sly = [Entry::Section("disk", vec![Entry::Item("label", "a\n}\ntotem {".to_owned())])];
        assert!(add("f", "quorum {\n}\n", &sly).unwrap_err().contains("cannot hold"));
    }
}
