//! `quorum { device { model: scsi … } }`: a disk whose SCSI-3 persistent reservation is the vote.

use holdfast_types::Span;

use crate::schema::parse_number;
use crate::{Diagnostics, Section};

/// One disk that all nodes reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumScsi {
    /// `device.scsi.device`.
    pub path: String,
    /// `device.scsi.interval`: each node looks at the reservation once in this time.
    pub interval: Span,
    /// `device.scsi.tko`: after so many intervals without an answer the vote does not count, and after its reservation was taken as
    /// long is waited.
    pub tko: u32,
}

impl QuorumScsi {
    /// How long the vote counts from a look.
    #[must_use]
    pub fn lease(&self) -> Span {
        self.interval.scale(self.tko.into(), 1)
    }
}

pub(crate) fn read(device: &Section, found: &mut Diagnostics) -> Option<QuorumScsi> {
    let get = |key: &str| device.get(&["scsi"], key);
    let number = |key: &str| get(key).and_then(|i| parse_number(&i.value));
    let Some(path) = get("device").map(|i| i.value.clone()).filter(|p| p.starts_with('/')) else {
        let text = "a disk with reservations is named by an absolute path; write \"scsi { device: /dev/disk/by-id/… }\"";
        found.error(device.at(), text);
        return None;
    };
    Some(QuorumScsi {
        path,
        interval: Span::from_millis(number("interval").unwrap_or(500)),
        tko: number("tko").and_then(|n| u32::try_from(n).ok()).unwrap_or(4),
    })
}
