//! The failfast registry: which processes a node cannot do without, and when one of them takes the node down.
//!
//! A *unit* is such a process. It arms itself with a delay and, if it likes, a heartbeat limit. When the process dies,
//! or its heartbeat is late, the delay starts; if the unit is not armed again before it ends, the node goes down with
//! a text that operators know: `Failfast: Aborting because "rgmd" died 35 seconds ago.`
//!
//! No I/O here: [`Registry`] is a state machine. Requests, deaths and the current time go in; [`Output`]s come out.
//! Nothing on the way from a death to a [`Decision`] allocates: names and texts are of fixed size, and a text is
//! rendered when its unit arms, all but the number.
//!
//! ```
//! use failfast_core::{ArmRequest, Decision, Mode, Output, Registry, UnitName};
//! use holdfast_types::{Boottime, Span};
//!
//! let at = |s: u64| Boottime::from_nanos(s * 1_000_000_000);
//! let mut registry = Registry::new(Mode::Exit, at(0));
//! let request = ArmRequest {
//!     name: UnitName::new("rgmd").unwrap(),
//!     delay: Span::from_secs(35),
//!     heartbeat: Span::ZERO,
//!     mode: None,
//!     restarts: None,
//! };
//! let key = registry.arm(at(1), 4711, &request).unwrap();
//! registry.handle_death(at(10), key);
//! registry.handle_timeout(at(45));
//! let taken_down = std::iter::from_fn(|| registry.poll_output()).find_map(|output| match output {
//!     Output::Decision(Decision::TakeDown(reason)) => Some(reason.text.to_string()),
//!     Output::Event(_) => None,
//! });
//! assert_eq!(taken_down.as_deref(), Some("Failfast: Aborting because \"rgmd\" died 35 seconds ago."));
//! ```

#![forbid(unsafe_code)]

mod events;
pub mod limits;
mod mode;
mod name;
mod progress;
pub mod protocol;
mod reason;
mod registry;
mod text;

pub use events::{Event, Level};
pub use mode::{ExitScope, Mode, UnknownWord};
pub use name::{BadName, UnitName};
pub use progress::StuckDetector;
pub use reason::{Reason, ReasonKind};
pub use registry::{
    ArmError, ArmRequest, Decision, MaintenanceError, Output, Registry, Restarts, Trouble, UnitKey,
    UnitState, UnitView,
};
pub use text::Text;
