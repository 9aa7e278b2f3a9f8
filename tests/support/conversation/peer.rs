//! A real HTTP/1.1 service on port 0 whose every piece of every reply is in the hands of a script.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Piece, Received};

/// A client that lives notices in this time that a connection has ended.
const NOTICED: Duration = Duration::from_secs(5);

/// Hears requests and hands each one's reply to the script.
pub struct Peer {
    address: SocketAddr,
    requests: Receiver<(Received, Sender<Piece>)>,
    to_script: Sender<(Received, Sender<Piece>)>,
    unmatched: Vec<(Received, Sender<Piece>)>,
    listening: Option<Listening>,
}

struct Listening {
    stopped: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Peer {
    pub fn start() -> Self {
        let (to_script, requests) = channel();
        let mut peer = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            requests,
            to_script,
            unmatched: Vec::new(),
            listening: None,
        };
        peer.up();
        peer
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Listens, again on the same port after [`Self::down`].
    pub fn up(&mut self) {
        let listener = TcpListener::bind(self.address).expect("a free port");
        self.address = listener.local_addr().expect("an address");
        let (stopped, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stop, all, to_script) = (stopped.clone(), streams.clone(), self.to_script.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                all.lock().expect("no panic").push(stream.try_clone().expect("a socket"));
                let to_script = to_script.clone();
                std::thread::spawn(move || serve(stream, &to_script));
            }
        });
        self.listening = Some(Listening { stopped, streams, thread });
    }

    /// Stops listening and breaks every connection.
    pub fn down(&mut self) {
        let Some(Listening { stopped, streams, thread }) = self.listening.take() else { return };
        stopped.store(true, Ordering::SeqCst);
        // A last connection wakes the listener up.
        let _ = TcpStream::connect(self.address);
        let _ = thread.join();
        for stream in streams.lock().expect("no panic").iter() {
            // A client that has not noticed the end yet would write into it, and be in doubt: it closes its side
            // when it has.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.set_read_timeout(Some(NOTICED));
            while matches!((&mut &*stream).read(&mut [0; 64]), Ok(1..)) {}
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits for a request that fits.
    pub fn receive(
        &mut self,
        fits: &dyn Fn(&Received) -> bool,
        patience: Duration,
    ) -> Option<(Received, Sender<Piece>)> {
        let until = Instant::now() + patience;
        loop {
            if let Some(at) = self.unmatched.iter().position(|(request, _)| fits(request)) {
                return Some(self.unmatched.remove(at));
            }
            let left = until.saturating_duration_since(Instant::now());
            self.unmatched.push(self.requests.recv_timeout(left).ok()?);
        }
    }

    /// Returns what came and fitted nothing.
    pub fn left_over(&mut self) -> Vec<Received> {
        self.unmatched.extend(self.requests.try_iter());
        self.unmatched.iter().map(|(request, _)| request.clone()).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.down();
    }
}

fn serve(stream: TcpStream, to_script: &Sender<(Received, Sender<Piece>)>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let (pieces, from_script) = channel();
        if to_script.send((request, pieces)).is_err() || !reply(&mut writer, &from_script) {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::from([("path".to_owned(), path)]);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { method, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Writes one reply piece by piece; returns whether the connection lives on.
fn reply(writer: &mut TcpStream, pieces: &Receiver<Piece>) -> bool {
    let mut head: Option<(u16, Vec<(String, String)>)> = None;
    let mut chunked = false;
    while let Ok(piece) = pieces.recv() {
        if let Piece::Head(status, headers) = piece {
            let streams =
                headers.iter().any(|(_, value)| value.to_lowercase().starts_with("text/event-stream"));
            head = Some((status, headers));
            if streams && !std::mem::replace(&mut chunked, true) && !write_head(writer, head.take(), None) {
                return false;
            }
            continue;
        }
        match piece {
            Piece::Body(body) => {
                return write_head(writer, head, Some(body.len())) && writer.write_all(&body).is_ok();
            }
            Piece::Part(body) => {
                let _ = write_head(writer, head, Some(body.len() + 1)) && writer.write_all(&body).is_ok();
                let _ = writer.shutdown(std::net::Shutdown::Both);
                return false;
            }
            Piece::End if chunked => return writer.write_all(b"0\r\n\r\n").is_ok(),
            Piece::End => return write_head(writer, head, Some(0)),
            Piece::Reset => {
                let _ = rustix::net::sockopt::set_socket_linger(&*writer, Some(Duration::ZERO));
                let _ = writer.shutdown(std::net::Shutdown::Both);
                return false;
            }
            piece => {
                let bytes = stream_bytes(&piece);
                let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
                if writer.write_all(&chunk).is_err() {
                    return false;
                }
            }
        }
    }
    false
}

fn write_head(
    writer: &mut TcpStream,
    head: Option<(u16, Vec<(String, String)>)>,
    length: Option<usize>,
) -> bool {
    let Some((status, headers)) = head else { return true };
    let mut text = format!("HTTP/1.1 {status} X\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&match length {
        Some(length) => format!("content-length: {length}\r\n\r\n"),
        None => "transfer-encoding: chunked\r\n\r\n".to_owned(),
    });
    writer.write_all(text.as_bytes()).is_ok()
}

/// Formats an event as it is sent.
pub fn stream_bytes(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Raw(bytes) => bytes.clone(),
        Piece::Event { id, retry, name, data } => {
            let mut text = String::new();
            let mut field = |name: &str, value: Option<String>| {
                if let Some(value) = value {
                    text.push_str(&format!("{name}: {value}\n"));
                }
            };
            field("event", name.clone());
            field("id", id.clone());
            field("retry", retry.map(|retry| retry.to_string()));
            field("data", Some(data.clone()));
            text.push('\n');
            text.into_bytes()
        }
        _ => Vec::new(),
    }
}
