//! M1 and M2: nodes that install the same ring id have the same member list; a node is in every configuration it
//! installs.

use cmm_proto::ConfigurationKind;

use super::Invariant;
use crate::oracle::{History, Observation, What};

#[derive(Default)]
pub(crate) struct SameMembers;

impl Invariant for SameMembers {
    fn name(&self) -> &'static str {
        "M1/M2"
    }

    fn claim(&self) -> &'static str {
        "nodes that install the same ring id have the same member list, and each is in it"
    }

    fn observe(&mut self, history: &History, seen: &Observation<'_>) -> Result<(), String> {
        let What::Configuration(c, _) = seen.what else { return Ok(()) };
        let me = history.lives[seen.life].id;
        if !c.members.contains(&me) {
            return Err(format!("node {me} installs {:?} {} with members {:?}", c.kind, c.ring, c.members));
        }
        if !c.members.is_sorted_by(|a, b| a < b) {
            return Err(format!("members {:?} of {} are not in ascending order", c.members, c.ring));
        }
        if c.kind == ConfigurationKind::Regular {
            let first = &history.rings[&c.ring].members;
            if *first != c.members {
                let (ring, members) = (c.ring, &c.members);
                return Err(format!(
                    "ring {ring} has members {first:?}, and on node {me} it has {members:?}"
                ));
            }
            if !c.members.contains(&c.ring.representative) {
                return Err(format!("ring {} is not its representative's: members {:?}", c.ring, c.members));
            }
        }
        Ok(())
    }
}
