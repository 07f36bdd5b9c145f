//! Quorum disks: found and opened by a thread of their own, which may hang as long as it likes, and then used by the event loop
//! through `io_uring`. What cannot be done is answered as a failure, so that the core goes on without it.
//!
//! Each read takes this node's mailbox along: an order arrives with the next cycle.

mod clerk;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use cmm_conf::{Config, DiskName, Priority};
use cmm_ipc::abi::cmap::Value;
use cmm_proto::Node;
use cmm_qdisk::{Area, Block, DiskId, Failure, Header, Layout, Mail, Order};
use crossbeam_queue::ArrayQueue;
use failfast::Grave;
use holdfast_sys::uring::Devices;
use holdfast_types::{Incarnation, NodeId};

use self::clerk::{Clerk, Opened, Opener};
use crate::log::Log;

/// All quorum disks of this node.
pub(crate) struct Disks {
    devices: Option<Devices>,
    disks: Vec<Disk>,
    opened: Arc<ArrayQueue<Opened>>,
    clerk: Option<Clerk>,
    /// Requests that never reached a disk.
    failed: VecDeque<(usize, Failure)>,
    slot: u8,
    /// The highest node id: what stands in slots behind it is nobody's, and not looked at.
    last: u8,
    life: Incarnation,
    area: Area,
    /// This node's places for the reason of its death on disks that were opened and not told of yet.
    graves: Vec<Grave>,
    /// The last order that was read.
    order: Option<Mail>,
    obeyed: u64,
    /// What CMAP shows.
    shown: BTreeMap<String, Value>,
}

struct Disk {
    name: DiskName,
    open: Option<Open>,
}

/// A disk in use.
struct Open {
    /// Its number among the devices.
    device: usize,
    layout: Layout,
    id: DiskId,
    path: String,
    label: String,
}

impl Disks {
    /// Has the configured disks opened, if there are any. `life`: this one.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        config: &Config,
        life: Incarnation,
        waker: Arc<mio::Waker>,
        log: &Log,
    ) -> io::Result<Self> {
        let names = config.quorum.disk().map_or(Vec::new(), |d| d.disks.clone());
        let slot = |node: &cmm_conf::Node| u8::try_from(node.id.get()).unwrap_or(u8::MAX);
        let last = config.nodes.iter().map(slot).max().unwrap_or(0);
        let mut disks = Self {
            devices: None,
            disks: names.iter().map(|name| Disk { name: name.clone(), open: None }).collect(),
            opened: Arc::new(ArrayQueue::new(names.len().max(1))),
            clerk: None,
            failed: VecDeque::new(),
            slot: slot(config.me()),
            last,
            life,
            area: Area::default(),
            graves: Vec::new(),
            order: None,
            obeyed: 0,
            shown: BTreeMap::new(),
        };
        if names.is_empty() {
            return Ok(disks);
        }
        let opener = Opener {
            waiting: names.into_iter().enumerate().map(|(disk, name)| (disk, name, String::new())).collect(),
            cluster: config.totem.cluster_name.clone(),
            last,
            opened: Arc::clone(&disks.opened),
            waker,
            log: log.clone(),
        };
        disks.clerk = Some(opener.start()?);
        Ok(disks)
    }

    /// Sets up what the loop uses disks with, on its own thread.
    pub(crate) fn set_up(&mut self, log: &Log) {
        if self.disks.is_empty() {
            return;
        }
        match Devices::new(u32::try_from(self.disks.len()).unwrap_or(1)) {
            Ok(devices) => self.devices = Some(devices),
            Err(error) => log.text(
                Priority::Err,
                format!("No quorum disk is used: io_uring: {error}; see /proc/sys/kernel/io_uring_disabled"),
            ),
        }
    }

    /// There are node ids up to this one.
    pub(crate) fn widen(&mut self, highest: u32) {
        self.last = self.last.max(u8::try_from(highest).unwrap_or(u8::MAX));
    }

    /// The disk that has room for the fewest nodes, and for how many.
    pub(crate) fn room(&self) -> Option<(&str, u8)> {
        let open = self.disks.iter().filter_map(|d| d.open.as_ref());
        open.map(|o| (o.path.as_str(), o.layout.slots())).min_by_key(|(_, room)| *room)
    }

    /// Readable when a disk has done something.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.devices.as_ref().map(|d| d.event().as_raw_fd())
    }

    /// The descriptor is readable.
    pub(crate) fn woken(&mut self) {
        if let Some(devices) = &mut self.devices {
            // It says so again as long as there is something.
            let _ = devices.woken();
        }
    }

    /// What the core wants of a disk.
    pub(crate) fn ask(&mut self, disk: usize, block: Option<&Block>) {
        self.take_opened();
        let open = self.disks.get(disk).and_then(|d| d.open.as_ref());
        let (Some(open), Some(devices)) = (open, &mut self.devices) else {
            self.failed.push_back((disk, Failure::Io(ENODEV)));
            return;
        };
        if let (Some(block), Some(pair)) = (block, devices.to_write(open.device)) {
            block.write(self.slot, &open.id, pair);
        }
        if let Err(error) = devices.start(open.device, block.is_some()) {
            self.failed.push_back((disk, errno(&error)));
        }
    }

    /// A request that is over, and what it has read.
    pub(crate) fn done(&mut self) -> Option<(usize, Result<&Area, Failure>)> {
        if let Some((disk, failure)) = self.failed.pop_front() {
            return Some((disk, Err(failure)));
        }
        let devices = self.devices.as_mut()?;
        let (device, result) = devices.done()?;
        let is_it = |d: &Disk| d.open.as_ref().is_some_and(|o| o.device == device);
        let disk = self.disks.iter().position(is_it)?;
        let open = self.disks[disk].open.as_ref()?;
        if let Err(error) = result {
            return Some((disk, Err(errno(&error))));
        }
        let bytes = devices.was_read(device).unwrap_or_default();
        let blocks = bytes.get(..open.layout.area(self.last)).unwrap_or_default();
        let read = self.area.read(open.layout, &open.id, blocks);
        if let Some(order) = order(bytes, open.layout, &open.id, self.slot, self.life)
            && read.is_ok()
            && order.number > self.obeyed
        {
            self.obeyed = order.number;
            self.order = Some(order);
        }
        Some((disk, read.map(|()| &self.area).map_err(Failure::Header)))
    }

    /// An order to this life of this node that was not taken yet.
    pub(crate) fn take_order(&mut self) -> Option<Mail> {
        self.order.take()
    }

    /// A place for the reason of this node's death that was not taken yet.
    pub(crate) fn take_grave(&mut self) -> Option<Grave> {
        self.graves.pop()
    }

    /// Has it looked up why that life of a node ended, for the log.
    pub(crate) fn ask_why(&self, node: NodeId, life: Incarnation) {
        if let (Some(clerk), Ok(slot)) = (&self.clerk, u8::try_from(node.get())) {
            clerk.ask(slot, life);
        }
    }

    /// `holdfast.qdisk.*`: what has changed since the last time.
    pub(crate) fn publish(
        &mut self,
        node: &Node,
        score: (u16, u16),
        min_score: u16,
        mut set: impl FnMut(&str, Value),
    ) {
        let Some(claim) = node.qdisk() else { return };
        let shown = &mut self.shown;
        let mut show = |key: String, value: Value| {
            if shown.get(&key) != Some(&value) {
                set(&key, value.clone());
                shown.insert(key, value);
            }
        };
        for (number, disk) in self.disks.iter().enumerate() {
            let base = format!("holdfast.qdisk.{number}");
            let (path, label) = disk.open.as_ref().map_or(("", ""), |o| (o.path.as_str(), o.label.as_str()));
            let state = match (claim.failure(number), disk.open.is_some()) {
                (None, true) => "works".to_owned(),
                (Some(why), true) => why.to_string(),
                (_, false) => "not open".to_owned(),
            };
            show(format!("{base}.name"), Value::str(&disk.name.to_string()));
            show(format!("{base}.path"), Value::str(path));
            show(format!("{base}.label"), Value::str(label));
            show(format!("{base}.state"), Value::str(&state));
        }
        let own = claim.own();
        let until = claim.hold(claim.now()).map_or(0, |hold| hold.until.as_nanos());
        let mut number = |key: &str, n: u64| show(format!("holdfast.qdisk.{key}"), Value::u64(n));
        number("disks", u64::try_from(self.disks.len()).unwrap_or(0));
        number("term", own.decided.term);
        number("owner", own.decided.owner.slot.into());
        number("owner_incarnation", own.decided.owner.life.get());
        number("sequence", own.sequence);
        number("until", until);
        number("alive", claim.alive());
        number("took_us", own.took.as_micros());
        number("interval_ms", own.interval.as_millis());
        number("lease_ms", own.lease.as_millis());
        number("score", score.0.into());
        number("score_max", score.1.into());
        number("min_score", min_score.into());
        number("wanted", own.wanted.into());
    }

    fn take_opened(&mut self) {
        while let (Some(opened), Some(devices)) = (self.opened.pop(), &mut self.devices) {
            let Header { layout, id, label, .. } = opened.header;
            let at = layout.block_at(self.slot);
            let device = devices.add(opened.file.into(), at, layout.pair(), read_len(layout, self.slot));
            self.graves.push(Grave {
                path: opened.path.clone(),
                id,
                layout,
                slot: self.slot,
                life: self.life,
            });
            let (path, label) = (opened.path.display().to_string(), label.to_string());
            self.disks[opened.disk].open = Some(Open { device, layout, id, path, label });
        }
    }
}

/// Header, all blocks, and on to this node's mailbox, which is behind them.
fn read_len(layout: Layout, slot: u8) -> usize {
    usize::try_from(layout.mail_at(slot)).unwrap_or(0) + layout.pair()
}

/// What is in this node's mailbox, if it is for this very life: a later one never obeys what was meant for an earlier one.
fn order(bytes: &[u8], layout: Layout, id: &DiskId, slot: u8, life: Incarnation) -> Option<Mail> {
    let at = usize::try_from(layout.mail_at(slot)).ok()?;
    let mail = Mail::read(slot, id, bytes.get(at..at + layout.pair())?).ok()?;
    (mail.order != Order::None && mail.life == life).then_some(mail)
}

fn errno(error: &io::Error) -> Failure {
    Failure::Io(error.raw_os_error().unwrap_or(EIO))
}

/// As in errno.h: `cmmd` has no `libc` of its own.
const EIO: i32 = 5;
const ENODEV: i32 = 19;

#[cfg(test)]
mod tests {
    use cmm_qdisk::format::Text;

    use super::*;

    #[test]
    fn an_order_is_for_one_life_of_one_node() {
        for (sector, slots) in [(512, 64), (4_096, 16)] {
            let layout = Layout::new(sector, slots).unwrap();
            let text = Text::new("");
            let header = Header {
                id: [7; 16],
                layout,
                created: 0,
                generation: 1,
                label: text,
                host: Text::new(""),
                cluster: Text::new(""),
            };
            let mut image = header.fresh();
            let slot = slots;
            let mail = Mail {
                order: Order::Evicted,
                life: Incarnation::new(5),
                number: 3,
                why: Text::new("it hangs"),
                ..Mail::empty()
            };
            let at = usize::try_from(layout.mail_at(slot)).unwrap();
            mail.write(slot, &[7; 16], &mut image[at..at + layout.pair()]);
            let bytes = &image[..read_len(layout, slot)];
            let read = |slot, life| order(bytes, layout, &[7; 16], slot, Incarnation::new(life));
            assert_eq!(read(slot, 5), Some(mail), "the read reaches it");
            assert_eq!(read(slot, 6), None, "a later life");
            assert_eq!(read(slot, 4), None, "an earlier one");
            assert_eq!(read(1, 0), None, "an empty mailbox is no order to anybody");
            let any = Mail { life: Incarnation::new(0), ..mail };
            any.write(slot, &[7; 16], &mut image[at..at + layout.pair()]);
            let bytes = &image[..read_len(layout, slot)];
            assert_eq!(
                order(bytes, layout, &[7; 16], slot, Incarnation::new(5)),
                None,
                "to whom it may concern"
            );
        }
    }
}
