//! XPath: what expressions select, and that hostile ones end.

use cib::Element;
use cib::xpath::XPath;

fn document() -> Element {
    Element::parse(
        r#"<cib><configuration><resources>
             <primitive id="a" type="Dummy"><op id="a1" interval="10"/><op id="a2" interval="20"/></primitive>
             <group id="g"><primitive id="b" type="Stateful"/><primitive id="c" type="Dummy"/></group>
           </resources></configuration><status/></cib>"#,
        "test",
    )
    .unwrap()
}

fn ids(xpath: &str) -> String {
    let root = document();
    let places = XPath::parse(xpath).unwrap().select(&root).unwrap();
    let name = |e: &Element| e.id().unwrap_or(&e.name).to_owned();
    places.iter().map(|p| name(root.at(p).unwrap())).collect::<Vec<_>>().join(" ")
}

#[test]
fn expressions_select_what_xpath_says() {
    for (xpath, want) in [
        ("/", "cib"),
        ("/cib", "cib"),
        ("//cib", "cib"),
        ("/cib/configuration/resources/*", "a g"),
        ("//primitive", "a b c"),
        ("//primitive[@id='b']", "b"),
        ("//primitive[@type=\"Dummy\" and not(@id='a')]", "c"),
        ("//primitive[1]", "a b"),
        ("(//primitive)[1]", "a"),
        ("//primitive[last()]", "a c"),
        ("//primitive[position()=2]", "c"),
        ("//op[@interval > 10]", "a2"),
        ("//op[@interval * 2 = 20 or @interval div 2 = 10]", "a1 a2"),
        ("//op[number(@interval) mod 20 = 0]", "a2"),
        ("//primitive[op]", "a"),
        ("//primitive[count(op)=2]", "a"),
        ("//primitive[.//@interval='20']", "a"),
        ("//op/..", "a"),
        ("//op/../..", "resources"),
        ("//op/ancestor::*", "cib configuration resources a"),
        ("//op/ancestor::*[1]", "a"),
        ("//primitive/@type", "a b c"),
        ("//@interval", "a1 a2"),
        ("//*[starts-with(@id, 'a')]", "a a1 a2"),
        ("//*[contains(@type, 'tate')]", "b"),
        ("//*[name()='group']", "g"),
        ("//group | //op", "a1 a2 g"),
        ("//primitive[@id='b']/following-sibling::*", "c"),
        ("//primitive[@id='c']/preceding-sibling::primitive", "b"),
        ("//op[@id='a2']/following::primitive", "b c"),
        ("//group/preceding::op[1]", "a2"),
        ("/descendant::op[2]", "a2"),
        ("//primitive[substring(@id, 1, 1)='c']", "c"),
        ("//primitive[translate(@id, 'abc', 'xyz')='y']", "b"),
        ("//primitive[string-length(@type) = 5]", "a c"),
        ("//primitive[@*='Stateful']", "b"),
        ("//node()[@id='g']", "g"),
        ("//text()", ""),
        ("count(//op)", ""),
        ("cib", ""),
        ("//nosuch", ""),
    ] {
        assert_eq!(ids(xpath), want, "{xpath}");
    }
}

#[test]
fn what_is_no_xpath_says_where() {
    for (xpath, place) in [
        ("//[", "at 3"),
        ("//a[", "at 5"),
        ("//a b", "at 5"),
        ("nosuch(1)", "at 1"),
        ("//a['x]", "at 5"),
        ("count()", "at 8"),
        ("", "at 1"),
        ("x::y", "at 4"),
    ] {
        let error = XPath::parse(xpath).unwrap_err().to_string();
        assert!(error.contains(place), "{xpath}: {error}");
    }
}

#[test]
fn hostile_expressions_end() {
    let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(XPath::parse(&deep).is_err());
    assert!(XPath::parse(&format!("1{}", "+1".repeat(10_000))).is_err());
    assert!(XPath::parse(&"/a".repeat(100_000)).is_err());
    let mut wide = Element::new("cib");
    wide.children = vec![Element::new("a"); 3_000].into();
    let costly = XPath::parse("//a[//a[//a[//a]]]").unwrap();
    assert!(costly.select(&wide).unwrap_err().to_string().contains("too long"));
}
