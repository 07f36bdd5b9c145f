//! `holdfast metrics`: this node for Prometheus, as text or at an address.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::exit::Exit;
use crate::gather::{Sources, ask_rgmd, gather};
use crate::io::Io;
use crate::ring;

/// Print metrics of this node in Prometheus's text form, or serve them over HTTP.
///
/// Names are those of ha_cluster_exporter where it has one (ha_cluster_pacemaker_*, ha_cluster_corosync_*); the rest
/// begins with holdfast_. What a daemon knows that does not answer is missing, and ha_cluster_scrape_success says so.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Serve them at this address until ended, e.g. 127.0.0.1:9664 (ha_cluster_exporter's port); nobody is asked who he is.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Runs it.
pub(crate) fn run(args: &Args, io: &mut Io) -> Exit {
    let sources = Sources::from_env();
    let Some(address) = args.listen else {
        let (text, well) = scrape(&sources);
        io.say(format_args!("{text}"));
        return if well { Exit::Ok } else { Exit::TryAgain };
    };
    let listener = match TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(e) => {
            io.complain(format_args!(
                "holdfast metrics: cannot listen at {address}: {e}; name another port\n"
            ));
            return Exit::CannotCreate;
        }
    };
    match listener.local_addr() {
        Ok(address) => io.say(format_args!("http://{address}/metrics\n")),
        Err(e) => io.complain(format_args!("holdfast metrics: {e}\n")),
    }
    for stream in listener.incoming() {
        match stream {
            // One at a time: whoever dawdles costs the others two seconds.
            Ok(mut stream) => drop(answer(&mut stream, &sources)),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    Exit::Ok
}

#[derive(Deserialize)]
struct FromManager {
    text: Option<String>,
}

/// All of it, and whether both daemons answered.
fn scrape(sources: &Sources) -> (String, bool) {
    let mut text = String::new();
    let mut scraped = status::Metrics::default();
    let began = Instant::now();
    let answer = ask_rgmd(sources, r#"{"cmd":"metrics"}"#).ok();
    let manager = answer.and_then(|a| serde_json::from_str::<FromManager>(&a).ok()).and_then(|a| a.text);
    let manager_took = began.elapsed();
    let began = Instant::now();
    let ring = ring::gather(sources);
    // Votes and units.
    let state = gather(sources);
    let ring_took = began.elapsed();
    let well = [("pacemaker", manager.is_some(), manager_took), ("corosync", ring.answered, ring_took)];
    text.extend(manager);
    if ring.answered {
        text.push_str(&status::ring_metrics(&state, &ring));
    }
    scraped.family("ha_cluster_scrape_success", status::Kind::Gauge, "Whether a collector succeeded");
    for (collector, answered, _) in &well {
        scraped.sample(&[("collector", collector)], u8::from(*answered));
    }
    scraped.family(
        "ha_cluster_scrape_duration_seconds",
        status::Kind::Gauge,
        "Duration of a collector scrape",
    );
    for (collector, _, took) in &well {
        scraped.sample(&[("collector", collector)], format_args!("{:.6}", took.as_secs_f64()));
    }
    text.push_str(&scraped.text());
    (text, well.iter().all(|(_, answered, _)| *answered))
}

/// A request has to be here within this time, and be no longer than this.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Answers one request and ends the connection.
fn answer(stream: &mut TcpStream, sources: &Sources) -> std::io::Result<()> {
    let deadline = Instant::now() + REQUEST_LIMIT;
    stream.set_write_timeout(Some(REQUEST_LIMIT))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || request.len() > REQUEST_BYTES_MAX {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match (method, path.split('?').next().unwrap_or_default()) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", scrape(sources).0),
        ("GET" | "HEAD", _) => ("404 Not Found", "it is at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "GET /metrics\n".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes())?;
    }
    stream.flush()
}

const EXAMPLES: &str = "\
Examples:
  holdfast metrics
  holdfast metrics > /var/lib/prometheus/node-exporter/holdfast.prom     for node_exporter's textfile collector
  holdfast metrics --listen 127.0.0.1:9664                               for Prometheus itself
  systemctl enable --now holdfast-metrics                                the same, as a service

Exit status:
  0   both daemons answered
  73  the address cannot be used
  75  one of them did not, or none: its part is missing";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let dir = std::env::temp_dir().join("holdfast-no-such-node");
        let (mut server, _) = listener.accept().unwrap();
        answer(&mut server, &Sources::of_node(dir.clone(), dir)).unwrap();
        drop(server);
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        said
    }

    #[test]
    fn http_gets_metrics_and_says_where_they_are() {
        let said = asked("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert!(said.contains("ha_cluster_scrape_success{collector=\"corosync\"} 0\n"), "{said}");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(asked("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(asked("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(asked("HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    }
}
