//! Block devices of this machine: which there are, what they are called, who stands on them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All block devices that may be used as they are: nothing stands on them (so not the paths below multipath), and no md, which
/// needs a running system to be the same everywhere.
#[must_use]
pub fn all() -> Vec<PathBuf> {
    let partitions = fs::read_to_string("/proc/partitions").unwrap_or_default();
    let names = partitions.lines().skip(2).filter_map(|l| l.split_whitespace().nth(3));
    let free = |name: &&str| !name.starts_with("md") && holder(name).is_none();
    names
        .filter(free)
        .map(|name| Path::new("/dev").join(name.replace('!', "/")))
        .filter(|p| p.exists())
        .collect()
}

/// Every name of a device: its number first, then those of `/dev/disk`, and the one given last.
#[must_use]
pub fn names_of(path: &Path) -> Vec<PathBuf> {
    let Ok(device) = fs::metadata(path).map(|m| m.rdev()) else { return vec![path.to_owned()] };
    let folders = ["by-id", "by-label", "by-partuuid", "by-path", "by-uuid"];
    let links =
        folders.iter().filter_map(|f| fs::read_dir(Path::new("/dev/disk").join(f)).ok()).flatten().flatten();
    let same = |p: &PathBuf| device != 0 && fs::metadata(p).is_ok_and(|m| m.rdev() == device);
    let mut names: Vec<PathBuf> = links.map(|l| l.path()).filter(same).collect();
    names.sort();
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    let block = PathBuf::from(format!("/dev/block/{major}:{minor}"));
    names.splice(0..0, Some(block).filter(|b| b.exists()));
    names.push(path.to_owned());
    names
}

/// Bytes of a sector as the kernel has it; `None`: no block device.
#[must_use]
pub fn sector_of(path: &Path) -> Option<u32> {
    let real = fs::canonicalize(path).ok()?;
    let block = Path::new("/sys/class/block").join(real.file_name()?);
    let sizes = ["queue/logical_block_size", "../queue/logical_block_size"]
        .map(|f| fs::read_to_string(block.join(f)));
    sizes.into_iter().flatten().find_map(|text| text.trim().parse().ok())
}

/// Who uses a device, if that can be seen from here: a mount, swap, or a device above it.
#[must_use]
pub fn used_by(path: &Path) -> Option<String> {
    let real = fs::canonicalize(path).ok()?;
    let is_it = |device: &str| Path::new(device) == real;
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|l| l.split_once(' ')).find(|(device, _)| is_it(device));
    if let Some((_, rest)) = mounted {
        return Some(format!("mounted on {}", rest.split(' ').next().unwrap_or("?")));
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().filter_map(|l| l.split_whitespace().next()).any(is_it) {
        return Some("swap space in use".into());
    }
    holder(real.file_name()?.to_str()?).map(|holder| format!("part of {holder}"))
}

/// A device that stands on this one, by its name in `/sys`.
fn holder(name: &str) -> Option<String> {
    let holders = Path::new("/sys/class/block").join(name).join("holders");
    let holder = fs::read_dir(holders).ok()?.flatten().next()?;
    Some(holder.file_name().to_string_lossy().into_owned())
}
