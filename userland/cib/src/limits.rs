//! Every maximum of this crate: a CIB comes from files and from peers, and must not make us allocate without bound.

/// Largest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting of elements.
pub const DEPTH_MAX: usize = 32;
/// Most elements of a document.
pub const ELEMENTS_MAX: usize = 100_000;
/// Most attributes of one element.
pub const ATTRIBUTES_MAX: usize = 256;
/// Most resources, members of groups included.
pub const RESOURCES_MAX: usize = 4_096;

const _: () = assert!(RESOURCES_MAX < ELEMENTS_MAX);
