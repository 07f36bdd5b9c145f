//! Several managers on an order bus of the test's own, with agents that the test plays: no daemon, no clock, one seed a
//! run. After every step the rule that matters most is checked: nothing runs twice.

mod chaos;
mod stories;
mod unfencing;
mod world;
