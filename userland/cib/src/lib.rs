//! Pacemaker's CIB: a tree that keeps order and positions, the typed view that the scheduler works on, and the writer.
//!
//! [`Cib::parse`] reads a whole document. Errors name file, line and remedy; what is valid but not honoured yet is
//! kept in the tree and said in [`Cib::warnings`], never dropped in silence.
//!
//! ```
//! let cib = cib::Cib::parse(
//!     r#"<cib epoch="1"><configuration><resources>
//!          <primitive id="db" class="ocf" provider="heartbeat" type="Dummy"/>
//!        </resources></configuration></cib>"#,
//!     "example.xml",
//! )?;
//! assert_eq!(cib.primitive("db").unwrap().agent(), "ocf:heartbeat:Dummy");
//! # Ok::<(), cib::CibError>(())
//! ```

#![forbid(unsafe_code)]

mod acl;
mod children;
mod condition;
mod date;
mod digest;
mod edit;
mod error;
pub mod limits;
mod model;
mod nvpairs;
pub mod operation;
mod options;
mod pairs;
mod parse;
pub mod patch;
mod read;
mod rules;
mod tree;
mod upgrade;
mod validate;
mod values;
mod write;
pub mod xpath;

pub use children::Children;
pub use condition::{Attributes, Facts, compare_versions};
pub use date::Moment;
pub use digest::{md5_hex, on_disk as digest_on_disk, versioned as digest_versioned};
pub use edit::EditError;
pub use error::{CibError, Warning};
pub use model::{
    Cib, FencingLevel, FencingTarget, Location, LocationScore, Meta, Node, OnFail, Operation, Primitive,
    Resource, TargetRole, Version,
};
pub use nvpairs::{Ids, Precedence, collect};
pub use options::{NoQuorumPolicy, Options, StonithAction};
pub use pairs::Pairs;
pub use parse::is_xml_name;
pub use rules::{Comparison, Condition, NodeFacts, Rule};
pub use tree::{Element, Position};
pub use upgrade::{Change, SCHEMAS, Upgraded, schema_index, upgrade};
pub use validate::{Finding, Severity, Validated, validate};
pub use values::{Score, parse_bool, parse_duration_ms};
pub use write::escape;
