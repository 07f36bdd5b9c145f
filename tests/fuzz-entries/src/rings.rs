//! A client's rings, written over and cut off while the server uses them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use cmm_ipc::abi::View;
use cmm_ipc::server::{Connection, Listener, Mode, Next};
use cmm_ipc::{Place, Service};

/// Steps of a client and of the server in turn: {what, where, value}. The server may close the connection; it may not
/// fall over, nor hand out more than was granted.
pub fn rings(data: &[u8]) {
    let dir = Dir::new();
    let mut link = Link::new(&dir);
    let mut request = Vec::new();
    let mut rest = data;
    // Bounded: an input is at most a thousand steps.
    for _ in 0..1_024 {
        let Some((&[what, a, b, c, d, e, f], tail)) = rest.split_first_chunk::<7>() else { break };
        rest = tail;
        let (at, value) = (usize::from(u16::from_le_bytes([a, b])), u32::from_le_bytes([c, d, e, f]));
        let ring = usize::from(what >> 4) % 3;
        let goes_on = match what % 12 {
            0 => {
                let len = at.min(tail.len());
                link.request(&tail[..len]);
                rest = &tail[len..];
                true
            }
            1 => link.header(ring, (at as u64 % 8_252) & !3, value),
            // The fields that matter: positions, size, count of users, semaphore, flow control.
            2 => link.header(ring, [0, 4, 8, 8_204, 8_208, 8_212, 8_216, 8_240][at % 8], value),
            3 => link.write(2 * ring + 1, at as u64 * 4, value),
            4 => link.cut(2 * ring + at % 2, u64::from(value % 80_000)),
            5 => link.announce(at % 64),
            6 => (0..=at % 16).all(|_| match link.server.next_request(&mut request) {
                Ok(Next::Request) => {
                    assert!(request.len() <= Service::Cmap.grant() as usize, "more than was granted");
                    true
                }
                Ok(Next::Nothing) => true,
                Ok(Next::HungUp) | Err(_) => false,
            }),
            7 => link.server.send_event(&[&vec![7; at], &[0; 3]]).is_ok(),
            8 => link.server.send_response(&vec![7; at % 20_000]).is_ok(),
            9 => {
                link.server.notify();
                link.server.flush().is_ok()
            }
            10 => {
                link.server.set_flow_control(value % 3);
                link.server.take_notifications();
                let _ = link.server.is_attached();
                true
            }
            _ => {
                let mut bytes = [0; 512];
                let _ = link.stream.read(&mut bytes);
                true
            }
        };
        if !goes_on {
            break;
        }
    }
}

/// One client of CMAP, and what the server has of it.
struct Link {
    server: Connection,
    stream: UnixStream,
    /// Header and data of the three rings.
    files: Vec<File>,
    /// Where the next request goes, in words.
    next: u32,
}

impl Link {
    fn new(dir: &Dir) -> Self {
        holdfast_sys::shm::guard_against_sigbus().expect("a handler");
        let place = Place::Dir(dir.0.clone());
        let listener = Listener::bind(&place, Service::Cmap).expect("bind");
        let mut stream = UnixStream::connect(dir.0.join("cmap")).expect("connect");
        let mut hello = [0; 24];
        hello[..4].copy_from_slice(&(-1_i32).to_ne_bytes());
        hello[8..12].copy_from_slice(&24_i32.to_ne_bytes());
        stream.write_all(&hello).expect("hello");
        let mut handshake = listener.accept().expect("accept").expect("one waits");
        assert!(handshake.on_readable().expect("hello").is_some());
        let server = handshake.accept(&place, Mode::SharedMemory).expect("rings");
        let mut reply = vec![0; 12_328];
        stream.read_exact(&mut reply).expect("reply");
        stream.set_nonblocking(true).expect("a socket");
        let open = |(at, suffix): (usize, &str)| {
            let name = View(&reply[at..]).bytes(0, 4_096).expect("a field");
            let name =
                String::from_utf8_lossy(name.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
            File::options().read(true).write(true).open(name + suffix).expect("the server has made it")
        };
        let names = [40, 4_136, 8_232].into_iter().flat_map(|at| [(at, "-header"), (at, "-data")]);
        Self { server, stream, files: names.map(open).collect(), next: 0 }
    }

    fn write(&self, file: usize, at: u64, value: u32) -> bool {
        // What is beyond the end would be a hole in a longer file: as good as any other.
        let _ = self.files[file].write_at(&value.to_ne_bytes(), at);
        true
    }

    fn header(&self, ring: usize, at: u64, value: u32) -> bool {
        self.write(2 * ring, at, value)
    }

    fn cut(&self, file: usize, len: u64) -> bool {
        let _ = self.files[file].set_len(len);
        true
    }

    fn announce(&self, count: usize) -> bool {
        let _ = (&self.stream).write(&vec![0; count]);
        true
    }

    /// A whole chunk, as a library writes it, but that it does not look for room.
    fn request(&mut self, bytes: &[u8]) {
        let words = 69_632 / 4;
        let word = |ahead: usize| u64::from((self.next + ahead as u32) % words) * 4;
        self.write(1, word(0), bytes.len() as u32);
        for (n, piece) in bytes.chunks(4).enumerate() {
            let _ = self.files[1].write_at(piece, word(2 + n));
        }
        self.write(1, word(1), 0xa1a1_a1a1);
        let mut count = [0; 4];
        let _ = self.files[0].read_at(&mut count, 8_208);
        self.header(0, 8_208, u32::from_ne_bytes(count).wrapping_add(1));
        self.next = (self.next + 2 + bytes.len().div_ceil(4) as u32) % words;
        self.announce(1);
    }
}

/// Where sockets and rings are; in memory if there is such a place.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let dir = base.join(format!("holdfast-fuzz-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("shm")).expect("a folder");
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
