//! Requests: well formed, nearly so, and not at all.

use cmm_ipc::Service;
use cmm_ipc::abi::{cfg, cmap, votequorum};

use crate::dice::Dice;

/// Any request, but none that would rightly stop the daemon, change votes or set a key that means something.
pub(crate) fn any(service: Service, dice: &mut Dice) -> Vec<u8> {
    loop {
        let bytes = draw(service, dice);
        if is_harmless(service, &bytes) {
            return bytes;
        }
    }
}

/// A request of the service's own shape with the fields that a client would fill.
pub(crate) fn shaped(id: i32, size: usize, fields: &[(usize, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&id.to_ne_bytes());
    bytes[8..12].copy_from_slice(&(size as u32).to_ne_bytes());
    for (at, value) in fields {
        bytes[*at..*at + 4].copy_from_slice(&(*value as u32).to_ne_bytes());
    }
    bytes
}

/// Joins a group by this process, and multicasts to it.
pub(crate) fn join(group: &[u8]) -> Vec<u8> {
    let mut bytes = shaped(0, 168, &[(16, group.len() as u64), (152, u64::from(std::process::id()))]);
    bytes[24..24 + group.len()].copy_from_slice(group);
    bytes
}

pub(crate) fn multicast(len: usize) -> Vec<u8> {
    shaped(2, 40 + len, &[(24, 2), (32, len as u64)])
}

/// Tracks all keys of the map.
pub(crate) fn track_all() -> Vec<u8> {
    shaped(7, 296, &[(280, 15)])
}

/// Sets a key that is ours.
pub(crate) fn set(number: u64, len: usize) -> Vec<u8> {
    let key = format!("hostile.{}", number % 1_000);
    let mut bytes = shaped(0, 296 + len, &[(16, key.len() as u64), (280, len as u64), (288, 12)]);
    bytes[24..24 + key.len()].copy_from_slice(key.as_bytes());
    bytes[296..].fill(number as u8);
    bytes
}

fn draw(service: Service, dice: &mut Dice) -> Vec<u8> {
    let id = if dice.chance(90) { dice.below(16) as i32 - 1 } else { dice.edge() as i32 };
    let len = match dice.below(10) {
        0 => dice.below(64),
        1 => dice.pick(&[65_500, 65_536, 16_384 + 296, 16_385 + 296]),
        2 => 40 + dice.below(2_000),
        _ => dice.pick(SIZES),
    };
    let mut bytes = match dice.below(4) {
        0 => dice.bytes(len),
        _ => vec![0; len],
    };
    // A name and its length, where most requests have one; then any words.
    if len > 300 && dice.chance(70) {
        let key = dice.pick(KEYS);
        let at = dice.pick(&[16, 16, 16, 24]);
        bytes[at..at + 2].copy_from_slice(&(key.len() as u16).to_ne_bytes());
        bytes[at + 8..at + 8 + key.len()].copy_from_slice(key);
    }
    for _ in 0..dice.below(6) {
        if let Some(at) = len.checked_sub(4).map(|last| dice.below(last + 1) & !3) {
            bytes[at..at + 4].copy_from_slice(&dice.edge().to_ne_bytes());
        }
    }
    let size = if dice.chance(85) { len as u32 } else { dice.edge() };
    for (at, word) in [(0, id as u32), (8, size)] {
        if let Some(field) = bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&word.to_ne_bytes());
        }
    }
    if service == Service::Cpg && id == 9 && len >= 152 {
        let path = dice.pick(PATHS);
        bytes[24..24 + path.len()].copy_from_slice(path);
    }
    bytes
}

fn is_harmless(service: Service, bytes: &[u8]) -> bool {
    match service {
        Service::Cfg => !matches!(
            cfg::Request::decode(bytes),
            Ok(cfg::Request::TryShutdown { .. } | cfg::Request::KillNode { .. } | cfg::Request::Reload)
        ),
        Service::Votequorum => !matches!(
            votequorum::Request::decode(bytes),
            Ok(votequorum::Request::SetExpected { .. } | votequorum::Request::SetVotes { .. })
        ),
        Service::Cmap => match cmap::Request::decode(bytes) {
            Ok(
                cmap::Request::Set { key, .. }
                | cmap::Request::Delete { key }
                | cmap::Request::Adjust { key, .. },
            ) => !cmap::is_key(key) || key.starts_with(b"hostile.") || key.starts_with(b"nodelist."),
            _ => true,
        },
        Service::Cpg | Service::Quorum => true,
    }
}

/// What requests of the services have.
const SIZES: &[usize] =
    &[16, 24, 32, 40, 56, 144, 152, 160, 168, 264, 272, 280, 288, 296, 304, 528, 600, 1_320];
const KEYS: &[&[u8]] = &[
    b"",
    b"ab",
    b"hostile.key",
    b"hostile.a/b:c-d_e",
    b"hostile.\xff\xfe\x80",
    b"hostile.with space",
    b"hostile.with\0nul",
    b"hostile.%s%n%x",
    b"hostile.\xc3\xa9",
    b"nodelist.node.0.nodeid",
    b"stats.srp.",
    b"runtime.",
    &[b'h'; 255],
    b"flow",
];
const PATHS: &[&[u8]] = &[
    b"/proc/version",
    b"/dev/shm/../null",
    b"/dev/shm/..",
    b"/dev/shm/.",
    b"/dev/shm",
    b"/dev/shm/",
    b"/dev/null",
    b"relative",
    b"",
    b"/dev/shm/hostile-none",
];
