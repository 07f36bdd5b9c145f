//! The CIB reader and writer through their public door.

mod hostile;
mod operation;
mod patch;
mod reading;
mod upgrade;
mod validate;
mod writing;
mod xpath;

/// A document around these resources.
fn with_resources(resources: &str) -> String {
    format!("<cib>\n<configuration>\n<resources>\n{resources}\n</resources>\n</configuration>\n</cib>\n")
}

const FULL: &str = include_str!("testdata/full.xml");
