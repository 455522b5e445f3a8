//! What the clients do: drawn from the seed alone, so that a seed draws the same again.

use crate::{
    dice::Dice,
    ending::{Ending, Protocol},
};

/// What a client gets to see of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole of it.
    Answered(u16),
    /// The head, and not all of the body.
    Cut(u16),
    /// The server closed the connection, or the stream, without a byte.
    Nothing,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub ending: Ending,
    pub method: String,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Vec<u8>>,
    /// What a client sees that stays to the end.
    pub expected: Outcome,
}

impl Ask {
    fn get(ending: Ending, tail: &str, expected: Outcome) -> Self {
        Self {
            ending,
            method: "GET".into(),
            path: format!("/{}/{tail}", ending.scope()),
            headers: Vec::new(),
            body: None,
            expected,
        }
    }

    /// As what it is counted, when the client saw this much of the response.
    pub fn counted_as(&self, outcome: Outcome) -> Option<u16> {
        match (self.ending, outcome) {
            (Ending::Excluded, _) => None,
            (Ending::Dropped, Outcome::Answered(504)) => Some(499),
            (_, Outcome::Answered(status) | Outcome::Cut(status)) => Some(status),
            // Nothing but a panic closes a connection so.
            (_, Outcome::Nothing) => (self.expected == Outcome::Nothing).then_some(500),
        }
    }
}

/// One thing that a client does: a few requests, all of one ending, over one connection.
#[derive(Debug)]
pub struct Act {
    pub ending: Ending,
    /// Whether it goes to a server that is about to stop.
    pub to_passing: bool,
    pub asks: Vec<Ask>,
    /// For all further choices.
    pub dice: Dice,
}

/// What one client does in one round; it never ends.
pub struct Plan {
    dice: Dice,
    protocol: Protocol,
    /// Each ending comes once in each round, whatever is drawn.
    due: Vec<Ending>,
}

impl Plan {
    /// The plan of client `client` of `clients`.
    pub fn new(seed: u64, round: u64, protocol: Protocol, client: usize, clients: usize) -> Self {
        let mut dice = Dice(seed);
        for part in [round, protocol as u64, client as u64] {
            dice = Dice(dice.next() ^ part);
        }
        let fitting = Ending::ALL.into_iter().filter(|ending| ending.fits(protocol));
        let due = fitting.skip(client).step_by(clients).collect();
        Self { dice, protocol, due }
    }

    pub fn next(&mut self) -> Act {
        let dice = &mut self.dice;
        let ending = self.due.pop().unwrap_or_else(|| {
            // Half of them are as most requests are.
            let fitting = Ending::ALL
                .into_iter()
                .filter(|ending| ending.fits(self.protocol));
            let fitting: Vec<_> = fitting.collect();
            match dice.below(4) {
                0 => Ending::Normal,
                1 if self.protocol == Protocol::Http1 => Ending::Pipelined,
                _ => *dice.pick(&fitting),
            }
        });
        let mut dice = Dice(dice.next());
        Act {
            ending,
            // What is excluded by a marker is counted when a server drops it.
            to_passing: dice.one_in(6) && ending != Ending::Excluded,
            asks: asks(ending, &mut dice),
            dice,
        }
    }

    /// A number that differs where the plans of two seeds do.
    pub fn fingerprint(seed: u64) -> u64 {
        let mut plan = Self::new(seed, 0, Protocol::Http1, 0, 1);
        let acts = (0..1_000).map(|_| format!("{:?}", plan.next()));
        acts.flat_map(String::into_bytes).fold(0, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
    }
}

fn asks(ending: Ending, dice: &mut Dice) -> Vec<Ask> {
    let get = |tail: &str, outcome| Ask::get(ending, tail, outcome);
    let one = match ending {
        Ending::Normal | Ending::HalfClose | Ending::SlowWriter => dice.between(1, 12),
        Ending::Pipelined => dice.between(2, 100),
        Ending::StreamReset | Ending::ConnectionLost => dice.between(1, 10),
        _ => dice.between(1, 3),
    };
    let number = if ending == Ending::HalfClose { 1 } else { one };
    let ask = |dice: &mut Dice| match ending {
        Ending::HandlerError => {
            let status = *dice.pick(ending.statuses());
            get(&format!("error/{status}"), Outcome::Answered(status))
        }
        Ending::MiddlewareError => get("ok", Outcome::Answered(401)),
        Ending::HandlerPanic => get("panic", Outcome::Nothing),
        Ending::MiddlewarePanic => {
            let tail = *dice.pick(&["ok?when=before", "ok?when=after"]);
            get(tail, Outcome::Nothing)
        }
        Ending::BodyPanic => get("body_panic", Outcome::Cut(200)),
        Ending::Bomb => match dice.below(4) {
            0 => get("panic", Outcome::Nothing),
            1 => get("body_panic", Outcome::Cut(200)),
            2 => get("ok?when=before", Outcome::Nothing),
            _ => get("ok?when=after", Outcome::Nothing),
        },
        Ending::Dropped => get("slow?ms=2000", Outcome::Answered(504)),
        Ending::BrokenBody => get("body_error", Outcome::Cut(200)),
        Ending::WebSocket => get("socket", Outcome::Answered(101)),
        Ending::Events => get("events", Outcome::Cut(200)),
        Ending::SlowReader => get("large", Outcome::Answered(200)),
        Ending::Encoded => {
            let odd = [
                "%22%0A%7D",
                "%E2%82%AC%F0%9F%A6%80",
                "%FF%FE",
                "%00",
                "%25zz",
                "a%2Fb",
                "%5C%22",
            ];
            let random = format!("%{:02X}{}", dice.below(256), dice.below(100));
            let id = if dice.one_in(2) {
                dice.pick(&odd)
            } else {
                random.as_str()
            };
            get(&format!("item/{id}"), Outcome::Answered(200))
        }
        Ending::LongPath => {
            let id = "long".repeat(2_048 - usize::try_from(dice.below(40)).unwrap_or_default());
            get(&format!("item/{id}"), Outcome::Answered(200))
        }
        Ending::InventedPath => Ask {
            path: format!("/nowhere/{}", dice.word()),
            ..get("", Outcome::Answered(404))
        },
        Ending::InventedMethod => Ask {
            method: format!("X{}", dice.word().to_uppercase()),
            ..get("ok", Outcome::Answered(405))
        },
        Ending::Excluded => {
            let tail = *dice.pick(&["ok", "slow?ms=3", "item/1"]);
            get(tail, Outcome::Answered(200))
        }
        Ending::CutUpload => Ask {
            method: "POST".into(),
            body: Some(dice.bytes(4_000)),
            ..get("upload", Outcome::Answered(200))
        },
        _ => ordinary(ending, dice),
    };
    let mut asks: Vec<_> = (0..number).map(|_| ask(dice)).collect();
    for ask in &mut asks {
        adorn(ask, dice);
    }
    asks
}

/// A request as most are.
fn ordinary(ending: Ending, dice: &mut Dice) -> Ask {
    let ok = Outcome::Answered(200);
    let mut ask = match dice.below(10) {
        0..4 => Ask::get(ending, "ok", ok),
        4 | 5 => Ask::get(ending, &format!("item/{}", dice.below(1_000_000)), ok),
        6 => Ask::get(ending, &format!("slow?ms={}", dice.between(1, 30)), ok),
        7 => {
            let tail = format!("stream?chunks={}&ms={}", dice.between(1, 8), dice.below(4));
            Ask::get(ending, &tail, ok)
        }
        8 => {
            let mut ask = Ask::get(ending, "upload", ok);
            ask.method = "POST".into();
            let size = dice.below(20_000);
            ask.body = Some(dice.bytes(size));
            ask
        }
        _ if dice.one_in(6) => Ask::get(ending, "large", ok),
        _ => Ask::get(ending, "item/7", ok),
    };
    // In a pipeline, actix-http 3.20 answers HEAD by what the last request in it is, so that no client could go on.
    if ask.method == "GET" && ending != Ending::Pipelined && dice.one_in(10) {
        ask.method = "HEAD".into();
    }
    ask
}

/// Adds headers that some option looks at.
fn adorn(ask: &mut Ask, dice: &mut Dice) {
    match ask.ending {
        Ending::Normal => {
            ask.headers.push(("x-tenant", dice.pick(&["a", "b"]).to_string()));
            if dice.one_in(3) {
                let trace = format!("00-{:032x}-{:016x}-01", dice.next(), dice.next());
                ask.headers.push(("traceparent", trace));
            }
        }
        Ending::InventedLabel => {
            let tenant = if dice.one_in(4) {
                "unreadable".into()
            } else {
                dice.word()
            };
            ask.headers.push(("x-tenant", tenant));
            ask.headers.push(("traceparent", dice.word()));
        }
        Ending::InventedHost => ask.headers.push(("host", format!("{}.example", dice.word()))),
        _ => {}
    }
}
