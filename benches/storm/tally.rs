//! What the clients can prove, and whatever went wrong.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    ending::Ending,
    plan::{Act, Ask, Outcome},
};

/// What the clients of a storm share.
pub struct Ground {
    pub steady: SocketAddr,
    /// A server that stops soon, if there is one.
    pub passing: Mutex<Option<SocketAddr>>,
    pub is_over: AtomicBool,
    pub tally: Tally,
}

impl Ground {
    pub fn new(steady: SocketAddr) -> Self {
        Self {
            steady,
            passing: Mutex::default(),
            is_over: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Where an act takes place, and whether a server that stays is there.
    pub fn place_of(&self, act: &Act) -> (SocketAddr, bool) {
        let passing = *self.passing.lock().expect("no panic");
        match passing {
            Some(address) if act.to_passing => (address, false),
            _ => (self.steady, true),
        }
    }
}

/// Bounds on what may be counted.
#[derive(Default)]
pub struct Tally {
    bounds: Mutex<Bounds>,
    requests: AtomicU64,
    closed_pipelines: AtomicU64,
    problems: Mutex<BTreeMap<String, u64>>,
}

#[derive(Clone, Default)]
pub struct Bounds {
    /// Requests whose head was sent: no more are counted.
    pub sent: HashMap<Ending, u64>,
    /// Requests that must have been counted, by status.
    pub proven: BTreeMap<(Ending, u16), u64>,
    /// Requests with a whole response that are not to be counted.
    pub excluded: u64,
}

impl Bounds {
    pub fn proven_of(&self, ending: Ending) -> u64 {
        let of_ending = self.proven.iter().filter(|((of, _), _)| *of == ending);
        of_ending.map(|(_, number)| number).sum()
    }

    pub fn sent_of(&self, ending: Ending) -> u64 {
        self.sent.get(&ending).copied().unwrap_or_default()
    }
}

impl Tally {
    /// Notes a request whose head is, or may be, at the server.
    pub fn sent(&self, ending: Ending) {
        self.requests.fetch_add(1, Relaxed);
        *self
            .bounds
            .lock()
            .expect("no panic")
            .sent
            .entry(ending)
            .or_default() += 1;
    }

    /// Notes what was seen of a response.
    pub fn saw(&self, ask: &Ask, outcome: Outcome, steady: bool) {
        let mut bounds = self.bounds.lock().expect("no panic");
        match ask.counted_as(outcome) {
            Some(_) if outcome == Outcome::Nothing && !steady => {}
            Some(status) => *bounds.proven.entry((ask.ending, status)).or_default() += 1,
            None if ask.ending == Ending::Excluded => bounds.excluded += 1,
            None => {}
        }
    }

    /// Notes what a client saw that stayed to the end, which has to be what is expected if the server stays too.
    pub fn saw_the_end(&self, ask: &Ask, outcome: Outcome, steady: bool) {
        self.saw(ask, outcome, steady);
        if steady && outcome != ask.expected {
            let path = ask.path.chars().take(60).collect::<String>();
            let Ask {
                ending,
                method,
                expected,
                ..
            } = ask;
            self.problem(format!(
                "{ending:?}: {method} {path} ended as {outcome:?}, not {expected:?}"
            ));
        }
    }

    /// Notes a connection that was closed with requests in its pipeline.
    pub fn closed_a_pipeline(&self) {
        self.closed_pipelines.fetch_add(1, Relaxed);
    }

    pub fn closed_pipelines(&self) -> u64 {
        self.closed_pipelines.load(Relaxed)
    }

    pub fn problem(&self, what: String) {
        *self.problems.lock().expect("no panic").entry(what).or_default() += 1;
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds.lock().expect("no panic").clone()
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Each problem, and how often it came.
    pub fn problems(&self) -> BTreeMap<String, u64> {
        self.problems.lock().expect("no panic").clone()
    }
}
