//! Access lists: what a user may read and write, as `acls` says it and `enable-acl` has it count.
//!
//! A permission marks the elements that it selects. For any element the nearest mark above decides: a denial before all, writing
//! includes reading. What cannot be judged is denied.

use std::collections::BTreeMap;

use crate::operation::Refusal;
use crate::patch::pairing;
use crate::tree::Element;
use crate::upgrade::upgrade;
use crate::values::parse_bool;
use crate::xpath::{Place, XPath};

const READ: u8 = 1;
const WRITE: u8 = 2;
const DENY: u8 = 4;

type Marks = BTreeMap<Place, u8>;

/// What one user may do.
pub(crate) struct Acl {
    permissions: Vec<(u8, Option<XPath>)>,
}

impl Acl {
    /// Those of a user in this document; `None`: the user may do everything, or lists do not count.
    pub(crate) fn of(root: &Element, user: Option<&str>, groups: &[String]) -> Option<Self> {
        let user = user.filter(|user| !user.is_empty() && !matches!(*user, "root" | "hacluster"))?;
        if !is_enabled(root) {
            return None;
        }
        let acls = root.child("configuration").and_then(|c| c.child("acls"));
        let old = acls.is_some_and(|acls| acls.child("acl_user").is_some());
        // The form of the first family is read in that of the third.
        let upgraded = old.then(|| upgrade(root.clone()).root);
        let acls = match &upgraded {
            Some(root) => root.child("configuration").and_then(|c| c.child("acls")),
            None => acls,
        };
        let Some(acls) = acls else { return Some(Self { permissions: Vec::new() }) };
        let is_mine = |entry: &&Element| match entry.name.as_str() {
            "acl_target" => entry.get("name").or(entry.id()) == Some(user),
            "acl_group" => {
                entry.get("name").or(entry.id()).is_some_and(|name| groups.iter().any(|group| group == name))
            }
            _ => false,
        };
        let roles = acls.children.iter().filter(is_mine).flat_map(|entry| entry.children_named("role"));
        let named = |id: Option<&str>| acls.children_named("acl_role").find(|role| role.id() == id);
        let entries =
            roles.filter_map(|role| named(role.id())).flat_map(|r| r.children_named("acl_permission"));
        Some(Self { permissions: entries.filter_map(permission).collect() })
    }

    fn marks(&self, root: &Element) -> Result<Marks, Refusal> {
        let mut marks = Marks::new();
        for (kind, xpath) in &self.permissions {
            let places = match xpath {
                Some(xpath) => xpath.select(root).map_err(|e| denied(e.to_string()))?,
                // Whatever it was meant to keep away: all is kept away.
                None => vec![Place::new()],
            };
            for place in places {
                *marks.entry(place).or_default() |= kind;
            }
        }
        Ok(marks)
    }

    /// The document without what the user may not read. Ids of what lies above something readable stay.
    pub(crate) fn readable(&self, root: &Element) -> Result<Element, Refusal> {
        let marks = self.marks(root)?;
        let mut place = Place::new();
        purged(root, &mut place, &marks)
            .ok_or_else(|| denied("the access lists let this user read nothing".into()))
    }

    /// Refuses a change that the user may not make.
    pub(crate) fn check(&self, old: &Element, new: &Element) -> Result<(), Refusal> {
        let check = Check { before: self.marks(old)?, after: self.marks(new)? };
        check.element(old, new, &mut Place::new(), &mut Place::new())
    }
}

fn is_enabled(root: &Element) -> bool {
    let options = root.child("configuration").and_then(|c| c.child("crm_config"));
    let sets = || options.into_iter().flat_map(|o| o.children_named("cluster_property_set"));
    // The tools' own set is looked at first.
    let own = |set: &&Element| set.id() == Some("cib-bootstrap-options");
    let ordered = sets().filter(own).chain(sets().filter(|set| !own(set)));
    let found =
        ordered.flat_map(|s| s.children_named("nvpair")).find(|p| p.get("name") == Some("enable-acl"));
    found.and_then(|pair| pair.get("value")).and_then(parse_bool).unwrap_or(false)
}

/// What a permission allows, and where; nowhere that can be told: `None` inside.
fn permission(entry: &Element) -> Option<(u8, Option<XPath>)> {
    let kind = match entry.get("kind")? {
        "read" => READ,
        "write" => WRITE,
        "deny" => DENY,
        _ => return None,
    };
    let (tag, reference, attribute) =
        (entry.get("object-type"), entry.get("reference"), entry.get("attribute"));
    // An id with a quote could say something else.
    let safe = [tag, reference, attribute].iter().flatten().all(|text| !text.contains(['\'', '"', '[', ']']));
    let path = match (entry.get("xpath"), tag, reference) {
        (Some(xpath), ..) => Some(xpath.to_owned()),
        (None, None, None) => None,
        (None, tag, reference) => {
            let conditions: Vec<String> = reference
                .map(|id| format!("@id='{id}'"))
                .into_iter()
                .chain(attribute.map(|name| format!("@{name}")))
                .collect();
            let predicate =
                if conditions.is_empty() { String::new() } else { format!("[{}]", conditions.join(" and ")) };
            safe.then(|| format!("//{}{predicate}", tag.unwrap_or("*")))
        }
    };
    match path.and_then(|path| XPath::parse(&path).ok()) {
        Some(xpath) => Some((kind, Some(xpath))),
        None if kind == DENY => Some((kind, None)),
        None => None,
    }
}

fn denied(detail: String) -> Refusal {
    Refusal::new(4, "Permission denied", detail)
}

fn allows(mark: u8, what: u8) -> bool {
    mark & DENY == 0 && (mark & what != 0 || (what == READ && mark & WRITE != 0))
}

fn mark(marks: &Marks, place: &[usize]) -> u8 {
    marks.get(place).copied().unwrap_or(0)
}

/// An element that is not readable itself: what below it is, with the ids on the way.
fn purged(element: &Element, place: &mut Place, marks: &Marks) -> Option<Element> {
    if allows(mark(marks, place), READ) {
        return Some(kept(element, place, marks));
    }
    let mut left = Element { position: element.position, ..Element::new(&element.name) };
    if let Some(id) = element.id() {
        left.attributes.insert("id", id);
    }
    for (i, child) in element.children.iter().enumerate() {
        place.push(i);
        left.children.extend(purged(child, place, marks));
        place.pop();
    }
    (!left.children.is_empty()).then_some(left)
}

/// A readable element: all of it but what is denied.
fn kept(element: &Element, place: &mut Place, marks: &Marks) -> Element {
    let mut left = element.clone_alone();
    for (i, child) in element.children.iter().enumerate() {
        place.push(i);
        if mark(marks, place) & DENY == 0 {
            left.children.push(kept(child, place, marks));
        } else {
            left.children.extend(purged(child, place, marks));
        }
        place.pop();
    }
    left
}

struct Check {
    before: Marks,
    after: Marks,
}

impl Check {
    /// Two states of one element.
    fn element(&self, old: &Element, new: &Element, was: &mut Place, is: &mut Place) -> Result<(), Refusal> {
        if old.attributes != new.attributes {
            writable(&self.before, was, old, "change")?;
        }
        if old.children == new.children {
            return Ok(());
        }
        let (from, to) = pairing(old, new);
        let order: Vec<usize> = to.iter().flatten().copied().collect();
        if !order.is_sorted() {
            writable(&self.before, was, old, "reorder what is in")?;
        }
        for (i, child) in old.children.iter().enumerate().filter(|(i, _)| from[*i].is_none()) {
            was.push(i);
            writable(&self.before, was, child, "remove")?;
            was.pop();
        }
        for (i, child) in new.children.iter().enumerate() {
            is.push(i);
            match to[i] {
                Some(j) => {
                    was.push(j);
                    self.element(&old.children[j], child, was, is)?;
                    was.pop();
                }
                None => self.created(child, is)?,
            }
            is.pop();
        }
        Ok(())
    }

    /// Something new. What only holds other things needs no permission, outside of the access lists.
    fn created(&self, new: &Element, is: &mut Place) -> Result<(), Refusal> {
        let bare = new.attributes.keys().all(|name| name == "id") && !new.name.starts_with("acl");
        if !bare || new.name == "role" {
            writable(&self.after, is, new, "create")?;
        }
        for (i, child) in new.children.iter().enumerate() {
            is.push(i);
            self.created(child, is)?;
            is.pop();
        }
        Ok(())
    }
}

/// The nearest mark above that allows or denies decides.
fn writable(marks: &Marks, place: &[usize], element: &Element, what: &str) -> Result<(), Refusal> {
    for above in (0..=place.len()).rev().map(|depth| mark(marks, &place[..depth])) {
        if allows(above, WRITE) {
            return Ok(());
        }
        if above & DENY != 0 {
            break;
        }
    }
    let id = element.id().map(|id| format!(" id=\"{id}\"")).unwrap_or_default();
    Err(denied(format!(
        "the access lists do not let this user {what} <{}{id}>; see: cibadmin --query --scope acls",
        element.name
    )))
}
