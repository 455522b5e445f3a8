//! HTTP/1.1, as a good client does not do it.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    thread::sleep,
    time::Duration,
};

use socket2::SockRef;

use crate::{
    connection::{Connection, Response, invalid},
    dice::Dice,
    ending::Ending,
    plan::{Act, Ask, Outcome, Plan},
    tally::Ground,
};

/// The bytes of a request: its head, and its body.
fn bytes_of(ask: &Ask, is_chunked: bool) -> (Vec<u8>, Vec<u8>) {
    let mut head = format!("{} {} HTTP/1.1\r\n", ask.method, ask.path);
    if !ask.headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: storm\r\n");
    }
    for (name, value) in &ask.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let mut body = Vec::new();
    if let Some(bytes) = &ask.body {
        if is_chunked {
            head.push_str("transfer-encoding: chunked\r\n");
            for chunk in bytes.chunks(1_500) {
                body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                body.extend_from_slice(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
        } else {
            head.push_str("content-length: ");
            head.push_str(&bytes.len().to_string());
            head.push_str("\r\n");
            body.clone_from(bytes);
        }
    }
    if ask.ending == Ending::WebSocket {
        head.push_str("connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n");
        head.push_str("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    }
    head.push_str("\r\n");
    (head.into_bytes(), body)
}

/// One client over one round.
pub fn run(ground: &Ground, plan: &mut Plan) {
    while !ground.is_over() {
        let act = plan.next();
        let (address, steady) = ground.place_of(&act);
        let ending = act.ending;
        let mut client = Client {
            ground,
            address,
            steady,
            dice: act.dice.clone(),
        };
        if let Err(error) = client.perform(&act)
            && steady
        {
            ground.tally.problem(format!("{ending:?}: {error}"));
        }
    }
}

struct Client<'a> {
    ground: &'a Ground,
    address: SocketAddr,
    steady: bool,
    dice: Dice,
}

impl Client<'_> {
    fn perform(&mut self, act: &Act) -> io::Result<()> {
        match act.ending {
            Ending::Pipelined => self.pipeline(&act.asks),
            Ending::HalfClose => self.half_close(&act.asks[0]),
            Ending::SlowWriter => self.write_slowly(&act.asks),
            Ending::SlowReader => self.read_slowly(&act.asks[0]),
            Ending::Reset | Ending::Fin | Ending::CutUpload => self.leave(&act.asks[0]),
            Ending::WebSocket => self.web_socket(&act.asks[0]),
            Ending::Events => self.listen(&act.asks[0]),
            Ending::Garbage => self.garbage(),
            _ => self.converse(&act.asks),
        }
    }

    fn open(&self) -> io::Result<Connection> {
        Connection::open(self.address)
    }

    fn send(&mut self, connection: &mut Connection, ask: &Ask) -> io::Result<()> {
        let (head, body) = bytes_of(ask, self.dice.one_in(2));
        self.ground.tally.sent(ask.ending);
        connection.send(&[head, body].concat())
    }

    fn read(&self, connection: &mut Connection, ask: &Ask) -> io::Result<Outcome> {
        let response = connection.read(ask.method == "HEAD")?;
        let outcome = Response::outcome(response.as_ref());
        self.ground.tally.saw_the_end(ask, outcome, self.steady);
        Ok(outcome)
    }

    /// One request after the other, over one connection while it lasts.
    fn converse(&mut self, asks: &[Ask]) -> io::Result<()> {
        let mut connection = self.open()?;
        for ask in asks {
            self.send(&mut connection, ask)?;
            if !matches!(self.read(&mut connection, ask)?, Outcome::Answered(_)) {
                connection = self.open()?;
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, asks: &[Ask]) -> io::Result<()> {
        let mut connection = self.open()?;
        let all: Vec<_> = asks.iter().map(|ask| bytes_of(ask, false)).collect();
        for ask in asks {
            self.ground.tally.sent(ask.ending);
        }
        let all: Vec<_> = all
            .into_iter()
            .flat_map(|(head, body)| [head, body].concat())
            .collect();
        connection.send(&all)?;
        let leaves_after = if self.dice.one_in(4) {
            self.dice.index(asks.len())
        } else {
            asks.len()
        };
        for ask in &asks[..leaves_after] {
            let response = connection.read(false)?;
            let Some(response) = response else {
                // actix-http 3.20 does so once in some 300,000 requests, whatever measures them. It may: RFC 9112,
                // section 9.3.2.
                if self.steady {
                    self.ground.tally.closed_a_pipeline();
                }
                break;
            };
            let outcome = Response::outcome(Some(&response));
            self.ground.tally.saw_the_end(ask, outcome, self.steady);
        }
        Ok(())
    }

    /// Says that no more will be sent, and goes on listening.
    fn half_close(&mut self, ask: &Ask) -> io::Result<()> {
        let mut connection = self.open()?;
        self.send(&mut connection, ask)?;
        connection.stream.shutdown(Shutdown::Write)?;
        // The server may take it for a client that left.
        if let Ok(response) = connection.read(ask.method == "HEAD") {
            let outcome = Response::outcome(response.as_ref());
            self.ground.tally.saw(ask, outcome, self.steady);
        }
        Ok(())
    }

    fn write_slowly(&mut self, asks: &[Ask]) -> io::Result<()> {
        let mut connection = self.open()?;
        for ask in asks.iter().take(2) {
            let (head, body) = bytes_of(ask, self.dice.one_in(2));
            self.ground.tally.sent(ask.ending);
            let bytes = [head, body].concat();
            let size = bytes.len() / 10 + 1;
            for piece in bytes.chunks(size) {
                connection.send(piece)?;
                self.pause(4);
            }
            self.read(&mut connection, ask)?;
        }
        Ok(())
    }

    fn read_slowly(&mut self, ask: &Ask) -> io::Result<()> {
        let mut connection = self.open()?;
        self.send(&mut connection, ask)?;
        if self.dice.one_in(2) {
            // Only for a while, and then no more, so that the server cannot write on.
            SockRef::from(&connection.stream).set_recv_buffer_size(4_096)?;
            for _ in 0..self.dice.below(5) {
                connection.receive(2_000)?;
                self.pause(10);
            }
            return Ok(());
        }
        let response = connection.read_in_pieces(false, 16_000, || sleep(Duration::from_millis(1)))?;
        let outcome = Response::outcome(response.as_ref());
        self.ground.tally.saw_the_end(ask, outcome, self.steady);
        Ok(())
    }

    fn pause(&mut self, most_ms: u64) {
        sleep(Duration::from_micros(self.dice.below(most_ms * 1_000)));
    }

    /// Leaves at any moment: within the head, the body, or the response.
    fn leave(&mut self, ask: &Ask) -> io::Result<()> {
        let mut connection = self.open()?;
        let (head, body) = bytes_of(ask, self.dice.one_in(2));
        let complete = head.len();
        let bytes = [head, body].concat();
        let upload = ask.ending == Ending::CutUpload;
        let cut = match self.dice.below(3) {
            0 if !upload => self.dice.index(complete),
            _ if upload => complete + self.dice.index(bytes.len() - complete),
            _ => bytes.len(),
        };
        if cut >= complete {
            self.ground.tally.sent(ask.ending);
        }
        connection.send(&bytes[..cut])?;
        self.pause(15);
        if cut == bytes.len() && self.dice.one_in(2) {
            // A part of the response, which is proof once its head is there.
            let _ = connection.receive(self.dice.index(30_000) + 1);
            if connection.received.starts_with(b"HTTP/1.1 200") {
                self.ground.tally.saw(ask, Outcome::Cut(200), self.steady);
            }
        }
        if ask.ending == Ending::Reset || upload && self.dice.one_in(2) {
            connection.reset();
        }
        Ok(())
    }

    fn web_socket(&mut self, ask: &Ask) -> io::Result<()> {
        let mut connection = self.open()?;
        self.send(&mut connection, ask)?;
        if self.read(&mut connection, ask)? != Outcome::Answered(101) {
            return Ok(());
        }
        for _ in 0..self.dice.below(5) {
            // A text of five bytes, masked with zeros; it comes back without a mask.
            connection.send(b"\x81\x85\0\0\0\0storm")?;
            while connection.received.len() < 7 && connection.receive(64)? {}
            if !connection.received.starts_with(b"\x81\x05storm") {
                return Err(invalid("a web socket that does not echo"));
            }
            connection.received.drain(..7);
        }
        match self.dice.below(3) {
            0 => connection.reset(),
            1 => {
                connection.send(b"\x88\x80\0\0\0\0")?;
                while connection.receive(64).unwrap_or(false) {}
            }
            _ => {}
        }
        Ok(())
    }

    /// Listens to events for a while.
    fn listen(&mut self, ask: &Ask) -> io::Result<()> {
        let mut connection = self.open()?;
        self.send(&mut connection, ask)?;
        for _ in 0..self.dice.between(1, 5) {
            if !connection.receive(4_000)? {
                break;
            }
        }
        if connection.received.starts_with(b"HTTP/1.1 200") {
            self.ground.tally.saw(ask, Outcome::Cut(200), self.steady);
        }
        if self.dice.one_in(2) {
            connection.reset();
        }
        Ok(())
    }

    /// What no parser takes for a request: nothing of it is counted.
    fn garbage(&mut self) -> io::Result<()> {
        let mut connection = self.open()?;
        let bytes = match self.dice.below(9) {
            0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\xff\xff\xff".to_vec(),
            2 => b"GET /normal/ok HTTP/9.9\r\nhost: storm\r\n\r\n".to_vec(),
            3 => b"GET /normal/ok\r\n\r\n".to_vec(),
            4 => b"G\x00T /normal/ok HTTP/1.1\r\nhost: storm\r\n\r\n".to_vec(),
            5 => b"GET /normal/ok HTTP/1.1\r\nho st: storm\r\n\r\n".to_vec(),
            6 => b"POST /normal/upload HTTP/1.1\r\nhost: storm\r\ncontent-length: many\r\n\r\n".to_vec(),
            7 => [b"GET /normal/ok HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 140_000]].concat(),
            _ => (0..self.dice.between(1, 3_000))
                .map(|_| self.dice.next() as u8 | 0x80)
                .collect(),
        };
        self.ground.tally.sent(Ending::Garbage);
        // The server may close before it has read it all.
        let _ = connection.send(&bytes);
        if self.dice.one_in(2) {
            let _ = connection.stream.shutdown(Shutdown::Write);
            let _ = connection.receive(1_000);
        }
        Ok(())
    }
}
