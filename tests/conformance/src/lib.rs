//! Clusters drawn at random, shown to the predecessor's command and to ours: what both say of one must be the same.
//!
//! A seed is a cluster: it is drawn the same way every time and everywhere. [`Aspect`]s are what is compared; one more is one more
//! entry in [`Aspect::ALL`].

mod draw;
mod history;
mod peer;
mod resources;
mod scheduler_input;
mod verify;

pub use peer::{Aspect, Difference, compare, is_installed};
pub use scheduler_input::document;
pub use verify::{mutate, peer_accepts, we_accept};
