//! Failfast on a node: everything between the registry (`failfast-core`, no I/O) and the kernel.
//!
//! | module | what | used by |
//! |---|---|---|
//! | [`client`] | arm, beat, disarm, list over the failfast socket | `rgmd`, `holdfast` |
//! | [`server`] | the socket's other side, non-blocking, one descriptor to poll | `cmmd` |
//! | [`spawn`] | starts the guardian and talks to it | `cmmd` |
//! | [`guardian`] | what the two say to each other | `cmmd`, `holdfast-guardian` |
//! | [`panic_path`] | how a node goes down, prepared in advance | `holdfast-guardian`, `cmmd` without one |
//! | [`grave`] | the reason on the quorum disks | `holdfast-guardian`, `cmmd` |
//! | [`black_box`] | last events and reasons on disk | all |
//! | [`watchdog`] | the watchdog device | `cmmd` |
//!
//! # How `cmmd` uses it
//!
//! At start, before memory is locked and before realtime priority: [`FailfastServer::bind`], then [`Guardian::spawn`]
//! with a [`Setup`] (sealed packets are opaque bytes here). [`PanicPath::prepare`] with the same set-up is `cmmd`'s own
//! way down should the guardian be gone.
//!
//! In the poll set: the server's descriptor and [`Guardian::pidfd`]. Each turn:
//! 1. [`Guardian::progress`] stamps the turn;
//! 2. [`FailfastServer::handle_ready`] when its descriptor is readable, again in the next turn if it says so, and
//!    [`FailfastServer::handle_timeout`] at [`FailfastServer::next_timeout`];
//! 3. [`FailfastServer::poll_output`] until `None`: events to the log; a `TakeDown` to [`take_down`], which does not
//!    return;
//! 4. a readable guardian's pidfd: [`spawn::Respawn`] starts another one on a helper thread; if that fails,
//!    [`take_down`] with [`failfast_core::Reason::guardian_died`];
//! 5. [`Watchdog::feed`] while [`FailfastServer::within_deadlines`] and what else must hold.
//!
//! An orderly stop: [`Guardian::release`], then [`Watchdog::disarm`].
//!
//! # What a node must observe
//!
//! * Scope `run-dir`: every process carries `HOLDFAST_RUN_DIR`. One without it cannot arm, is never killed, and while it
//!   is a child of the node's processes no last word is sent. So a daemon that starts others is best their subreaper
//!   (`PR_SET_CHILD_SUBREAPER`): children that detach then still show as the node's. A program that writes its title over
//!   its environment (PostgreSQL, nginx) is such a stray: nodes that run those want scope `pid-namespace`, or a fence
//!   device.
//! * Scope `pid-namespace`: the namespace is the node's own, /proc inside is its own, and process 1 is neither `cmmd` nor
//!   one that ends when its children do: it would take the guardian along before the last word.
//! * `cmmd` never closes the guardian's channel without [`Guardian::release`] and never ends without it in good order: any
//!   other end of it is its death.
//!
//! # How the reason can be read afterwards
//!
//! On the node: kernel log at emergency level, standard error of `cmmd`, its log file, and the black box
//! `<state>/blackbox` ([`black_box::read`]). On the survivors: in the gasp, if its packet was sealed with it.

#![forbid(unsafe_code)]

pub mod black_box;
pub mod client;
pub mod grave;
pub mod guardian;
pub mod panic_path;
mod scribe;
pub mod server;
pub mod spawn;
pub mod watchdog;

pub use client::Client;
pub use failfast_core as core;
pub use grave::Grave;
pub use guardian::{Link, Packets, Setup};
pub use panic_path::{Outcome, PanicPath};
pub use server::{FailfastServer, ServerConfig};
pub use spawn::{Guardian, take_down};
pub use watchdog::Watchdog;
