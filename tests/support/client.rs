//! A client that does what a good one does not.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use super::{PATIENCE, TestServer};

/// One connection; HTTP/1.1 by hand. It is closed when dropped.
pub struct Client(TcpStream);

impl TestServer {
    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a limit");
        Client(stream)
    }

    /// Sends a request without a body, on a connection that stays.
    pub fn request(&self, method: &str, path: &str) -> Client {
        let mut client = self.connect();
        client.request(method, path);
        client
    }
}

impl Client {
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("a server that reads");
    }

    /// Sends a request without a body.
    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    /// Reads until what was read ends in `end`.
    #[track_caller]
    pub fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let mut byte = [0];
            let bytes = self.0.read(&mut byte).expect("a server that answers");
            let so_far = String::from_utf8_lossy(&read);
            assert_ne!(bytes, 0, "closed before {end:?}, after {so_far:?}");
            read.push(byte[0]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads at most `limit` bytes; how many, 0 once the server closed the connection.
    #[track_caller]
    pub fn read(&mut self, limit: usize) -> usize {
        self.0.read(&mut vec![0; limit]).expect("a server that answers")
    }

    /// Reads until the server closes the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        self.0.read_to_end(&mut read).expect("a server that closes");
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Says that no more will be sent, and goes on listening.
    pub fn half_close(&self) {
        self.0.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// Leaves without a word: RST instead of FIN.
    pub fn reset(self) {
        let socket = SockRef::from(&self.0);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }
}
