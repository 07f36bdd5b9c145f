//! The cluster as the commands see it: its document, wherever that is, and what they ask rgmd.

use std::time::UNIX_EPOCH;

use admin::Cluster;
use cib::operation::{Operation, OperationKind, Options, Refusal};
use cib::{Element, Moment};
use serde_json::Value;

/// A way to the cluster.
pub(super) struct Session {
    cluster: Box<dyn Cluster>,
}

impl Session {
    /// To the file or shadow that the environment names, else to the cluster that runs here.
    pub(super) fn open() -> Result<Self, Refusal> {
        Ok(Self { cluster: admin::open()? })
    }

    /// Whether the document is that of a running cluster.
    pub(super) fn is_live(&self) -> bool {
        self.cluster.is_live()
    }

    /// The whole document.
    pub(super) fn document(&mut self) -> Result<Element, Refusal> {
        let found = self.cluster.cib(&operation(OperationKind::Query, None, None))?;
        found.ok_or_else(|| Refusal {
            rc: 105,
            text: "the cluster has no configuration".into(),
            ..Refusal::default()
        })
    }

    /// The whole document as of the newest schema, which is what the scheduler reads.
    pub(super) fn upgraded(&mut self) -> Result<Element, Refusal> {
        self.document().map(|document| cib::upgrade(document).root)
    }

    /// Puts an element into a section, also where it is not there yet.
    pub(super) fn update(&mut self, section: &str, xml: &Element) -> Result<(), Refusal> {
        let mut operation = operation(OperationKind::Modify, Some(section), Some(xml));
        operation.options = Options { allow_create: true, ..Options::default() };
        self.cluster.cib(&operation).map(drop)
    }

    /// Changes an element of a section that is there; what is new inside of it is added.
    pub(super) fn modify(&mut self, section: &str, xml: &Element) -> Result<(), Refusal> {
        self.cluster.cib(&operation(OperationKind::Modify, Some(section), Some(xml))).map(drop)
    }

    /// Takes out what matches.
    pub(super) fn delete(&mut self, section: &str, xml: &Element) -> Result<(), Refusal> {
        self.cluster.cib(&operation(OperationKind::Delete, Some(section), Some(xml))).map(drop)
    }

    /// Puts an element in the place of that with its id.
    pub(super) fn replace(&mut self, section: &str, xml: &Element) -> Result<(), Refusal> {
        self.cluster.cib(&operation(OperationKind::Replace, Some(section), Some(xml))).map(drop)
    }

    /// Asks rgmd.
    pub(super) fn ask(&mut self, request: &Value) -> Result<Value, Refusal> {
        if !self.is_live() {
            // As from daemons that do not run: a document alone has none.
            return Err(Refusal { rc: 102, text: "Connection refused".into(), ..Refusal::default() });
        }
        self.cluster.ask(request)
    }
}

fn operation(kind: OperationKind, section: Option<&str>, xml: Option<&Element>) -> Operation {
    Operation { section: section.map(str::to_owned), xml: xml.map(Element::to_xml), ..Operation::new(kind) }
}

/// Now.
pub(super) fn clock() -> Moment {
    Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().cast_signed()))
}

/// A moment as people read it, in the local zone.
pub(super) fn ctime(seconds: i64) -> String {
    status::ctime(
        u64::try_from(seconds).unwrap_or(0).saturating_mul(1000),
        holdfast_sys::timezone::utc_offset,
    )
}
