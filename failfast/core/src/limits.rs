//! Every maximum of failfast in one place, with what relates them.

use holdfast_types::Span;

/// Units of one node, disarmed ones that are still listed included.
pub const UNITS_MAX: usize = 64;
/// Bytes in a unit's name.
pub const NAME_MAX: usize = 48;
/// Bytes in a reason: name, wording and number fit, and so does a sentence of the protocol core.
pub const TEXT_MAX: usize = 216;
/// Longest delay of a unit, and longest heartbeat limit.
pub const INTERVAL_MAX: Span = Span::from_secs(3_600);
/// Restarts of a unit that are counted.
pub const RESTARTS_MAX: u8 = 16;
/// Longest maintenance: one that is forgotten is over by the next shift.
pub const MAINTENANCE_MAX: Span = Span::from_secs(4 * 3_600);
/// So often the log says that there is one.
pub const MAINTENANCE_REMINDER: Span = Span::from_secs(300);
/// Bytes in one request on the failfast socket.
pub const REQUEST_MAX: usize = 512;
/// Bytes in one reply: a full list.
pub const REPLY_MAX: usize = UNITS_MAX * 448;
/// Events that wait for [`crate::Registry::poll_output`]; more are counted and dropped, decisions never.
pub const EVENTS_MAX: usize = 4 * UNITS_MAX;
/// A turn of the loop that comes later than asked for by more than this is a pause of the loop and no lateness of
/// the units: their clocks stand still for it.
pub const PAUSE_SLACK: Span = Span::from_millis(500);
/// How long `cmmd` may go without progress before its guardian takes the node down, where nothing is configured.
/// Generous: a stopped and continued node shall come back as a member.
pub const GUARDIAN_LIMIT_DEFAULT: Span = Span::from_secs(30);

const _: () = assert!(TEXT_MAX >= NAME_MAX + 96, "every wording around a name fits a text");
const _: () = assert!(EVENTS_MAX >= UNITS_MAX, "one turn may trigger every unit");
