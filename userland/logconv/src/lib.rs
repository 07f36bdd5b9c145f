//! The operator's log: some eighty messages that say what an operator needs to know of a cluster, in words that monitoring systems
//! can rely on.
//!
//! [`Event`] is what can be said, with what each message needs; [`Event::message`] puts it into the words of the table ([`TABLE`]). The
//! words are an interface: a change of one breaks somebody's monitoring.
//!
//! Events come from two sides. A resource-group manager of ours knows them and calls [`Operator`], which adds the lines about fail-overs.
//! From the logs of Pacemaker and Corosync, and of our own daemons, [`Converter`] finds them by rules that a site may change.
//!
//! ```
//! use logconv::{Converter, Date, Rules, Settings};
//! let mut converter = Converter::new(Settings::default(), Rules::standard(), "srv01");
//! let said = converter.line(
//!     "May 25 16:30:05 srv01 crmd[2041]:   notice: Result of stop operation for db on srv01: 0 (ok)",
//!     Date { year: 2016, month: 5, day: 25 },
//! );
//! assert_eq!(said[0].to_string(), "May 25 16:30:05 srv01    info: Resource db stopped. (rc=0) ok");
//! ```

#![forbid(unsafe_code)]

mod convert;
mod event;
mod failover;
mod find;
mod line;
mod native;
mod rules;
mod settings;
mod state;
mod table;
mod words;

pub use convert::Converter;
pub use event::{Event, Level, Message, Operation, Outcome, Placement, Suffix};
pub use failover::{Cause, FailOver, Planned};
pub use line::{Date, Line, Raw, Stamp};
pub use native::Operator;
pub use rules::{Rule, RuleError, Rules};
pub use settings::{Condition, Settings, SettingsError};
pub use state::State;
pub use table::{Row, TABLE};
