//! `holdfast qdisk dump`: every field of every record, both copies, with their checksums.

use std::path::PathBuf;

use cmm_qdisk::format::Frame;
use cmm_qdisk::{Block, Header, Mail, Tombstone};
use serde_json::{Value, json};

use super::{device, fail, find, members};
use crate::exit::Exit;
use crate::io::Io;

#[derive(clap::Args)]
pub(super) struct Dump {
    /// The quorum disk, by path, id or label; else those that this node uses
    #[arg(value_name = "DEVICE")]
    device: Option<PathBuf>,
    /// Also records that nobody has written since the disk was made
    #[arg(long)]
    all: bool,
    /// Print JSON: one object, fields are only ever added
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Dump, io: &mut Io) -> Exit {
    let paths = match find::disks(args.device.as_slice()) {
        Ok(paths) => paths,
        Err(why) => return fail(&why, io),
    };
    let mut disks = Vec::new();
    for path in paths {
        match device::whole(&path) {
            Ok((header, bytes)) => {
                let records = records(&header, &bytes, args.all);
                disks.push(json!({"device": path.display().to_string(), "records": records}));
            }
            Err(why) => return fail(&why, io),
        }
    }
    if args.json {
        io.say(format_args!("{:#}\n", json!({ "disks": disks })));
        return Exit::Ok;
    }
    for disk in &disks {
        io.say(format_args!("{}:\n", disk["device"].as_str().unwrap_or_default()));
        for record in disk["records"].as_array().into_iter().flatten() {
            io.say(format_args!("{}", text(record)));
        }
    }
    Exit::Ok
}

/// One entry for each copy of each record that says something or is damaged.
fn records(header: &Header, bytes: &holdfast_sys::uring::Buffer, all: bool) -> Vec<Value> {
    let layout = header.layout;
    let mut places = vec![("header", 0, 0)];
    places.extend((1..=layout.slots()).map(|n| ("block", n, layout.block_at(n))));
    places.extend((1..=layout.slots()).map(|n| ("mailbox", n, layout.mail_at(n))));
    places.extend((1..=layout.slots()).map(|n| ("tombstone", n, layout.tombstone_at(n))));
    let mut records = Vec::new();
    for (kind, slot, at) in places {
        let pair = device::pair(bytes, layout, at);
        for (copy, sector) in pair.chunks(layout.pair() / 2).enumerate() {
            let (fields, says) = match fields(kind, slot, header, sector) {
                Ok((fields, says)) => (fields, says),
                Err(why) => (json!({ "damaged": why }), true),
            };
            if all || says {
                let at = at + u64::try_from(copy * sector.len()).unwrap_or(0);
                records.push(json!({
                    "record": kind, "node": slot, "copy": copy + 1, "offset": at, "frame": frame(sector), "fields": fields,
                }));
            }
        }
    }
    records
}

fn frame(sector: &[u8]) -> Value {
    Frame::of(sector).map_or(Value::Null, |f| {
        json!({
            "kind": f.kind, "slot": f.slot, "version": f.version, "needs": f.needs, "disk": hex(&f.id), "length": f.length,
            "checksum": format!("{:08x}", f.stored), "checksum_ok": f.stored == f.computed,
        })
    })
}

/// The fields of one copy, and whether anybody has written it since the disk was made. A copy is read as a pair of itself.
fn fields(kind: &str, slot: u8, header: &Header, sector: &[u8]) -> Result<(Value, bool), String> {
    let pair = [sector, sector].concat();
    let wrong = |e: cmm_qdisk::Damaged| e.to_string();
    Ok(match kind {
        "header" => {
            let h = Header::read(&pair).map_err(wrong)?;
            (
                json!({
                    "label": h.label.to_string(), "cluster": h.cluster.to_string(), "host": h.host.to_string(), "created": h.created,
                    "generation": h.generation, "sector": h.layout.sector(), "slots": h.layout.slots(), "size": h.layout.size(),
                }),
                true,
            )
        }
        "block" => {
            let b = Block::read(slot, &header.id, &pair).map_err(wrong)?;
            (
                json!({
                    "incarnation": b.life.get(), "sequence": b.sequence, "term": b.decided.term, "owner": b.decided.owner.slot,
                    "owner_incarnation": b.decided.owner.life.get(), "released": b.released, "wanted": b.wanted, "ballot": b.ballot,
                    "accepted": b.accepted, "value": b.value.slot, "value_incarnation": b.value.life.get(),
                    "lease_ms": b.lease.as_millis(), "handed_on_ms": b.handed_on.as_millis(), "ring": b.ring.to_string(),
                    "members": members(&b), "score": b.score.0, "score_max": b.score.1, "interval_ms": b.interval.as_millis(),
                    "written": b.written, "took_us": b.took.as_micros(),
                }),
                b.life.get() > 0,
            )
        }
        "mailbox" => {
            let m = Mail::read(slot, &header.id, &pair).map_err(wrong)?;
            (
                json!({
                    "order": format!("{:?}", m.order).to_lowercase(), "from": m.from, "incarnation": m.life.get(), "number": m.number,
                    "written": m.written, "why": m.why.to_string(),
                }),
                m.number > 0,
            )
        }
        _ => {
            let t = Tombstone::read(slot, &header.id, &pair).map_err(wrong)?;
            let fields = json!({"incarnation": t.life.get(), "written": t.written, "why": t.why.to_string()});
            (fields, t.life.get() > 0)
        }
    })
}

/// As lines; the fields in the order of their names.
fn text(record: &Value) -> String {
    let word = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let of = match record["node"].as_u64() {
        Some(0) | None => String::new(),
        Some(node) => format!(" of node {node}"),
    };
    let mut text =
        format!("  {}{of}, copy {}, at {}\n", word(&record["record"]), record["copy"], record["offset"]);
    for part in ["frame", "fields"] {
        for (name, value) in record[part].as_object().into_iter().flatten() {
            text += &format!("    {name:<18} {}\n", word(value));
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use cmm_qdisk::Layout;
    use cmm_qdisk::format::Text;
    use holdfast_sys::uring::Buffer;

    use super::*;

    #[test]
    fn a_damaged_copy_is_shown_beside_the_sound_one() {
        let layout = Layout::new(512, 2).unwrap();
        let (label, host, cluster) = (Text::new("web"), Text::new("h"), Text::new("shop"));
        let header = Header { id: [5; 16], layout, created: 0, generation: 1, label, host, cluster };
        let mut buffer = Buffer::zeroed(usize::try_from(layout.size()).unwrap());
        buffer.bytes_mut().copy_from_slice(&header.fresh());
        assert_eq!(records(&header, &buffer, false).len(), 2, "both copies of the header");
        assert_eq!(records(&header, &buffer, true).len(), 2 * 7);
        let at = usize::try_from(layout.mail_at(2)).unwrap() + 512 + 60;
        buffer.bytes_mut()[at] ^= 1;
        let shown = records(&header, &buffer, false);
        let damaged = shown.last().unwrap();
        assert_eq!((damaged["record"].as_str(), damaged["copy"].as_u64()), (Some("mailbox"), Some(2)));
        assert_eq!(damaged["frame"]["checksum_ok"], false);
        let text = text(damaged);
        assert!(text.starts_with("  mailbox of node 2, copy 2, at ") && text.contains("damaged  "), "{text}");
    }
}
