//! The misdeeds.

use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cmm_ipc::Service;
use holdfast_sys::fdpass;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::dice::Dice;
use crate::requests;
use crate::wire::{self, Client, READ_POSITION, SEMAPHORE, WRITE_POSITION};

/// One of them. What is put into the hoard stays open over the next rounds.
pub(crate) type Deed = fn(Dice, &mut Vec<Client>);

pub(crate) const ALL: &[(&str, Deed)] = &[
    ("knocks and does not say who it is", knock),
    ("comes as a crowd", crowd),
    ("asks anything", ask),
    ("asks anything and takes no reply", ask_deaf),
    ("writes over its rings", scribble),
    ("cuts its files off", truncate),
    ("makes holes in its files", punch),
    ("closes in the middle", close),
    ("joins the others and takes nothing", deaf),
    ("floods the group and takes nothing", flood),
    ("tracks everything and changes it", track),
    ("leaves everything open", hoard_handles),
    ("fills the memory for shared files", fill),
    ("brings odd buffers", zero_copy),
    ("sends to the sockets of others", intrude),
];

fn service(dice: &mut Dice) -> Service {
    dice.pick(&Service::ALL)
}

fn client(dice: &mut Dice) -> Option<Client> {
    Client::connect(service(dice)).ok()
}

/// As a program of the group, or with something that the daemon will tell it of.
fn listener(dice: &mut Dice) -> Option<Client> {
    let service =
        dice.pick(&[Service::Cpg, Service::Cpg, Service::Cmap, Service::Quorum, Service::Votequorum]);
    let mut client = Client::connect(service).ok()?;
    match service {
        Service::Cpg => client.send(&requests::join(dice.pick(&[&b"flow"[..], b"hostile"]))),
        Service::Cmap => client.send(&requests::track_all()),
        Service::Quorum => client.send(&requests::shaped(1, 24, &[(16, 3)])),
        _ => client.send(&requests::shaped(3, 32, &[(24, 3)])),
    }
    client.await_reply();
    Some(client)
}

/// Something that makes the daemon use the rings of `client`.
fn stir(client: &mut Client, dice: &mut Dice) {
    match client.service {
        Service::Cpg => client.send(&requests::multicast(dice.pick(&[1, 100, 5_000, 200_000]))),
        Service::Cmap => client.send(&requests::set(dice.next(), 1 + dice.below(4_000))),
        service => client.send(&requests::any(service, dice)),
    }
}

fn keep(hoard: &mut Vec<Client>, client: Client, dice: &mut Dice) {
    if hoard.len() < HOARD {
        hoard.push(client);
    } else {
        let at = dice.below(hoard.len());
        hoard[at] = client;
    }
}

fn knock(mut dice: Dice, _: &mut Vec<Client>) {
    let mut open = Vec::new();
    for _ in 0..1 + dice.below(150) {
        let Ok(mut stream) = wire::open(service(&mut dice)) else { continue };
        let mut hello = wire::hello().to_vec();
        match dice.below(7) {
            0 => {}
            1 => hello.truncate(dice.below(24)),
            2 => {
                let len = 24 + dice.below(5_000);
                hello = dice.bytes(len);
            }
            3 => {
                let at = dice.below(24);
                hello[at] ^= 1 << dice.below(8);
            }
            4 => hello[16..20].copy_from_slice(&dice.edge().to_ne_bytes()),
            5 => hello.extend(dice.bytes(2_000)),
            _ => {
                let fds = [stream.as_fd(), stream.as_fd()];
                let _ = fdpass::send(stream.as_fd(), &hello, &fds);
                continue;
            }
        }
        let _ = stream.write_all(&hello);
        match dice.below(3) {
            0 => open.push(stream),
            1 => drop(stream.shutdown(dice.pick(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]))),
            _ => {}
        }
    }
}

fn crowd(mut dice: Dice, _: &mut Vec<Client>) {
    let count = 20 + dice.below(180);
    let same = dice.chance(50).then(|| service(&mut dice));
    let mut all: Vec<Client> = Vec::new();
    for _ in 0..count {
        let Ok(mut client) = Client::connect(same.unwrap_or_else(|| service(&mut dice))) else { continue };
        if dice.chance(50) {
            let request = requests::any(client.service, &mut dice);
            client.send(&request);
        }
        all.push(client);
    }
    // All at once.
}

fn ask(mut dice: Dice, hoard: &mut Vec<Client>) {
    let Some(mut client) = client(&mut dice) else { return };
    for _ in 0..dice.below(400) {
        let request = requests::any(client.service, &mut dice);
        client.send(&request);
        if dice.chance(90) {
            client.await_reply();
        }
    }
    if dice.chance(30) {
        keep(hoard, client, &mut dice);
    }
}

fn ask_deaf(mut dice: Dice, hoard: &mut Vec<Client>) {
    let Some(mut client) = client(&mut dice) else { return };
    for _ in 0..dice.below(4_000) {
        let request = requests::any(client.service, &mut dice);
        client.send(&request);
    }
    if dice.chance(30) {
        keep(hoard, client, &mut dice);
    }
}

fn scribble(mut dice: Dice, _: &mut Vec<Client>) {
    for _ in 0..20 {
        let Some(mut client) = listener(&mut dice) else { continue };
        for _ in 0..1 + dice.below(30) {
            if let Some(rings) = client.rings() {
                let ring = &rings[dice.below(3)];
                let order = Ordering::SeqCst;
                match dice.below(8) {
                    0 => ring.header.atomic_u32(READ_POSITION).store(dice.edge(), order),
                    1 => ring.header.atomic_u32(WRITE_POSITION).store(dice.edge(), order),
                    2 => ring.header.atomic_u32(dice.pick(&[8, 8_204, 8_240])).store(dice.edge(), order),
                    3 => ring.header.atomic_u32(SEMAPHORE + dice.pick(&[0, 4, 8])).store(dice.edge(), order),
                    4 => (0..dice.below(300)).for_each(|_| ring.header.semaphore(SEMAPHORE).post()),
                    5 => {
                        let garbage = dice.bytes(256);
                        let at = dice.below(ring.data.len() - 256);
                        ring.data.write(at, &garbage);
                    }
                    6 => {
                        // The words of a chunk: length and state.
                        let at = dice.below(64) * 4;
                        let edge = dice.edge();
                        let word = dice.pick(&[0xa1a1_a1a1, 0xa110_ced0, 0xd0d0_d0d0, edge]);
                        ring.data.atomic_u32(at).store(word, order);
                    }
                    _ => ring.header.write(dice.below(8_000), &dice.bytes(64)),
                }
            }
            match dice.below(4) {
                0 => client.announce(1 + dice.below(600)),
                1 => drop(client.take()),
                _ => stir(&mut client, &mut dice),
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn truncate(mut dice: Dice, hoard: &mut Vec<Client>) {
    for _ in 0..20 {
        let Some(mut client) = listener(&mut dice) else { continue };
        stir(&mut client, &mut dice);
        for _ in 0..1 + dice.below(6) {
            let len = dice.pick(&[0, 1, 4_096, 8_192, 8_248, 65_536, 1 << 19, 1 << 22]);
            if let wire::Carrier::Datagrams(wire::Datagrams { control: Some(file), .. }) = &client.carrier {
                let _ = file.set_len(len % 64);
            } else if let Some(rings) = client.rings() {
                let file = dice.below(2);
                let _ = rings[dice.below(3)].files[file].set_len(len);
            }
            stir(&mut client, &mut dice);
            if dice.chance(20) {
                client.announce(1);
            }
        }
        if dice.chance(10) {
            keep(hoard, client, &mut dice);
        }
    }
}

fn punch(mut dice: Dice, hoard: &mut Vec<Client>) {
    let Some(mut client) = listener(&mut dice) else { return };
    for _ in 0..50 {
        if let Some(rings) = client.rings() {
            let at = dice.below(64) as i64 * 4_096;
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let _ = fallocate(&rings[dice.below(3)].files[1], flags, at, 1 << 16);
        }
        stir(&mut client, &mut dice);
    }
    keep(hoard, client, &mut dice);
}

fn close(mut dice: Dice, _: &mut Vec<Client>) {
    for _ in 0..30 {
        let Some(mut client) = listener(&mut dice) else { continue };
        for _ in 0..dice.below(20) {
            stir(&mut client, &mut dice);
        }
        match dice.below(4) {
            0 => drop(client.stream.shutdown(Shutdown::Read)),
            1 => drop(client.stream.shutdown(Shutdown::Write)),
            2 => drop(client.stream.shutdown(Shutdown::Both)),
            _ => {}
        }
        for _ in 0..dice.below(5) {
            stir(&mut client, &mut dice);
        }
    }
}

fn deaf(mut dice: Dice, hoard: &mut Vec<Client>) {
    for _ in 0..1 + dice.below(4) {
        if let Some(client) = listener(&mut dice) {
            keep(hoard, client, &mut dice);
        }
    }
}

fn flood(mut dice: Dice, hoard: &mut Vec<Client>) {
    let Ok(mut client) = Client::connect(Service::Cpg) else { return };
    client.send(&requests::join(dice.pick(&[&b"flow2"[..], b"hostile"])));
    client.await_reply();
    let size = dice.pick(&[0, 1, 60, 1_400, 60_000, 1_000_000]);
    let end = Instant::now() + Duration::from_millis(150);
    while Instant::now() < end {
        client.send(&requests::multicast(size));
    }
    if dice.chance(50) {
        keep(hoard, client, &mut dice);
    }
}

fn track(mut dice: Dice, hoard: &mut Vec<Client>) {
    let (Ok(mut client), Ok(mut setter)) = (Client::connect(Service::Cmap), Client::connect(Service::Cmap))
    else {
        return;
    };
    if dice.chance(50) {
        // The statistics change by themselves.
        client.send(&requests::shaped(9, 24, &[(16, 1)]));
        client.await_reply();
    }
    for _ in 0..dice.pick(&[10, 300, 5_000]) {
        client.send(&requests::track_all());
        if dice.chance(98) && !client.await_reply() {
            break;
        }
    }
    for n in 0..dice.below(50) as u64 {
        setter.send(&requests::set(n, dice.pick(&[1, 100, 16_000])));
        setter.await_reply();
    }
    keep(hoard, client, &mut dice);
}

fn hoard_handles(mut dice: Dice, hoard: &mut Vec<Client>) {
    let service = dice.pick(&[Service::Cmap, Service::Cpg]);
    let Ok(mut client) = Client::connect(service) else { return };
    for _ in 0..5_000 {
        match service {
            Service::Cmap => client.send(&requests::shaped(4, 280, &[])),
            _ => client.send(&requests::shaped(5, 160, &[(152, 3)])),
        }
        if !client.await_reply() {
            break;
        }
    }
    keep(hoard, client, &mut dice);
}

fn fill(mut dice: Dice, _: &mut Vec<Client>) {
    let Ok(mut file) = File::create("/dev/shm/hostile-fill") else { return };
    let _ = std::fs::remove_file("/dev/shm/hostile-fill");
    let before = dice.chance(50).then(|| listener(&mut dice)).flatten();
    let chunk = vec![1; 1 << 16];
    // A bound for a machine where it has no limit of its own.
    for _ in 0..FILL_MAX / chunk.len() {
        if file.write_all(&chunk).is_err() {
            break;
        }
    }
    for _ in 0..20 {
        let _ = client(&mut dice);
    }
    if let Some(mut client) = before {
        if let Some(rings) = client.rings() {
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            for ring in rings.iter() {
                let _ = fallocate(&ring.files[1], flags, 0, 1 << 20);
                let _ = file.write_all(&chunk);
            }
        }
        for _ in 0..10 {
            stir(&mut client, &mut dice);
        }
        client.await_reply();
    }
}

fn zero_copy(mut dice: Dice, hoard: &mut Vec<Client>) {
    let Ok(mut client) = Client::connect(Service::Cpg) else { return };
    client.send(&requests::join(b"hostile"));
    client.await_reply();
    for k in 0..40 {
        let path = format!("/dev/shm/hostile-{}-{k}", std::process::id());
        let _ = std::fs::remove_file(&path);
        let made = match dice.below(5) {
            0 => std::os::unix::fs::symlink("/dev/null", &path).is_ok(),
            1 => nix::unistd::mkfifo(path.as_str(), nix::sys::stat::Mode::S_IRWXU).is_ok(),
            2 => std::fs::create_dir(&path).is_ok(),
            _ => File::create(&path).and_then(|f| f.set_len(dice.pick(&[0, 55, 56, 4_096, 1 << 20]))).is_ok(),
        };
        let file = File::options().read(true).write(true).open("/dev/null").ok();
        let file = if made { File::options().read(true).write(true).open(&path).ok() } else { file };
        let size = dice.pick(&[0, 55, 56, 4_096, 1 << 20, 2 << 20, (2 << 20) + 1, u64::MAX]);
        let mut bytes = requests::shaped(9, 152, &[(16, size), (20, size >> 32)]);
        bytes[24..24 + path.len()].copy_from_slice(path.as_bytes());
        client.send(&bytes);
        client.await_reply();
        if let Some(file) = file.filter(|_| dice.chance(50)) {
            let _ = file.set_len(dice.pick(&[0, 4_096]));
        }
        // Cookies are small numbers.
        client.send(&requests::shaped(11, 24, &[(16, dice.below(2_000) as u64)]));
        client.await_reply();
        if dice.chance(30) {
            client.send(&requests::shaped(10, 32, &[(24, dice.below(2_000) as u64)]));
            client.await_reply();
        }
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir(&path);
    }
    keep(hoard, client, &mut dice);
}

fn intrude(mut dice: Dice, _: &mut Vec<Client>) {
    // Whoever has such sockets now: the names are no secret.
    let names = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let names = names.lines().filter_map(|l| l.split_once('@')).map(|(_, name)| name.trim_end_matches('@'));
    for name in names.filter(|n| n.ends_with("-request") || n.ends_with("-event-tx")) {
        if let Ok(to) = wire::padded(name.as_bytes()) {
            for _ in 0..dice.below(30) {
                let len = dice.below(300);
                wire::send_as(&to, &dice.bytes(len), NOBODY);
            }
        }
    }
    for _ in 0..10 {
        let Some(mut client) = client(&mut dice) else { continue };
        let request = requests::any(client.service, &mut dice);
        if let wire::Carrier::Datagrams(datagrams) = &client.carrier {
            for _ in 0..dice.below(400) {
                datagrams.intrude(&request, dice.pick(&[NOBODY, 0]));
            }
        }
        client.send(&request);
        client.await_reply();
    }
}

/// Connections that stay open over some rounds.
const HOARD: usize = 40;
const NOBODY: u32 = 65_534;
const FILL_MAX: usize = 256 << 20;
