//! The bodies of scrapes that are being sent, and how much memory they may hold.

use std::{
    mem,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use actix_web::web::Bytes;

use crate::{
    error::Error,
    exposition::rendered::{FamilyName, Rendered},
};

/// How many bytes the bodies of one registry may hold before further scrapes are refused. A scrape that begins after
/// the previous one was rendered has a separate body, and a client may read it slowly.
const MOST_HELD: usize = 64 * 1024 * 1024;

/// How many bodies may exist whatever their size.
const ALWAYS_HELD: usize = 2;

/// From this size on, a body is freed on another thread than the worker's: for a large one that takes milliseconds.
const LARGE: usize = 4 * 1024 * 1024;

/// How much memory the bodies of one registry hold. Relaxed: a check that misses a body which begins or ends at that
/// moment wrongly admits or refuses one scrape.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bodies: AtomicUsize,
    bytes: AtomicUsize,
}

impl Held {
    /// Refuses one more body of about `size` bytes if that would be too much.
    pub(crate) fn check(&self, size: usize) -> Result<(), Error> {
        let (bodies, bytes) = (self.bodies.load(Relaxed), self.bytes.load(Relaxed));
        if bodies < ALWAYS_HELD || bytes.saturating_add(size) <= MOST_HELD {
            return Ok(());
        }
        let megabytes = bytes / (1024 * 1024);
        Err(Error::new(format!(
            "{bodies} earlier scrapes, {megabytes} MiB in all, are still being sent; scrape less often, or read them faster"
        )))
    }
}

/// The body of a scrape, shared by all responses that send it.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    families: Vec<(FamilyName, Range<usize>)>,
    held: Arc<Held>,
}

impl Body {
    pub(crate) fn new(rendered: Rendered<Bytes>, held: Arc<Held>) -> Self {
        held.bodies.fetch_add(1, Relaxed);
        held.bytes.fetch_add(rendered.body.len(), Relaxed);
        Self {
            bytes: rendered.body,
            families: rendered.families,
            held,
        }
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<Bytes> {
        vec![self.bytes.clone()]
    }

    /// The families whose name, or whose samples' name, is one of `names`; and the end of the scrape.
    pub(crate) fn select(&self, names: &[String]) -> Vec<Bytes> {
        let families = self.families.iter();
        let selected = families.filter(|(family, _)| names.iter().any(|name| family.is(name)));
        let mut pieces: Vec<_> = selected
            .map(|(_, range)| self.bytes.slice(range.clone()))
            .collect();
        let end = self.families.last().map_or(0, |(_, range)| range.end);
        pieces.push(self.bytes.slice(end..));
        pieces
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.held.bodies.fetch_sub(1, Relaxed);
        self.held.bytes.fetch_sub(self.bytes.len(), Relaxed);
        if self.bytes.len() >= LARGE {
            let bytes = mem::take(&mut self.bytes);
            let thread = thread::Builder::new().name("metrics".to_owned());
            // If the system cannot start a thread, they are dropped here.
            let _ = thread.spawn(move || drop(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        thread,
    };

    use actix_web::web::Bytes;

    use super::{Body, Held};
    use crate::exposition::rendered::Rendered;

    /// Tells where it is dropped.
    struct Owner(Vec<u8>, mpsc::Sender<thread::ThreadId>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.1.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn a_large_body_is_dropped_on_another_thread_and_a_small_one_here() {
        for (size, is_here) in [(4_194_304, false), (4_194_303, true)] {
            let (dropped, thread_of) = mpsc::channel();
            let rendered =
                Rendered::<()>::default().map(|()| Bytes::from_owner(Owner(vec![0; size], dropped)));
            drop(Body::new(rendered, Arc::new(Held::default())));
            assert_eq!(thread_of.recv().unwrap() == thread::current().id(), is_here);
        }
    }
}
