//! The reference configuration on real clusters: two nodes and three, on `cmmd` and on the distribution's corosync, real PostgreSQL on
//! a shared disk, the distribution's crmsh and agents, and what operators of such sites rehearse: faults, what they are
//! shown, and how they recover.
//!
//! What is another than in a real installation: nodes are called n1, n2 and n3; monitors run every two seconds instead of ten; a lock
//! that nobody renews is free after 6 s instead of 70, and a standby node holds its fence back for 6 s instead of 25; the
//! power switch (`external/ipmi` there) is the harness's fence agent; the shared disk is a loop device, which all nodes have from one kernel, so that no write is lost
//! with a machine's memory; `ocf:holdfast:diskd` takes the place of `ocf:pacemaker:diskd`.

mod rig;
mod screens;
mod steps;
mod stories;
mod watch;
