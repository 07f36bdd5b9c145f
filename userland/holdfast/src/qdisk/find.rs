//! Which disk is meant: by its path, by what `/dev/disk/by-id` calls it (WWID), by its label, or the one that this node's `cmmd` uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmm_ipc::client::CmapClient;
use holdfast_sys::block;

use super::device::{self, Content};
use crate::gather::Sources;

/// A quorum disk that this node's `cmmd` uses.
#[derive(Clone, Debug)]
pub(super) struct Used {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) label: String,
    pub(super) state: String,
}

/// What `cmmd` says of its quorum disks; empty where it has none.
///
/// # Errors
/// It does not answer.
pub(super) fn used() -> Result<(CmapClient, Vec<Used>), cmm_ipc::client::Error> {
    let sources = Sources::from_env();
    let mut cmap = CmapClient::connect(&sources.place, sources.limit.min(LIMIT))?;
    let disks = cmap.get_u64("holdfast.qdisk.disks")?.unwrap_or(0);
    let mut used = Vec::new();
    for n in 0..disks.min(cmm_qdisk::DISKS_MAX as u64) {
        let mut text =
            |key: &str| cmap.get_str(&format!("holdfast.qdisk.{n}.{key}")).map(Option::unwrap_or_default);
        let (name, path) = (text("name")?, PathBuf::from(text("path")?));
        used.push(Used { name, path, label: text("label")?, state: text("state")? });
    }
    Ok((cmap, used))
}

/// The disks that are named, else those that `cmmd` uses.
///
/// # Errors
/// In words.
pub(super) fn disks(named: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    if !named.is_empty() {
        return named.iter().map(|name| disk(name)).collect();
    }
    let (_, used) = used().map_err(|e| format!("cmmd does not answer ({e}); name the quorum disk"))?;
    let open: Vec<PathBuf> = used.into_iter().map(|u| u.path).filter(|p| !p.as_os_str().is_empty()).collect();
    if open.is_empty() {
        return Err("this node's cmmd uses no quorum disk; name one".into());
    }
    Ok(open)
}

/// The disk with this path, id or label.
///
/// # Errors
/// In words.
pub(super) fn disk(name: &Path) -> Result<PathBuf, String> {
    if name.exists() || name.components().count() != 1 {
        return Ok(name.to_owned());
    }
    let text = name.to_string_lossy();
    if let Some(path) = by_id(Path::new("/dev/disk/by-id"), &text) {
        return Ok(path);
    }
    let of_cmmd = used().map(|(_, used)| used).unwrap_or_default().into_iter().filter(|u| u.label == text);
    let mut found: Vec<PathBuf> = of_cmmd.map(|u| u.path).collect();
    if found.is_empty() {
        found = with_label(&text, &block::all());
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!(
            "there is no file {text} here, nothing in /dev/disk/by-id with that id, and no quorum disk with that label"
        )),
        several => {
            Err(format!("{} matches found for label '{text}'; name the device instead", several.len()))
        }
    }
}

/// Disks among these with a label; several paths to one disk are one.
pub(crate) fn with_label(label: &str, candidates: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<(Vec<u8>, PathBuf)> = Vec::new();
    for path in candidates {
        let (theirs, id) = match device::read(path) {
            Ok(Content::Ours(header, _)) => (header.label.to_string(), header.id.to_vec()),
            Ok(Content::Legacy(header, _)) => {
                (header.label.to_string(), header.created.to_be_bytes().to_vec())
            }
            _ => continue,
        };
        if theirs == label && !found.iter().any(|(known, _)| *known == id) {
            found.push((id, path.clone()));
        }
    }
    found.into_iter().map(|(_, path)| path).collect()
}

/// `wwn-0x5000…`, or only what stands behind the first dash.
fn by_id(folder: &Path, id: &str) -> Option<PathBuf> {
    let links = fs::read_dir(folder).ok()?.flatten().map(|l| l.path());
    let mut links: Vec<PathBuf> = links
        .filter(|l| {
            let name = l.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name == id || name.split_once('-').is_some_and(|(_, wwid)| wwid == id)
        })
        .collect();
    links.sort();
    links.into_iter().next()
}

const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_by_its_id_with_or_without_the_kind_of_it() {
        let dir = std::env::temp_dir().join(format!("holdfast-by-id-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for name in ["scsi-36001405aa", "wwn-0x5000c500", "wwn-0x5000c500-part1"] {
            fs::write(dir.join(name), "").unwrap();
        }
        assert_eq!(by_id(&dir, "36001405aa"), Some(dir.join("scsi-36001405aa")));
        assert_eq!(by_id(&dir, "wwn-0x5000c500"), Some(dir.join("wwn-0x5000c500")));
        assert_eq!(by_id(&dir, "0x5000c5"), None, "not a part of one");
        fs::remove_dir_all(dir).unwrap();
        assert_eq!(disk(Path::new("/dev/nowhere")), Ok(PathBuf::from("/dev/nowhere")), "a path is a path");
    }
}
