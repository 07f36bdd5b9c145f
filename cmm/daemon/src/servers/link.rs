//! One TCP connection, plain or behind TLS, driven by what the poller says. All of it runs on the thread of [`super`].

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use cmm_qnet::Channel;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::{Happened, Outbox, What};

/// A connection.
pub(super) struct Link {
    pub(super) channel: Channel,
    pub(super) attempt: u64,
    pub(super) address: SocketAddr,
    stream: TcpStream,
    connected: bool,
    tls: Option<Box<ClientConnection>>,
    /// The other side is known.
    secured: bool,
    /// Not sent yet.
    pending: Vec<u8>,
}

impl Link {
    pub(super) fn connect(
        address: SocketAddr,
        channel: Channel,
        attempt: u64,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            channel,
            attempt,
            address,
            stream,
            connected: false,
            tls: None,
            secured: false,
            pending: Vec::new(),
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn is_securing(&self) -> bool {
        self.tls.is_some() && !self.secured
    }

    /// Takes bytes; [`Link::turn`] sends them.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// TLS begins behind what was taken so far.
    pub(super) fn secure(&mut self, config: Arc<rustls::ClientConfig>) -> Result<(), String> {
        // The name is in the certificate's subject, as NSS has it, and looked at by the verifier.
        let name = ServerName::IpAddress(self.address.ip().into());
        let tls = ClientConnection::new(config, name).map_err(|e| format!("TLS: {e}"))?;
        self.flush_plain().map_err(|e| e.to_string())?;
        if !self.pending.is_empty() {
            return Err("the server does not take what it is sent".to_owned());
        }
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Sends and receives what can be.
    pub(super) fn turn(&mut self, outbox: &Outbox) -> Result<(), String> {
        if !self.connected {
            if let Some(error) = self.stream.take_error().map_err(|e| e.to_string())? {
                return Err(error.to_string());
            }
            match self.stream.peer_addr() {
                Ok(_) => {
                    self.connected = true;
                    // Small messages, each of which is waited for.
                    let _ = self.stream.set_nodelay(true);
                    self.tell(outbox, What::Connected);
                }
                Err(e) if e.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
        if self.pending.len() > PENDING_MAX {
            return Err("the server does not take what it is sent".to_owned());
        }
        match self.tls.take() {
            None => {
                self.flush_plain().map_err(|e| e.to_string())?;
                self.read_plain(outbox)
            }
            Some(mut tls) => {
                let turned = self.turn_tls(&mut tls, outbox);
                self.tls = Some(tls);
                turned
            }
        }
    }

    fn tell(&self, outbox: &Outbox, what: What) {
        outbox.push(Happened { channel: self.channel, attempt: self.attempt, what });
    }

    fn flush_plain(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(sent) => drop(self.pending.drain(..sent)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if would_wait(&e) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read_plain(&mut self, outbox: &Outbox) -> Result<(), String> {
        let mut buffer = [0; 4_096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the server has ended the connection".to_owned()),
                Ok(n) => self.tell(outbox, What::Received(buffer[..n].to_vec())),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if would_wait(&e) => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    fn turn_tls(&mut self, tls: &mut ClientConnection, outbox: &Outbox) -> Result<(), String> {
        let mut open = true;
        loop {
            let mut moved = false;
            if self.secured && !self.pending.is_empty() {
                let taken = tls.writer().write(&self.pending).map_err(|e| e.to_string())?;
                self.pending.drain(..taken);
                moved = taken > 0;
            }
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => moved = true,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if would_wait(&e) => break,
                    Err(e) => return Err(format!("TLS: {e}")),
                }
            }
            while open && tls.wants_read() {
                match tls.read_tls(&mut self.stream) {
                    Ok(0) => open = false,
                    Ok(_) => {
                        moved = true;
                        let state = tls.process_new_packets().map_err(|e| {
                            // The other side is told why, as far as it goes.
                            let _ = tls.write_tls(&mut self.stream);
                            format!("TLS: {e}")
                        })?;
                        let mut plain = vec![0; state.plaintext_bytes_to_read()];
                        if !plain.is_empty() && tls.reader().read_exact(&mut plain).is_ok() {
                            self.tell(outbox, What::Received(plain));
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if would_wait(&e) => break,
                    Err(e) => return Err(format!("TLS: {e}")),
                }
            }
            if !self.secured && !tls.is_handshaking() {
                self.secured = true;
                self.tell(outbox, What::Secured);
            }
            if !open {
                return Err("the server has ended the connection".to_owned());
            }
            if !moved {
                return Ok(());
            }
        }
    }
}

fn would_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// More than that is never on its way to a server that is alive.
const PENDING_MAX: usize = 1 << 18;
