//! Tickets: what may run only where a site holds one.

use cib::{Element, Score};

use crate::assign::trace::Why;
use crate::model::{Flags, ResourceId, Role, Variant, WorkingSet};

use super::{Named, role_of};

/// What happens to what runs without its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnLoss {
    Stop,
    Demote,
    Fence,
    Freeze,
}

/// A resource's need of a ticket.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) ticket: String,
    pub(crate) role: Role,
}

impl<'c> WorkingSet<'c> {
    pub(super) fn read_ticket(&mut self, xml: &'c Element) {
        let Some(ticket) = xml.get("ticket") else { return };
        let loss = xml.get("loss-policy");
        if let Some(id) = xml.get("rsc") {
            let all = match self.named(id) {
                Some(Named::Resource(one)) => vec![one],
                Some(Named::All(all)) => all,
                None => Vec::new(),
            };
            for resource in all {
                self.need_ticket(resource, ticket, role_of(xml.get("rsc-role")), loss);
            }
            return;
        }
        for set in self.written_sets(xml) {
            for member in set.members {
                // One that is not there ends it; those before have been told.
                let Some(resource) = member else { return };
                self.need_ticket(resource, ticket, role_of(set.xml.get("role")), loss);
            }
        }
    }

    fn need_ticket(&mut self, id: ResourceId, ticket: &str, role: Role, loss: Option<&str>) {
        let loss = match loss {
            Some("fence") if self.options.fencing => OnLoss::Fence,
            Some("freeze") => OnLoss::Freeze,
            Some("demote") => OnLoss::Demote,
            None if role == Role::Promoted => OnLoss::Demote,
            _ => OnLoss::Stop,
        };
        self.tickets.entry(ticket.to_owned()).or_default();
        self.resource_mut(id).tickets.push(Need { ticket: ticket.to_owned(), role });
        self.apply_ticket(id, ticket, role, loss);
    }

    /// Parts that have no roles of their own have those of the whole.
    fn apply_ticket(&mut self, id: ResourceId, ticket: &str, role: Role, loss: OnLoss) {
        let state = self.tickets.get(ticket).cloned().unwrap_or_default();
        let children = self.resource(id).children.clone();
        if !children.is_empty() {
            for child in children {
                self.apply_ticket(child, ticket, role, loss);
            }
            return;
        }
        if state.granted && !state.standby {
            return;
        }
        let resource = self.resource(id);
        let runs = !resource.running_on.is_empty();
        let role_matches = role == Role::Unknown || role == resource.role;
        let everywhere = |set: &mut Self| set.place_everywhere(id, Score::MINUS_INFINITY, Why::Ticket);
        if !state.granted && runs {
            match loss {
                OnLoss::Stop => everywhere(self),
                OnLoss::Demote => {
                    // Promotion fails for want of the ticket.
                    if role != Role::Promoted {
                        everywhere(self);
                    }
                }
                OnLoss::Fence => {
                    if !role_matches {
                        return;
                    }
                    everywhere(self);
                    for node in self.resource(id).running_on.clone() {
                        self.fence_now(node, "deadman ticket was lost");
                    }
                }
                OnLoss::Freeze => {
                    if !role_matches {
                        return;
                    }
                    if matches!(self.resource(id).variant, Variant::Primitive) || role_matches {
                        let resource = self.resource_mut(id);
                        resource.set(Flags::MANAGED, false);
                        resource.set(Flags::BLOCKED, true);
                    }
                }
            }
        } else if !state.granted {
            if role != Role::Promoted || loss == OnLoss::Stop {
                everywhere(self);
            }
        } else if role != Role::Promoted || loss == OnLoss::Stop {
            // Granted, and in standby.
            everywhere(self);
        }
    }

    /// Whether a resource may be promoted as far as its tickets are concerned.
    pub(crate) fn has_tickets_for_promotion(&self, id: ResourceId) -> bool {
        self.resource(id)
            .tickets
            .iter()
            .filter(|n| n.role == Role::Promoted)
            .all(|n| self.tickets.get(&n.ticket).is_some_and(|t| t.granted && !t.standby))
    }
}
