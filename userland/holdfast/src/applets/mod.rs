//! What `holdfast` can be: a module an applet, and the table of the names people know.

pub(crate) mod crm_mon;
pub(crate) mod link;
pub(crate) mod status;

/// Names under which this program stands in for another command, each also an applet.
pub(crate) const STAND_INS: [&str; 1] = ["crm_mon"];
