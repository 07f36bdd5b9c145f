//! What a cluster's document says to an operator who asks why something is as it is, and what has to be done next.
//!
//! [`View`] is a document with its status, looked at by the scheduler, and the fencing that is known. [`View::why`] answers in one sentence
//! with its evidence; [`View::doctor`] finds what is left over and which step of which recovery comes next. [`View::reasons`] are the lines
//! of the operator's log that say why nodes were chosen and refused.

#![forbid(unsafe_code)]

mod doctor;
mod history;
mod planned;
mod reasons;
mod recovery;
mod view;
mod why;

pub use doctor::{Diagnosis, Finding};
pub use history::Entry;
pub use planned::planned;
pub use recovery::{Pattern, Recovery, Step};
pub use view::{Fencing, View, last_change, watched};
pub use why::{Answer, Evidence};
