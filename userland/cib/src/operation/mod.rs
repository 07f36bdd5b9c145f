//! What is done to a CIB, as `cibadmin` names it, and what comes of it. Pure: a daemon, a file and a test get the same.
//!
//! ```
//! use cib::operation::{Operation, OperationKind, apply};
//! let before = cib::Element::parse(cib::operation::EMPTY, "example.xml")?;
//! let add = Operation {
//!     section: Some("resources".into()),
//!     xml: Some(r#"<primitive id="db" class="ocf" provider="heartbeat" type="Dummy"/>"#.into()),
//!     ..Operation::new(OperationKind::Create)
//! };
//! let after = apply(&before, &add)?.document;
//! assert_eq!(after.get("epoch"), Some("2"));
//! // Once more is refused, with the status that the command ends with.
//! assert_eq!(apply(&after, &add).unwrap_err().rc, 108);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod change;
mod version;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::acl::Acl;
use crate::patch;
use crate::tree::Element;
use crate::validate::{Severity, conforming};
use crate::xpath::XPath;

/// An empty CIB, as `cibadmin --empty` gives it.
pub const EMPTY: &str = r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0"><configuration><crm_config/><nodes/><resources/><constraints/></configuration><status/></cib>"#;

/// The peer's feature set: a document of a later one is refused.
pub const FEATURE_SET: &str = "3.16.1";

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Reads. Nothing changes.
    Query,
    /// Adds; what is there already is refused.
    Create,
    /// Merges into the first element of the same name and id: attributes that are given are set, children are merged in turn.
    Modify,
    /// Puts an element in the place of the one of the same name and id; a whole `<cib>` in the place of the document.
    Replace,
    /// Takes out the first element that has the given name and all the given attributes. One that is not there is no mistake.
    Delete,
    /// Takes out all that the XPath selects.
    DeleteAll,
    /// Raises `epoch`.
    Bump,
    /// Brings the document to the newest schema.
    Upgrade,
    /// Back to an empty document; `admin_epoch` is raised, so that it wins over older ones.
    Erase,
    /// Applies a patch ([`crate::patch`]).
    Patch,
}

/// One operation. All of it takes part in what comes of it, so members that apply the same to the same have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What.
    pub kind: OperationKind,
    /// In this section: `configuration`, `resources`, `status`, …; none or an unknown one: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// What an XPath selects, in place of a section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xpath: Option<String>,
    /// The element to work with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xml: Option<String>,
    /// Whose permissions count; none, `root` and `hacluster`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The groups of that user, for access lists of groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What a changed configuration says of its last change; none: it stays as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
    /// The rest.
    #[serde(default)]
    pub options: Options,
}

/// Details of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Modify: adds what is not there.
    #[serde(default)]
    pub allow_create: bool,
    /// Query: elements without what is below them.
    #[serde(default)]
    pub no_children: bool,
    /// Query with XPath: the paths of what is found, as `<xpath-query-path id="PATH"/>`.
    #[serde(default)]
    pub node_path: bool,
}

/// When and by whom a configuration was changed, ready to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// `cib-last-written`: `Wed May 25 16:20:11 2016`. Text, since every member must write the same.
    pub written: String,
    /// `update-origin`: the node.
    pub origin: String,
    /// `update-client`: the command.
    pub client: String,
    /// `update-user`.
    pub user: String,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The document now. Its version is higher if anything changed.
    pub document: Element,
    /// What a query found.
    pub answer: Option<Element>,
    /// What changed; none: nothing did. Without what [`Stamp`] set.
    pub patch: Option<Element>,
    /// The change reached the configuration, not only the status.
    pub configuration_changed: bool,
}

/// Why nothing was done. As JSON it is the answer of `rgmd`'s socket: `{"error": TEXT, "rc": N, "details": […]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Exit status of Pacemaker's commands: 4 no permission, 70 makes no sense, 76 of a later release, 78 not valid, 103 older than
    /// what is there, 105 not there, 108 there already.
    #[serde(default = "failure")]
    pub rc: i32,
    /// In Pacemaker's words.
    #[serde(rename = "error")]
    pub text: String,
    /// In ours: what is wrong, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What could not be created, as Pacemaker shows it on standard output: `<failed>…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The status of a refusal that does not say one.
fn failure() -> i32 {
    1
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.details.iter().try_for_each(|line| write!(f, "; {line}"))
    }
}

impl std::error::Error for Refusal {}

impl Operation {
    /// An operation without anything.
    #[must_use]
    pub fn new(kind: OperationKind) -> Self {
        Self {
            kind,
            section: None,
            xpath: None,
            xml: None,
            user: None,
            groups: Vec::new(),
            stamp: None,
            options: Options::default(),
        }
    }

    /// Reads a section; none: the whole document.
    #[must_use]
    pub fn query(section: Option<&str>) -> Self {
        Self { section: section.map(str::to_owned), ..Self::new(OperationKind::Query) }
    }

    /// Reads what an XPath selects: the element itself if it is one, else all of them below an `<xpath-query>`.
    #[must_use]
    pub fn select(xpath: &str) -> Self {
        Self { xpath: Some(xpath.to_owned()), ..Self::new(OperationKind::Query) }
    }

    /// Merges an element into a section, adding it where it is missing.
    #[must_use]
    pub fn merge(section: &str, element: &Element) -> Self {
        Self {
            section: Some(section.to_owned()),
            xml: Some(element.to_xml()),
            options: Options { allow_create: true, ..Options::default() },
            ..Self::new(OperationKind::Modify)
        }
    }

    /// Whether it leaves the document as it is, whatever it finds.
    #[must_use]
    pub fn is_query(&self) -> bool {
        self.kind == OperationKind::Query
    }
}

impl Refusal {
    pub(crate) fn new(rc: i32, text: &str, detail: impl Into<String>) -> Self {
        Self { rc, text: text.to_owned(), details: vec![detail.into()], failed: None }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(70, "Invalid argument", detail)
    }

    pub(crate) fn missing(detail: impl Into<String>) -> Self {
        Self::new(105, "No such device or address", detail)
    }
}

/// What a query finds. As [`apply`], without a copy of the document.
///
/// # Errors
/// When there is nothing, or its user may read none of it.
pub fn query(document: &Element, operation: &Operation) -> Result<Element, Refusal> {
    let xpath = path(operation)?;
    match Acl::of(document, operation.user.as_deref(), &operation.groups) {
        Some(acl) => change::query(&acl.readable(document)?, operation, xpath.as_ref()),
        None => change::query(document, operation, xpath.as_ref()),
    }
}

fn path(operation: &Operation) -> Result<Option<XPath>, Refusal> {
    // Pacemaker's commands find nothing then.
    let parse = |text| XPath::parse(text).map_err(|e| Refusal::missing(e.to_string()));
    operation.xpath.as_deref().map(parse).transpose()
}

/// Applies an operation to a document.
///
/// # Errors
/// When it cannot be done; the document stays as it was then.
pub fn apply(document: &Element, operation: &Operation) -> Result<Applied, Refusal> {
    if operation.is_query() {
        let answer = Some(query(document, operation)?);
        let document = document.clone();
        return Ok(Applied { document, answer, patch: None, configuration_changed: false });
    }
    let xpath = path(operation)?;
    let input = change::input(operation)?;
    let mut new = change::change(document, operation, xpath.as_ref(), input.as_ref())?;
    if input.as_ref().is_some_and(change::counts_on) {
        change::expand_all(&mut new);
    }
    if let Some(acl) = Acl::of(document, operation.user.as_deref(), &operation.groups) {
        acl.check(document, &new)?;
    }
    version::check(document, &new)?;
    let configuration_changed = document.child("configuration") != new.child("configuration");
    if new == *document {
        let document = new;
        return Ok(Applied { document, answer: None, patch: None, configuration_changed: false });
    }
    version::raise(&mut new, configuration_changed);
    let made = patch::diff(document, &new).map_err(|e| Refusal::invalid(e.to_string()))?;
    if let (true, Some(stamp)) = (configuration_changed, &operation.stamp) {
        stamp.write(&mut new);
    }
    // What stands in the status is no part of a schema, and changes often.
    let is_status = operation.section.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("status"));
    if !is_status {
        check_schema(&new)?;
    }
    Ok(Applied { document: new, answer: None, patch: made, configuration_changed })
}

impl Stamp {
    fn write(&self, root: &mut Element) {
        root.attributes.insert("cib-last-written", &self.written);
        let old = root
            .get("validate-with")
            .and_then(crate::upgrade::schema_index)
            .is_none_or(|i| i < FIRST_WITH_ORIGIN);
        if old {
            return;
        }
        for (name, value) in
            [("update-origin", &self.origin), ("update-client", &self.client), ("update-user", &self.user)]
        {
            if value.is_empty() {
                root.attributes.remove(name);
            } else {
                root.attributes.insert(name, value);
            }
        }
    }
}

/// `pacemaker-1.2`: older documents have no place for who changed them.
const FIRST_WITH_ORIGIN: usize = 1;

fn check_schema(root: &Element) -> Result<(), Refusal> {
    let mut configuration = root.clone();
    // What stands there is no part of a schema, and there is much of it.
    let status = configuration.children.iter_mut().filter(|c| c.name == "status");
    status.for_each(|status| status.children.clear());
    let (_, findings) = conforming(configuration);
    let errors = findings.into_iter().filter(|f| f.severity == Severity::Error);
    let details: Vec<String> = errors.map(|f| format!("{}: {}; {}", f.path, f.what, f.remedy)).collect();
    if details.is_empty() {
        return Ok(());
    }
    let text = "Update does not conform to the configured schema".to_owned();
    Err(Refusal { rc: 78, text, details, failed: None })
}
