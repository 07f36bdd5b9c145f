//! The node table: what this node's file says, what the members' files say, and the change of the one in force.
//!
//! Each member states in the exchange which table its file has, and says so again in order when it has read another one. At the
//! place where all members have said the same, and it is not the one in force, each of them begins to change it, if
//! that is possible there ([`crate::quorum`]); a change that was under way when its ring ended goes on in the next. So nobody has
//! to ask, nothing is forgotten, and what cannot be done yet is done when it can.
//!
//! Packets go to the nodes of the file as soon as it is read, and to those of the tables as long as they count: a node that
//! others do not know yet is to them one that they do not hear (`ring/reach.rs`).

use std::collections::BTreeMap;

use holdfast_types::{Boottime, NodeId, RingId};

use super::Node;
use crate::api::{Guarantee, NodeEntry, NodeTable, Output, Record, Refusal, TableId, TableView};
use crate::quorum::change::Change;
use crate::ring;
use crate::service::messages::{Message, State};
use crate::wire::NodeSet;

/// What files say.
pub(super) struct Files {
    /// Of this node, and its digest: every turn asks for it.
    own: NodeTable,
    digest: u64,
    /// What this node has said and the members may act on, beside that.
    stated: Vec<NodeTable>,
    /// Digests of what members have said in this ring.
    words: BTreeMap<NodeId, u64>,
    /// The ring in which this node said its word last, and what.
    said: Option<(RingId, u64)>,
    /// Something may be another one than told.
    review: bool,
    /// Packets go to nodes that may be none any more.
    shrinks: bool,
    /// The record in which the tables changed last.
    record: u64,
    told: TableView,
}

impl Files {
    pub(super) fn new(own: NodeTable) -> Self {
        Self {
            stated: vec![own.clone()],
            digest: own.digest(),
            own,
            words: BTreeMap::new(),
            said: None,
            review: true,
            shrinks: false,
            record: 0,
            told: TableView::default(),
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

impl Node {
    /// This node's file has this table now.
    pub(super) fn set_table(&mut self, table: &NodeTable) -> Result<(), Refusal> {
        if table.check().is_err() || table.votes(self.config.me).is_none() {
            return Err(Refusal::InvalidParam);
        }
        if *table != self.files.own {
            self.files.own = table.clone();
            self.files.digest = table.digest();
            self.files.stated.push(table.clone());
            self.files.review = true;
        }
        Ok(())
    }

    /// The node table of this node's file, as read last.
    #[must_use]
    pub fn file_table(&self) -> &NodeTable {
        &self.files.own
    }

    /// Tells the members what the file says, where they do not know it.
    pub(super) fn say_table(&mut self) {
        let word = (self.ring_id, self.files.digest());
        let known = self.files.words.get(&self.config.me) == Some(&word.1);
        if known || self.files.said == Some(word) || !self.reconfig.is_synchronised() {
            return;
        }
        self.files.said = Some(word);
        let message = Message::Table { ring: word.0, digest: word.1 };
        self.control.push_back((self.ring_id, Guarantee::Agreed, message.encode()));
    }

    /// The words of all members, in their states.
    pub(super) fn tables_stated(&mut self, states: &BTreeMap<NodeId, State>) {
        self.files.words = states.iter().map(|(node, state)| (*node, state.file)).collect();
        self.files.review = true;
        self.forget_stated();
        self.consider_table();
    }

    /// The word of a member, in its place of the order.
    pub(super) fn table_delivered(&mut self, sender: NodeId, digest: u64) {
        self.files.words.insert(sender, digest);
        self.files.review = true;
        if sender == self.config.me {
            self.forget_stated();
        }
        self.consider_table();
    }

    fn forget_stated(&mut self) {
        let word = self.files.words.get(&self.config.me).copied();
        let own = self.files.digest();
        self.files.stated.retain(|table| Some(table.digest()) == word || table.digest() == own);
        self.files.stated.dedup();
    }

    /// Begins a change, or goes on with one, if there is one to make. In places of the order only: all members come to the same.
    pub(super) fn consider_table(&mut self) {
        if self.changes.is_running() || self.left {
            return;
        }
        if self.quorum.tables().next.is_none() {
            let of_file = self.wanted().filter(|table| self.quorum.check_table(table).is_ok());
            let scaled = || self.settled_scale().filter(|table| self.quorum.may_scale(table));
            if let Some(table) = of_file.or_else(scaled) {
                self.begin_table(table);
            }
            return;
        }
        if !self.quorum.has_majority() {
            return;
        }
        self.changes.delivered(Change::Table, true);
        self.files.review = true;
    }

    /// Begins a change to this table, which was checked. In places of the order only.
    pub(super) fn begin_table(&mut self, table: NodeTable) {
        let id = TableId { ring: self.ring_id.seq, number: self.changes.next_number() };
        self.quorum.prepare_table(id, table);
        self.changes.delivered(Change::Table, true);
        self.files.review = true;
    }

    /// The table that the files of all members have, if it is another one than that in force. Who is out of the count stays so.
    fn wanted(&self) -> Option<NodeTable> {
        let digest = *self.files.words.get(&self.config.me)?;
        let tables = self.quorum.tables();
        let all = self.members.iter().all(|m| self.files.words.get(m) == Some(&digest));
        if !all || !tables.is_bound() || tables.table.digest() == digest {
            return None;
        }
        let stated = self.files.stated.iter().find(|table| table.digest() == digest);
        let stated = stated.expect("a node knows the tables that it has stated");
        Some(stated.clone().scaled(tables.table.scale.clone(), |id| self.members.contains(&id)))
    }

    /// A change was made.
    pub(super) fn table_changed(&mut self) {
        self.files.review = true;
    }

    /// Who packets go to, and what is told of it: when the file, the tables or the members are others.
    pub(super) fn review_table(&mut self, now: Boottime) {
        let shrinks = self.files.shrinks && self.is_settled();
        if !std::mem::take(&mut self.files.review) && !shrinks {
            return;
        }
        self.set_nodes(now);
        let tables = self.quorum.tables();
        let view = TableView {
            tables: tables.clone(),
            nodes: self.config.nodes.iter().map(|n| n.id).collect(),
            waits: self.table_waits(),
        };
        if view != self.files.told {
            self.files.told = view.clone();
            self.outputs.push_back(Output::Table(view));
        }
    }

    /// Why the file's table is not in force, in words.
    fn table_waits(&self) -> String {
        let tables = self.quorum.tables();
        let own = &self.files.own;
        if own.is_of_file(&tables.table) || !tables.is_bound() {
            return String::new();
        }
        if tables.next.is_some() {
            return "under way: it needs a majority of the old list and of the new one; start nodes that are missing".to_owned();
        }
        let digest = self.files.digest;
        if self.files.words.get(&self.config.me) != Some(&digest) {
            return String::new(); // the members are about to hear of it
        }
        let others = self.members.iter().filter(|m| self.files.words.get(m) != Some(&digest));
        let others: Vec<String> = others.map(NodeId::to_string).collect();
        match others.as_slice() {
            [] => {}
            [one] => {
                return format!("the file of node {one} has another one, or was not read again; {REMEDY}");
            }
            _ => {
                let list = others.join(", ");
                return format!(
                    "the files of nodes {list} have another one, or were not read again; {REMEDY}"
                );
            }
        }
        self.quorum.check_table(own).err().unwrap_or_else(|| "another change is under way".to_owned())
    }

    fn is_settled(&self) -> bool {
        self.ring.state() == ring::State::Operational && self.members == self.ring.members()
    }

    fn set_nodes(&mut self, now: Boottime) {
        let (tables, own, before) = (self.quorum.tables(), &self.files.own, &self.config.nodes);
        let next = tables.next.as_ref().map(|(_, table)| table);
        // Nobody goes while he may be in a ring.
        let settled = self.is_settled();
        let stay = before.iter().map(|n| n.id).filter(|id| !settled || self.members.contains(id));
        // There is room for so many: those who count come first, and who is new to the file last.
        let mut ids = NodeSet::of(self.config.me);
        for id in stay.chain(tables.table.ids()).chain(next.iter().flat_map(|t| t.ids())).chain(own.ids()) {
            ids.insert(id);
        }
        // The votes in force are those that rings are chosen by.
        let votes = |id: NodeId| {
            let known = || before.iter().find(|n| n.id == id).map(|n| n.votes);
            let tables = [Some(&tables.table), next, Some(own)];
            tables.into_iter().flatten().find_map(|t| t.votes_in_file(id)).or_else(known).unwrap_or_default()
        };
        let nodes: Vec<NodeEntry> = ids.iter().map(|id| NodeEntry { id, votes: votes(id) }).collect();
        self.files.shrinks = !settled;
        if nodes == self.config.nodes {
            return;
        }
        let me = self.config.me;
        let ids = || nodes.iter().map(|n| n.id);
        self.opener.set_nodes(me, ids());
        self.links.set_peers(now, ids().filter(|id| *id != me));
        self.ring.set_nodes(now, &nodes);
        self.detector.retain(|id| nodes.binary_search_by_key(&id, |n| n.id).is_ok());
        let listed = |id: &NodeId| nodes.binary_search_by_key(id, |n| n.id).is_ok();
        self.lives.retain(|id, _| listed(id));
        self.boots.retain(|id, _| listed(id));
        self.confirmed.retain(|id, _| listed(id));
        self.quorum.promised_mut().retain(now, listed);
        if let Some(device) = &mut self.device {
            device.set_nodes(now, nodes.iter().map(|n| n.id));
        }
        self.config.nodes = nodes;
    }

    /// The disk holds this record.
    pub(super) fn tables_persisted(&mut self, record: &Record) {
        if record.number >= self.files.record {
            self.quorum.tables_persisted();
        }
    }

    /// The tables for the disk, where it does not hold them and was not asked to.
    pub(super) fn tables_to_persist(&mut self) -> bool {
        let tables = self.quorum.tables();
        if self.quorum.tables_on_disk() || !tables.is_bound() || self.record.tables.as_ref() == Some(tables) {
            return false;
        }
        self.record.tables = Some(tables.clone());
        self.files.record = self.record.number + 1;
        true
    }
}

/// What an operator does about files that differ.
const REMEDY: &str = "copy the file there and run \"corosync-cfgtool -R\"";
