//! HTTP/1.1 by hand: a connection and the responses on it.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use crate::plan::Outcome;

/// How long a client waits for a server that it takes for hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// A response, as far as it came.
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
    is_whole: bool,
}

impl Response {
    pub fn outcome(response: Option<&Self>) -> Outcome {
        match response {
            None => Outcome::Nothing,
            Some(response) if response.is_whole => Outcome::Answered(response.status),
            Some(response) => Outcome::Cut(response.status),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}

/// One connection; it is closed when dropped.
pub struct Connection {
    pub stream: TcpStream,
    /// What was received and not yet read.
    pub received: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Receives up to a number of bytes; false at the end.
    pub fn receive(&mut self, limit: usize) -> io::Result<bool> {
        let mut chunk = vec![0; limit];
        let bytes = self.stream.read(&mut chunk)?;
        self.received.extend_from_slice(&chunk[..bytes]);
        Ok(bytes > 0)
    }

    /// Reads a response. None where the server closed without a byte.
    pub fn read(&mut self, is_head: bool) -> io::Result<Option<Response>> {
        self.read_in_pieces(is_head, 65_536, || {})
    }

    /// Reads a response in pieces of this size at most, and does something before each.
    pub fn read_in_pieces(
        &mut self,
        is_head: bool,
        size: usize,
        pause: impl Fn(),
    ) -> io::Result<Option<Response>> {
        let head = loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                let head: Vec<_> = self.received.drain(..end + 4).collect();
                break String::from_utf8_lossy(&head).into_owned();
            }
            pause();
            if !self.receive(size)? {
                let is_clean = self.received.is_empty();
                return if is_clean {
                    Ok(None)
                } else {
                    Err(invalid("half a head"))
                };
            }
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| invalid("a head without a status"))?;
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
            is_whole: true,
        };
        if is_head || matches!(status, 101 | 204 | 304) {
            return Ok(Some(response));
        }
        let is_chunked = response.header("transfer-encoding") == Some("chunked");
        let length = response
            .header("content-length")
            .and_then(|length| length.parse::<usize>().ok());
        loop {
            let left = if is_chunked {
                match take_chunk(&mut self.received)? {
                    Some(chunk) if chunk.is_empty() => return Ok(Some(response)),
                    Some(chunk) => {
                        response.body.extend(chunk);
                        continue;
                    }
                    None => true,
                }
            } else {
                let missing = length.map(|length| length - response.body.len());
                let taken = missing.unwrap_or(usize::MAX).min(self.received.len());
                response.body.extend(self.received.drain(..taken));
                missing.is_none_or(|missing| missing > taken)
            };
            if !left {
                return Ok(Some(response));
            }
            pause();
            // A reset in the middle of a body leaves what came before.
            if !self.receive(size).unwrap_or(false) {
                response.is_whole = !is_chunked && length.is_none();
                return Ok(Some(response));
            }
        }
    }

    /// Leaves without a word: RST instead of FIN.
    pub fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

pub fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Takes one chunk, if it is there; the last one is empty.
fn take_chunk(received: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let Some(line) = find(received, b"\r\n") else {
        return Ok(None);
    };
    let size = str::from_utf8(&received[..line]).ok();
    let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
    let size = size.ok_or_else(|| invalid("a chunk without a size"))?;
    let end = line + 2 + size;
    if received.len() < end + 2 {
        return Ok(None);
    }
    let chunk = received[line + 2..end].to_vec();
    received.drain(..end + 2);
    Ok(Some(chunk))
}
