//! Inside of a node: stands for its syslog. Prints what programs send to `/dev/log`, a line each.

use std::os::unix::net::UnixDatagram;

fn main() -> std::io::Result<()> {
    let socket = UnixDatagram::bind("/dev/log")?;
    let mut bytes = vec![0; 65_536];
    loop {
        let length = socket.recv(&mut bytes)?;
        println!("{}", String::from_utf8_lossy(&bytes[..length]).trim_end_matches(['\0', '\n']));
    }
}
