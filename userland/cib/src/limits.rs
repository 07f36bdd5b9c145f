//! Every maximum of this crate: a CIB comes from files and from peers, and must not make us allocate without bound.

/// How large a document may be. Two bounds, since two kinds of programs read: a daemon, which holds a configuration and its copies in
/// locked memory for as long as it lives, gets it from peers, and keeps states elsewhere; and a command, which reads one
/// document with the history of every resource on every node, and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes.
    pub bytes: usize,
    /// Most elements.
    pub elements: usize,
}

/// What a daemon takes: a configuration of 4,000 resources has some 1.3 MB and 30,000 elements.
pub const CONFIGURATION: Bounds = Bounds { bytes: 4 * 1024 * 1024, elements: 100_000 };
/// What a command takes: 3,000 resources on 32 nodes, each with its history, are 55 MB and 200,000 elements. A tree takes some
/// five times the memory of its text, so at the very most 1.3 GB.
pub const DOCUMENT: Bounds = Bounds { bytes: 256 * 1024 * 1024, elements: 4_000_000 };
/// Deepest nesting of elements.
pub const DEPTH_MAX: usize = 32;
/// Most attributes of one element.
pub const ATTRIBUTES_MAX: usize = 256;
/// Most resources of a [`crate::Cib`], members of groups included.
pub const RESOURCES_MAX: usize = 4_096;

const _: () = assert!(RESOURCES_MAX < CONFIGURATION.elements);
const _: () = assert!(CONFIGURATION.bytes < DOCUMENT.bytes && CONFIGURATION.elements < DOCUMENT.elements);
