//! What a move leaves behind: a constraint that keeps a resource where it was moved to, or away from where it was, until somebody
//! removes it. Forgotten, it lets the service stop where it should have moved.

use cib::Element;
use status::Note;

/// A note for each, with the command that removes it.
pub(crate) fn left_behind(cib: &Element) -> Vec<Note> {
    let constraints = cib.child("configuration").and_then(|c| c.child("constraints"));
    let locations = constraints.into_iter().flat_map(|c| &c.children).filter(|c| c.name == "rsc_location");
    locations.filter_map(note).collect()
}

fn note(location: &Element) -> Option<Note> {
    let (id, resource) = (location.id()?, location.get("rsc")?);
    // With a lifetime it names its node in a rule.
    let node = location.get("node").or_else(|| node_of_rule(location)).unwrap_or("a node");
    let until = if location.child("rule").is_some() { "until its time is over" } else { "for good" };
    let what = if id.starts_with("cli-ban-") {
        format!("a move has left a ban behind: {id} keeps {resource} away from {node} {until}")
    } else if id.starts_with("cli-prefer-") {
        format!("a move has left a wish behind: {id} draws {resource} to {node} {until}")
    } else {
        return None;
    };
    let remedy = format!("when it has done its work, remove it: crm_resource --clear --resource {resource}");
    Some(Note { what, remedy })
}

fn node_of_rule(location: &Element) -> Option<&str> {
    let rule = location.child("rule")?;
    let by_name = rule.children_named("expression").find(|e| e.get("attribute") == Some("#uname"));
    by_name?.get("value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_left_behind_is_told_with_what_removes_it_and_nothing_else_is() {
        let constraints = r##"
            <rsc_location id="cli-ban-shop-on-n1" rsc="shop" role="Started" node="n1" score="-INFINITY"/>
            <rsc_location id="cli-prefer-shop" rsc="shop"><rule id="r" score="INFINITY" boolean-op="and">
              <expression id="e" attribute="#uname" operation="eq" value="n2"/>
              <date_expression id="d" operation="lt" end="2027-01-01"/></rule></rsc_location>
            <rsc_location id="never-on-n3" rsc="shop" node="n3" score="-INFINITY"/>
            <rsc_order id="cli-ban-is-no-order" first="a" then="b"/>"##;
        let text =
            format!("<cib><configuration><constraints>{constraints}</constraints></configuration></cib>");
        let notes = left_behind(&Element::parse(&text, "test").unwrap());
        let told: Vec<&str> = notes.iter().map(|n| n.what.as_str()).collect();
        assert_eq!(
            told,
            [
                "a move has left a ban behind: cli-ban-shop-on-n1 keeps shop away from n1 for good",
                "a move has left a wish behind: cli-prefer-shop draws shop to n2 until its time is over",
            ]
        );
        assert!(notes.iter().all(|n| n.remedy.ends_with("crm_resource --clear --resource shop")));
    }
}
