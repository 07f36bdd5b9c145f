//! The only unsafe code of Holdfast: thin safe wrappers over system calls, one module a concern.

pub mod shm;
pub mod spawn;
