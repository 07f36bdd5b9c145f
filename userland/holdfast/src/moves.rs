//! What a move leaves behind: a constraint that keeps a resource where it was moved to, or away from where it was, until somebody
//! removes it. Forgotten, it lets the service stop where it should have moved.

use cib::Element;
use status::Note;

/// A note for each, with its age and the command that removes it. `now`: seconds since 1970; `zone`: seconds east of Greenwich
/// at a moment.
///
/// When a constraint was made is not written down: it is as old as the last change of the configuration at least, since that would
/// have been its own.
pub(crate) fn left_behind(cib: &Element, now: i64, zone: fn(i64) -> i32) -> Vec<Note> {
    let changed = advice::last_change(cib, zone).map(|at| now.saturating_sub(at)).filter(|age| *age >= 60);
    let ms = changed.and_then(|age| u64::try_from(age).ok()).map(|age| age.saturating_mul(1_000));
    let age = ms.map(|ms| format!(", and has done so for {} at least", status::age(ms))).unwrap_or_default();
    let constraints = cib.child("configuration").and_then(|c| c.child("constraints"));
    let locations = constraints.into_iter().flat_map(|c| &c.children).filter(|c| c.name == "rsc_location");
    locations.filter_map(|location| note(location, &age)).collect()
}

fn note(location: &Element, age: &str) -> Option<Note> {
    let (id, resource) = (location.id()?, location.get("rsc")?);
    // With a lifetime it names its node in a rule.
    let node = location.get("node").or_else(|| node_of_rule(location)).unwrap_or("a node");
    let until = if location.child("rule").is_some() { "until its time is over" } else { "for good" };
    let what = if id.starts_with("cli-ban-") {
        format!("a move has left a ban behind: {id} keeps {resource} away from {node} {until}{age}")
    } else if id.starts_with("cli-prefer-") {
        format!("a move has left a wish behind: {id} draws {resource} to {node} {until}{age}")
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
        let notes = left_behind(&Element::parse(&text, "test").unwrap(), 1_800_000_000, |_| 0);
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
    #[test]
    fn what_a_move_left_is_as_old_as_the_last_change_at_least() {
        let ban = r#"<rsc_location id="cli-ban-shop-on-n1" rsc="shop" node="n1" score="-INFINITY"/>"#;
        let text = format!(
            "<cib cib-last-written=\"Fri Jan 15 08:00:00 2027\"><configuration><constraints>{ban}</constraints></configuration></cib>"
        );
        let root = Element::parse(&text, "test").unwrap();
        let told = |now: i64| left_behind(&root, now, |_| 3_600).remove(0).what;
        // 07:00:00 UTC.
        let written = 1_799_996_400;
        assert!(told(written + 59).ends_with("away from n1 for good"), "{}", told(written + 59));
        let three_hours = told(written + 3 * 3_600);
        assert!(three_hours.ends_with(" for good, and has done so for 3 h at least"), "{three_hours}");
    }
}
