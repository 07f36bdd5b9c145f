//! What a device holds that is no quorum disk, by the marks that such things have: enough to ask before it is lost.

/// What begins like this.
pub(super) fn of(start: &[u8]) -> Option<&'static str> {
    let is = |(at, mark, _): &&Mark| start.get(*at..at + mark.len()) == Some(*mark);
    if let Some((_, _, what)) = MARKS.iter().find(is) {
        return Some(what);
    }
    partitions(start)
}

/// What ends like this: `end` are the last bytes.
pub(super) fn at_end(end: &[u8]) -> Option<&'static str> {
    let from_end = |back: usize| end.len().checked_sub(back).and_then(|at| end.get(at..));
    // md 0.90 has its mark in the last whole 64 KiB but one, 1.0 some 8 KiB before the end.
    let md = |bytes: &[u8]| bytes.starts_with(&[0xfc, 0x4e, 0x2b, 0xa9]);
    let places = (8 << 10..=12 << 10).step_by(512).chain((64 << 10..=128 << 10).step_by(512));
    if places.into_iter().filter_map(from_end).any(md) {
        return Some("a member of a software RAID (md)");
    }
    from_end(512)
        .filter(|b| b.starts_with(b"EFI PART"))
        .map(|_| "a partition table (GPT, the copy at the end)")
}

/// A master boot record that has a partition.
fn partitions(start: &[u8]) -> Option<&'static str> {
    let table = start.get(446..512)?;
    let entries = table.chunks_exact(16).take(4);
    let sound = |entry: &[u8]| matches!(entry.first(), Some(0 | 0x80));
    let used = entries.clone().any(|e| e.get(4).is_some_and(|kind| *kind != 0));
    (table.ends_with(&[0x55, 0xaa]) && used && entries.clone().all(sound))
        .then_some("a partition table (MBR)")
}

type Mark = (usize, &'static [u8], &'static str);

const MARKS: &[Mark] = &[
    (0x438, &[0x53, 0xef], "a file system (ext2, ext3 or ext4)"),
    (0, b"XFSB", "a file system (XFS)"),
    (0x10040, b"_BHRfS_M", "a file system (Btrfs)"),
    (0x10000, &[0x01, 0x16, 0x19, 0x70], "a file system (GFS2)"),
    (0x400, b"OCFSV2", "a file system (OCFS2)"),
    (0x800, b"OCFSV2", "a file system (OCFS2)"),
    (0x1000, b"OCFSV2", "a file system (OCFS2)"),
    (0x8001, b"CD001", "a file system (ISO 9660)"),
    (3, b"NTFS    ", "a file system (NTFS)"),
    (54, b"FAT", "a file system (FAT)"),
    (82, b"FAT32", "a file system (FAT)"),
    (0, b"hsqs", "a file system (SquashFS)"),
    (0x400, &[0x10, 0x20, 0xf5, 0xf2], "a file system (F2FS)"),
    (4_086, b"SWAPSPACE2", "swap space"),
    (4_086, b"SWAP-SPACE", "swap space"),
    (0, b"LABELONE", "a physical volume (LVM)"),
    (512, b"LABELONE", "a physical volume (LVM)"),
    (1_024, b"LABELONE", "a physical volume (LVM)"),
    (1_536, b"LABELONE", "a physical volume (LVM)"),
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], "a member of a software RAID (md)"),
    (4_096, &[0xfc, 0x4e, 0x2b, 0xa9], "a member of a software RAID (md)"),
    (0, b"LUKS\xba\xbe", "an encrypted device (LUKS)"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (4_096, b"EFI PART", "a partition table (GPT)"),
    (0, b"SBD_SBD_", "a device of sbd"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_seen_where_it_is_and_nowhere_else() {
        for (at, mark, what) in MARKS {
            let mut start = vec![0; 132 << 10];
            assert_eq!(of(&start), None);
            start[*at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(of(&start), Some(*what));
            start[*at] ^= 1;
            assert_eq!(of(&start), None, "{what}");
            assert_eq!(of(&start[..*at]), None, "too short");
        }
    }

    #[test]
    fn a_boot_record_without_partitions_is_none() {
        let mut start = vec![0; 512];
        start[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(of(&start), None);
        start[446 + 4] = 0x83;
        assert_eq!(of(&start), Some("a partition table (MBR)"));
        start[446 + 16] = 7;
        assert_eq!(of(&start), None, "that is code");
    }

    #[test]
    fn marks_at_the_end_are_seen() {
        let mut end = vec![0; 128 << 10];
        assert_eq!(at_end(&end), None);
        let at = end.len() - (64 << 10);
        end[at..at + 4].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9]);
        assert_eq!(at_end(&end), Some("a member of a software RAID (md)"));
        end[at] = 0;
        let at = end.len() - 512;
        end[at..at + 8].copy_from_slice(b"EFI PART");
        assert_eq!(at_end(&end), Some("a partition table (GPT, the copy at the end)"));
        assert_eq!(at_end(&[]), None);
    }
}
