//! The only unsafe code of Holdfast: thin safe wrappers over system calls, one module a concern.

pub mod alarm;
pub mod block;
pub mod clock;
pub mod counting;
pub mod daemonize;
pub mod fdpass;
pub mod heap;
pub mod host;
pub mod interfaces;
pub mod kmsg;
pub mod leader;
pub mod net;
pub mod orphans;
pub mod pidfd;
pub mod process_tree;
pub mod realtime;
pub mod refused;
pub mod service;
pub mod sg;
pub mod shm;
pub mod spawn;
pub mod stamp;
pub mod terminal;
pub mod timezone;
pub mod uring;
pub mod watchdog;
