//! On files that are disks.

use std::fs;
use std::path::PathBuf;

use cmm_qdisk::{Block, Decided, Header, Owner};
use holdfast_types::{Incarnation, Span};

use super::*;

pub(super) fn file(name: &str, len: usize) -> PathBuf {
    let path = std::env::temp_dir().join(format!("holdfast-qdisk-{name}-{}", std::process::id()));
    fs::write(&path, vec![0; len]).unwrap();
    path
}

fn plan(path: &Path) -> Plan<'_> {
    Plan { path, label: "web", cluster: "shop", slots: 16, sector: Some(512) }
}

#[test]
fn what_is_made_is_found_and_shown_and_knows_how_often() {
    let path = file("made", 1 << 20);
    assert!(matches!(device::read(&path), Ok(Content::Empty)));
    for generation in [1, 2] {
        let header = plan(&path).carry_out().unwrap();
        assert_eq!(header.generation, generation);
        let Ok(Content::Ours(read, area)) = device::read(&path) else { panic!("it is one") };
        assert_eq!((*read, area.slots().count()), (header, 16));
    }
    let Ok(content) = device::read(&path) else { panic!("it is one") };
    let text = entry(std::slice::from_ref(&path), &content, true);
    assert!(
        text.starts_with(&format!(
            "{}:\n\tMagic:                HOLDFSTQ\n\tLabel:                web\n",
            path.display()
        )),
        "{text}"
    );
    assert!(!text.contains("Status block"), "nobody has written");
    fs::remove_file(path).unwrap();
}

#[test]
fn r22_a_disk_that_nodes_write_to_is_not_made_anew() {
    let path = file("live", 1 << 20);
    let header: Header = plan(&path).carry_out().unwrap();
    assert_eq!(device::living(&path), Ok(None), "nobody ever wrote");
    let block = |sequence| Block {
        life: Incarnation::new(3),
        sequence,
        decided: Decided { term: 1, owner: Owner { slot: 2, life: Incarnation::new(3) } },
        interval: Span::from_millis(200),
        lease: Span::from_secs(1),
        ..Block::default()
    };
    let write = |sequence| {
        let mut image = fs::read(&path).unwrap();
        let at = usize::try_from(header.layout.block_at(2)).unwrap();
        block(sequence).write(2, &header.id, &mut image[at..at + 1_024]);
        fs::write(&path, image).unwrap();
    };
    write(1);
    assert_eq!(in_use(&path), None, "it stands still: that node is dead");
    let Ok(content) = device::read(&path) else { panic!("it is one") };
    let text = entry(std::slice::from_ref(&path), &content, true);
    assert!(text.contains("Status block for node 2\n") && text.contains("State: Master\n"), "{text}");
    let alive = std::thread::scope(|scope| {
        let looks = scope.spawn(|| (0..20).find_map(|_| in_use(&path)));
        for sequence in 2.. {
            write(sequence);
            std::thread::sleep(std::time::Duration::from_millis(50));
            if looks.is_finished() {
                break;
            }
        }
        looks.join().unwrap()
    });
    assert_eq!(alive.as_deref(), Some("is the quorum disk of a running cluster: node 2 writes to it"));
    fs::remove_file(path).unwrap();
}

#[test]
fn a_device_that_is_too_small_or_not_there_is_said_in_words() {
    let path = std::env::temp_dir().join("holdfast-qdisk-nowhere");
    let why = plan(&path).carry_out().unwrap_err();
    assert!(why.contains("No such file"), "{why}");
    let path = file("sector", 1 << 20);
    let why = Plan { sector: Some(520), ..plan(&path) }.carry_out().unwrap_err();
    assert!(why.contains("512 or 4096"), "{why}");
    fs::remove_file(path).unwrap();
}

/// Runs a command; whether it succeeded, and all it said.
fn run_with(input: &str, args: &[&str]) -> (Exit, String) {
    let (mut io, said) = Io::captured(input);
    let words = [&["holdfast", "qdisk"], args].concat();
    let exit = crate::run(&words.iter().map(std::ffi::OsString::from).collect::<Vec<_>>(), &mut io);
    let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    (exit, said)
}

#[test]
fn what_looks_like_data_is_not_overwritten_by_yes() {
    let path = file("data", 1 << 20);
    let name = path.to_str().unwrap();
    let mut data = vec![0; 1 << 20];
    data[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    fs::write(&path, &data).unwrap();
    let (exit, said) = run_with("", &["create", name, "--yes", "--label", "a-label-of-this-test"]);
    assert!(
        exit == Exit::CannotCreate && said.contains("holds a file system (ext2, ext3 or ext4)"),
        "{said}"
    );
    let (exit, said) = run_with("n\n", &["create", name]);
    assert!(exit == Exit::CannotCreate && said.contains("Good thinking."), "{said}");
    let (exit, _) = run_with("", &["create", name, "--json"]);
    assert_eq!(exit, Exit::CannotCreate, "nobody can answer");
    assert!(fs::read(&path).unwrap() == data, "it is as it was");
    let (exit, said) =
        run_with("", &["create", name, "--json", "--force", "--slots", "4", "--sector", "512"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(exit == Exit::Ok && json["made"] == true && json["slots"] == 4, "{said}");
    // An old quorum disk that stands still is made anew by yes.
    let (exit, _) = run_with("", &["create", name, "--yes", "--slots", "4", "--sector", "512"]);
    assert_eq!(exit, Exit::Ok);

    // What the others say of it.
    let (exit, said) = run_with("", &["dump", name]);
    assert!(
        exit == Exit::Ok
            && said.contains("header, copy 2, at 512")
            && said.contains("checksum_ok        true"),
        "{said}"
    );
    let (exit, said) = run_with("", &["test", name, "--count", "3", "--write-as", "2", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(
        exit == Exit::Ok && json["write"]["count"] == 3 && json["wrong"] == serde_json::json!([]),
        "{said}"
    );
    let (exit, said) = run_with("", &["tombstones", name, "--json"]);
    assert!(exit == Exit::Ok && said.contains("\"tombstones\": []"), "{said}");
    let (exit, said) = run_with("y\n", &["evict", "3", name]);
    assert!(exit == Exit::Software && said.contains("node 3 has never written"), "{said}");
    fs::remove_file(path).unwrap();
}

#[test]
fn an_order_goes_to_the_life_that_wrote_last_and_each_has_a_higher_number() {
    let path = file("order", 1 << 20);
    let name = path.to_str().unwrap();
    let header = plan(&path).carry_out().unwrap();
    let block = Block { life: Incarnation::new(77), sequence: 1, ..Block::default() };
    let at = header.layout.block_at(3);
    device::write(&path, at, |pair| block.write(3, &header.id, pair), header.layout).unwrap();
    for number in [1, 2] {
        let (exit, said) = run_with("y\n", &["evict", "3", name, "--wait", "0", "--why", "because"]);
        assert!(exit == Exit::TryAgain && said.contains("incarnation 77"), "{said}");
        let (_, bytes) = device::whole(&path).unwrap();
        let pair = device::pair(&bytes, header.layout, header.layout.mail_at(3));
        let mail = cmm_qdisk::Mail::read(3, &header.id, pair).unwrap();
        assert_eq!((mail.life, mail.number), (Incarnation::new(77), number));
        assert_eq!((mail.order, mail.why.to_string()), (cmm_qdisk::Order::Evicted, "because".into()));
    }
    let stone = cmm_qdisk::Tombstone {
        life: Incarnation::new(77),
        written: 9,
        why: cmm_qdisk::format::Text::new("so it was"),
    };
    let at = header.layout.tombstone_at(3);
    device::write(&path, at, |pair| stone.write(3, &header.id, pair), header.layout).unwrap();
    let (exit, said) = run_with("y\n", &["evict", "3", name, "--json"]);
    assert!(exit == Exit::Software && said.contains("say --yes"), "{said}");
    let (exit, said) = run_with("", &["evict", "3", name, "--yes", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(exit == Exit::Ok && json["obeyed"] == true && json["why"] == "so it was", "{said}");
    let (_, said) = run_with("", &["tombstones", name]);
    assert!(said.lines().any(|l| l.starts_with("3 ") && l.ends_with("so it was")), "{said}");
    fs::remove_file(path).unwrap();
}

/// A disk of qdiskd as its layout table says, with two nodes.
pub(super) fn legacy(path: &Path) {
    let seal = |data: &[u8]| {
        let mut slot = vec![0; 4_096];
        slot[0..4].copy_from_slice(&0x00DE_BB1E_u32.to_le_bytes());
        slot[8..12].copy_from_slice(&cmm_qdisk::format::crc::crc32(data).to_le_bytes());
        slot[12..16].copy_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        let crc = cmm_qdisk::format::crc::crc32(&slot[..32]);
        slot[4..8].copy_from_slice(&crc.to_le_bytes());
        slot[32..32 + data.len()].copy_from_slice(data);
        slot
    };
    let mut data = vec![0; 272];
    data[0..4].copy_from_slice(&0xEB7A_62C2_u32.to_be_bytes());
    data[4..8].copy_from_slice(&0x389F_ABC4_u32.to_be_bytes());
    data[8..16].copy_from_slice(&1_282_605_011_u64.to_be_bytes());
    data[16..20].copy_from_slice(b"web1");
    data[144..153].copy_from_slice(b"web_qdisk");
    data[264..268].copy_from_slice(&512_u32.to_be_bytes());
    let mut image = seal(&data);
    for node in 1..=16_u32 {
        let mut data = vec![0; 80];
        data[0..4].copy_from_slice(&0x47BA_CEF8_u32.to_be_bytes());
        data[4..8].copy_from_slice(&node.to_be_bytes());
        let written = if node < 3 { 1_282_605_020_u64 } else { 0 };
        data[8..16].copy_from_slice(&written.to_be_bytes());
        data[16..20].copy_from_slice(&node.to_be_bytes());
        data[36..40].copy_from_slice(&512_u32.to_be_bytes());
        data[40..44].copy_from_slice(&1_u32.to_be_bytes());
        data[44..48].copy_from_slice(&498_u32.to_be_bytes());
        data[48..56].copy_from_slice(&0x4c73_1153_4c73_1153_u64.to_le_bytes());
        data[24] = if node < 3 { 5 } else { 0 };
        image.extend(seal(&data));
    }
    image.resize(1 << 20, 0);
    fs::write(path, image).unwrap();
}

#[test]
fn r23_a_disk_of_qdiskd_is_imported_and_never_written() {
    let (old, new) = (file("old", 1 << 20), file("new", 1 << 20));
    legacy(&old);
    let before = fs::read(&old).unwrap();
    let (old_name, new_name) = (old.to_str().unwrap(), new.to_str().unwrap());
    let (exit, said) = run_with("", &["import", old_name]);
    assert_eq!(exit, Exit::Ok);
    assert!(said.contains("nodes that have written there: [1, 2]"), "{said}");
    assert!(said.contains("        votes: 1\n") && said.contains("            label: web_qdisk\n"), "{said}");
    let (exit, said) = run_with("", &["import", old_name, old_name, "--force"]);
    assert!(exit == Exit::Software && said.contains("the new disk is the old one"), "{said}");
    let (exit, said) = run_with("n\n", &["import", old_name, new_name]);
    assert!(exit == Exit::CannotCreate && said.contains("proceed [N/y]"), "{said}");
    let (exit, _) = run_with("y\n", &["import", old_name, new_name, "--cluster", "shop"]);
    assert_eq!(exit, Exit::Ok);
    let Ok(Content::Ours(header, _)) = device::read(&new) else { panic!("it is one") };
    assert_eq!((header.label.to_string(), header.cluster.to_string()), ("web_qdisk".into(), "shop".into()));
    let (exit, said) = run_with("", &["import", new_name]);
    assert!(exit == Exit::Software && said.contains("is no disk of qdiskd"), "{said}");
    // It does not go away by yes either.
    let (exit, said) = run_with("", &["create", old_name, "--yes"]);
    assert!(exit == Exit::CannotCreate && said.contains("of qdiskd"), "{said}");
    assert!(fs::read(&old).unwrap() == before, "it is as it was");
    let twins = find::with_label("web_qdisk", &[old.clone(), new.clone(), new.clone()]);
    assert_eq!(twins, [old.clone(), new.clone()], "two disks, one of them twice");
    fs::remove_file(old).unwrap();
    fs::remove_file(new).unwrap();
}

#[test]
fn a_date_is_written_as_ctime_does() {
    let text = date(1_282_614_217);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!((words.len(), words[1], words[4]), (5, "Aug", "2010"), "{text}");
    assert_eq!(text.len(), "Tue Aug 24 01:43:37 2010".len());
}
