//! Input that is meant to hurt: no panic, no unbounded work, a typed error.

use cib::{Cib, Element, limits};
use proptest::prelude::*;

use crate::FULL;

#[test]
fn limits_hold() {
    let deep = format!("<cib>{}{}</cib>", "<a>".repeat(40), "</a>".repeat(40));
    assert!(Cib::parse(&deep, "x").unwrap_err().what.contains("nested deeper"));
    let endless = "<a>".repeat(1_000_000);
    assert!(Cib::parse(&endless, "x").unwrap_err().what.contains("nested deeper"));
    let many = format!("<cib>{}</cib>", "<a/>".repeat(limits::CONFIGURATION.elements));
    assert!(Cib::parse(&many, "x").unwrap_err().what.contains("elements"));
    let wide: String = (0..=limits::ATTRIBUTES_MAX).map(|i| format!(" a{i}=\"\"")).collect();
    assert!(Cib::parse(&format!("<cib{wide}/>"), "x").unwrap_err().what.contains("attributes"));
    let long = " ".repeat(limits::CONFIGURATION.bytes + 1);
    assert!(Cib::parse(&long, "x").unwrap_err().what.contains("bytes"));
    // A command takes what a daemon does not.
    assert_eq!(Element::parse(&many, "x").unwrap().children.len(), limits::CONFIGURATION.elements);
    assert!(Element::parse(&long, "x").unwrap_err().what.contains("empty"));
}

#[test]
fn entities_are_never_expanded() {
    let bomb = "<!DOCTYPE lolz [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><cib x=\"&b;\"/>";
    assert!(Cib::parse(bomb, "x").is_err());
    assert!(Cib::parse("<cib x=\"&b;\"><configuration/></cib>", "x").is_err());
    assert!(Cib::parse("<cib x=\"&#0;\"><configuration/></cib>", "x").is_err());
    let fine = Cib::parse("<cib x=\"&#65;&lt;&amp;&gt;&apos;&quot;\"><configuration/></cib>", "x").unwrap();
    assert_eq!(fine.tree().get("x"), Some("A<&>'\""));
}

/// Found by fuzzing: an element without a name was read, and written as `</>`.
#[test]
fn names_that_could_not_be_written_again_are_refused() {
    for text in [
        "<cib><configuration/><\r/></cib>",
        "<cib></></cib>",
        "<cib><1a/></cib>",
        "<cib \u{b}=\"\"/>",
        "<cib 2=\"\"/>",
    ] {
        assert!(Cib::parse(text, "x").is_err(), "{text:?}");
    }
    let error = Cib::parse("<cib>\n<\r/></cib>", "x").unwrap_err();
    assert!(error.to_string().starts_with("x:2:") && error.what.contains("no element name"), "{error}");
}

#[test]
fn every_prefix_of_a_good_document_is_refused_or_read() {
    for end in (0..FULL.len()).filter(|end| FULL.is_char_boundary(*end)) {
        let _ = Cib::parse(&FULL[..end], "x");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes changed anywhere: an error or a tree that survives writing and reading.
    #[test]
    fn mutated_documents_do_not_panic(changes in prop::collection::vec((0..FULL.len(), any::<u8>()), 1..8)) {
        let mut bytes = FULL.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(cib) = Cib::parse(&text, "x") {
            let again = Cib::parse(&cib.to_xml(), "again").map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(again.tree(), cib.tree());
        }
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in "[<>&;/=\"a-z \n!\\[\\]-]{0,200}") {
        let _ = Cib::parse(&text, "x");
        let _ = Cib::parse(&format!("<cib>{text}</cib>"), "x");
    }
}
