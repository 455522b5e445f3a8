//! One request in progress: its worker writes it without a lock, and a scrape reads it again if it changed
//! meanwhile.

#[cfg(not(hr_loom))]
use std::sync::atomic::{AtomicU64, fence};
use std::{
    array,
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed, Release},
    },
    time::Instant,
};

use actix_web::http::uri::{PathAndQuery, Uri};
#[cfg(hr_loom)]
use loom::sync::atomic::{AtomicU64, fence};
#[cfg(not(hr_loom))]
use parking_lot::{Mutex, MutexGuard};

#[cfg(hr_loom)]
use crate::orderings::{Mutex, MutexGuard};
use crate::{method::MethodLabel, route::labelling::Verdict};

/// How many words of eight bytes a place has for a path; a longer path is among its details.
const WORDS: usize = if cfg!(hr_loom) { 3 } else { 12 };

/// A place for one request after the other.
///
/// A sequence lock, whose one writer is the worker: `turn` is odd while a request is being written, and another for each
/// request, so what was read between two equal even turns is of one request.
#[derive(Debug)]
pub(crate) struct Place {
    /// Identifies it in the table.
    pub(super) number: u64,
    turn: AtomicU64,
    /// 0 while there is no request; else the length of its path and, in the lower half, one more than the number of its
    /// method.
    request: AtomicU64,
    /// The first eight bytes of the path, the last eight, and what is between them; a shorter path alone in the first.
    path: [AtomicU64; WORDS],
    details: Mutex<Details>,
}

/// The details that only some requests have.
#[derive(Debug, Default)]
struct Details {
    /// The turn of the request that these are of.
    turn: u64,
    /// With its query, because a clone of both allocates nothing.
    long_path: Option<PathAndQuery>,
    /// If it is needed.
    arrived: Option<Instant>,
    /// From the response, or from a scrape that looked before.
    verdict: Option<Verdict>,
}

/// The route of a request in progress, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) enum RouteOf {
    /// Nothing yet: the path as it arrived.
    Unknown(PathAndQuery),
    /// From the response, or from a scrape that looked before.
    Known(Verdict),
}

/// A request in progress when its place was read.
pub(super) struct Seen {
    place: Arc<Place>,
    turn: u64,
    pub(super) method: &'static str,
    pub(super) arrived: Option<Instant>,
    pub(super) route: RouteOf,
}

impl Place {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            turn: AtomicU64::new(0),
            request: AtomicU64::new(0),
            path: array::from_fn(|_| AtomicU64::new(0)),
            details: Mutex::default(),
        }
    }

    /// Writes a request that has arrived.
    #[inline]
    pub(crate) fn arrive(&self, method: &'static MethodLabel, uri: &Uri) {
        let path = uri.path();
        let turn = self.turn.load(Relaxed);
        self.turn.store(turn.wrapping_add(1), Relaxed);
        fence(Release);
        self.write_path(path, uri, turn.wrapping_add(2));
        let request = (path.len() as u64) << 32 | (u64::from(method.number) + 1);
        self.request.store(request, Relaxed);
        self.turn.store(turn.wrapping_add(2), Release);
    }

    #[inline]
    fn write_path(&self, path: &str, uri: &Uri, turn: u64) {
        let bytes = path.as_bytes();
        let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
            return self.path[0].store(short(bytes), Relaxed);
        };
        self.path[0].store(u64::from_le_bytes(*first), Relaxed);
        self.path[1].store(u64::from_le_bytes(*last), Relaxed);
        if bytes.len() > 16 {
            self.write_middle(path, uri, turn);
        }
    }

    /// Writes the words between the first eight bytes and the last eight, which overlap them.
    #[inline(never)]
    fn write_middle(&self, path: &str, uri: &Uri, turn: u64) {
        if path.len() > 8 * WORDS {
            return self.write_long(uri, turn);
        }
        let mut bytes = &path.as_bytes()[8..];
        // As many steps as there are words, so that the compiler writes them out.
        for word in &self.path[2..] {
            let Some((eight, rest)) = bytes.split_first_chunk() else {
                return;
            };
            word.store(u64::from_le_bytes(*eight), Relaxed);
            bytes = rest;
        }
    }

    #[cold]
    fn write_long(&self, uri: &Uri, turn: u64) {
        *self.details.lock() = Details {
            turn,
            long_path: uri.path_and_query().cloned(),
            ..Details::default()
        };
    }

    /// Whether the request has this path. Called by its worker.
    #[inline]
    pub(crate) fn has_path(&self, path: &str) -> bool {
        let bytes = path.as_bytes();
        if self.request.load(Relaxed) >> 32 != bytes.len() as u64 {
            return false;
        }
        let word = |index: usize| self.path[index].load(Relaxed);
        let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
            return word(0) == short(bytes);
        };
        word(0) == u64::from_le_bytes(*first)
            && word(1) == u64::from_le_bytes(*last)
            && (bytes.len() <= 16 || self.has_middle(path))
    }

    #[inline(never)]
    fn has_middle(&self, path: &str) -> bool {
        if path.len() > 8 * WORDS {
            let details = self.details.lock();
            return details.long_path.as_ref().map(PathAndQuery::path) == Some(path);
        }
        let mut bytes = &path.as_bytes()[8..];
        // Written out as well.
        for word in &self.path[2..] {
            let Some((eight, rest)) = bytes.split_first_chunk() else {
                return true;
            };
            if word.load(Relaxed) != u64::from_le_bytes(*eight) {
                return false;
            }
            bytes = rest;
        }
        true
    }

    /// Writes the arrival of the request.
    #[cold]
    pub(super) fn set_arrival(&self, arrived: Instant) {
        self.details_of(self.turn.load(Relaxed)).arrived = Some(arrived);
    }

    /// Labels the request, and forgets a long path.
    pub(crate) fn label(&self, verdict: Verdict) {
        let mut details = self.details_of(self.turn.load(Relaxed));
        details.verdict = Some(verdict);
        details.long_path = None;
    }

    /// The details of the request of this turn, which has not ended.
    fn details_of(&self, turn: u64) -> MutexGuard<'_, Details> {
        let mut details = self.details.lock();
        if details.turn != turn {
            *details = Details {
                turn,
                ..Details::default()
            };
        }
        details
    }

    /// Removes the request.
    #[inline]
    pub(crate) fn leave(&self) {
        let request = self.request.load(Relaxed);
        self.request.store(0, Relaxed);
        if request >> 32 > 8 * WORDS as u64 {
            self.forget_long_path();
        }
    }

    #[cold]
    fn forget_long_path(&self) {
        self.details.lock().long_path = None;
    }

    /// The path of the request as it arrived; asked by its worker, before there is a response.
    #[cold]
    pub(crate) fn path(&self) -> Option<PathAndQuery> {
        match usize::try_from(self.request.load(Relaxed) >> 32).ok()? {
            length if length <= 8 * WORDS => {
                let words = self.path.each_ref().map(|word| word.load(Relaxed));
                path_of(&words, length)
            }
            _ => self.details.lock().long_path.clone(),
        }
    }

    /// The route of the request, as far as it is known.
    #[cold]
    pub(crate) fn route(self: &Arc<Self>) -> Option<RouteOf> {
        self.read().map(|seen| seen.route)
    }

    /// The request that is in this place, if there is one.
    pub(super) fn read(self: &Arc<Self>) -> Option<Seen> {
        self.read_while(|| {})
    }

    /// The same; `meanwhile` is called in the middle of it, where tests let the worker go on.
    fn read_while(self: &Arc<Self>, mut meanwhile: impl FnMut()) -> Option<Seen> {
        loop {
            let turn = self.turn.load(Acquire);
            let request = self.request.load(Relaxed);
            meanwhile();
            let words = self.path.each_ref().map(|word| word.load(Relaxed));
            fence(Acquire);
            if self.turn.load(Relaxed) != turn {
                continue;
            }
            // One that is being written has not arrived yet.
            if request == 0 || turn % 2 == 1 {
                return None;
            }
            let details = self.details.lock();
            let details = Some(&*details).filter(|details| details.turn == turn);
            let route = match details.and_then(|details| details.verdict.clone()) {
                Some(verdict) => RouteOf::Known(verdict),
                None => RouteOf::Unknown(match usize::try_from(request >> 32).ok()? {
                    length if length <= 8 * WORDS => path_of(&words, length)?,
                    // If it is gone, so is the request.
                    _ => details?.long_path.clone()?,
                }),
            };
            return Some(Seen {
                place: Arc::clone(self),
                turn,
                method: method_of(request),
                arrived: details.and_then(|details| details.arrived),
                route,
            });
        }
    }
}

impl Seen {
    /// Labels the request for later scrapes, unless it has ended or has a label.
    pub(super) fn note(&self, verdict: Verdict) {
        let mut details = self.place.details.lock();
        // The next request of this place changes the turn before it takes the lock.
        if self.place.turn.load(Relaxed) != self.turn {
            return;
        }
        if details.turn != self.turn {
            *details = Details {
                turn: self.turn,
                ..Details::default()
            };
        }
        details.verdict.get_or_insert(verdict);
    }
}

/// Fewer than eight bytes as one word.
#[inline(never)]
fn short(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn method_of(request: u64) -> &'static str {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let number = request as u32;
    MethodLabel::numbered(number.wrapping_sub(1)).text
}

/// The path of so many bytes in these words; `*` for CONNECT in authority form, which has none: no route matches this.
fn path_of(words: &[u64; WORDS], length: usize) -> Option<PathAndQuery> {
    let [first, last, further @ ..] = words.map(u64::to_le_bytes);
    let mut bytes = first.to_vec();
    bytes.extend(further.as_flattened());
    match length.checked_sub(8) {
        None if length == 0 => return Some(PathAndQuery::from_static("*")),
        None => bytes.truncate(length),
        Some(before_last) => {
            bytes.truncate(before_last);
            bytes.extend(last);
        }
    }
    PathAndQuery::from_maybe_shared(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::Relaxed},
        },
        thread,
        time::{Duration, Instant},
    };

    use actix_web::http::{Method, Uri};

    use super::{Place, RouteOf, Seen};
    use crate::{
        method::{MethodLabel, Methods},
        route::labelling::Verdict,
    };

    /// A path of so many bytes.
    fn path(length: usize) -> String {
        "/abcdefghijklmnopqrstuvwxyz0123456789"
            .chars()
            .cycle()
            .take(length)
            .collect()
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    fn path_of(seen: &Seen) -> &str {
        match &seen.route {
            RouteOf::Unknown(path) => path.path(),
            RouteOf::Known(verdict) => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn paths_of_every_length_are_read_as_they_were_written() {
        let place = Arc::new(Place::new(0));
        let methods = Methods::default();
        for length in 1..300 {
            let path = path(length);
            place.arrive(methods.label(&Method::PUT), &uri(&path));
            let seen = place.read().unwrap();
            assert_eq!((seen.method, path_of(&seen)), ("PUT", &*path));
            assert_eq!(place.path().unwrap(), *path);
            assert!(place.has_path(&path));
            for at in 0..length {
                let mut other = path.clone();
                other.replace_range(at..=at, "_");
                assert!(!place.has_path(&other), "{other}");
            }
            assert!(!place.has_path(&path[1..]));
            place.leave();
            assert!(place.read().is_none());
            assert!(place.details.lock().long_path.is_none());
        }
    }

    #[test]
    fn a_request_without_a_path_has_one_that_no_route_matches() {
        let place = Arc::new(Place::new(0));
        place.arrive(
            Methods::default().label(&Method::CONNECT),
            &uri("example.org:443"),
        );
        assert_eq!(path_of(&place.read().unwrap()), "*");
    }

    #[test]
    fn a_label_is_noted_for_its_own_request_alone() {
        let place = Arc::new(Place::new(0));
        let get = Methods::default().label(&Method::GET);
        let verdict = |label: &str| Verdict::Label(label.into());
        for length in [10, 200] {
            place.arrive(get, &uri(&path(length)));
            let before = place.read().unwrap();
            place.leave();
            place.arrive(get, &uri(&path(length)));
            before.note(verdict("of the one before"));
            let seen = place.read().unwrap();
            assert_eq!(path_of(&seen), path(length));
            seen.note(verdict("first"));
            seen.note(verdict("second"));
            let RouteOf::Known(known) = place.read().unwrap().route else {
                panic!("it was noted");
            };
            assert_eq!(known, verdict("first"));
            place.leave();
        }
    }

    #[test]
    fn an_arrival_is_that_of_one_request() {
        let place = Arc::new(Place::new(0));
        let get = Methods::default().label(&Method::GET);
        let arrived = Instant::now();
        place.arrive(get, &uri("/a"));
        place.set_arrival(arrived);
        assert_eq!(place.read().unwrap().arrived, Some(arrived));
        place.leave();
        place.arrive(get, &uri("/a"));
        assert_eq!(place.read().unwrap().arrived, None);
    }

    #[test]
    fn a_request_that_follows_another_while_that_is_read_is_read_instead() {
        let place = Arc::new(Place::new(0));
        for before in [3, 8, 16, 17, 96, 97] {
            for after in [3, 8, 16, 17, 96, 97] {
                // They differ in every byte that both have.
                let mut followers = ["/b", "/c"]
                    .map(|start| start.repeat(150)[..after].to_owned())
                    .into_iter();
                place.arrive(MethodLabel::numbered(0), &uri(&"/a".repeat(150)[..before]));
                let seen = place.read_while(|| {
                    if let Some(path) = followers.next() {
                        place.arrive(MethodLabel::numbered(1), &uri(&path));
                    }
                });
                let seen = seen.unwrap();
                assert_eq!(
                    (seen.method, path_of(&seen)),
                    ("HEAD", &"/c".repeat(150)[..after])
                );
            }
        }
    }

    #[test]
    fn a_request_that_is_being_written_has_not_arrived() {
        let place = Arc::new(Place::new(0));
        place.arrive(MethodLabel::numbered(0), &uri("/a"));
        place.turn.fetch_add(1, Relaxed);
        assert!(place.read().is_none());
    }

    #[test]
    fn nobody_reads_halves_of_two_requests() {
        let place = Arc::new(Place::new(0));
        // Letter, length and method belong together.
        let requests: Vec<_> = ('a'..='z')
            .zip([3, 8, 9, 16, 17, 24, 40, 95, 96, 97, 150].iter().cycle())
            .zip((0..11).cycle())
            .map(|((letter, &length), method)| {
                let path = format!("/{}", letter.to_string().repeat(length - 1));
                (uri(&path), MethodLabel::numbered(method))
            })
            .collect();
        let known: Vec<_> = requests
            .iter()
            .map(|(uri, method)| (uri.path().to_owned(), method.text))
            .collect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut written = 0;
                for (turn, (uri, method)) in requests.iter().cycle().enumerate() {
                    place.arrive(method, uri);
                    written = turn;
                    if turn % 8 == 0 {
                        place.leave();
                    }
                    if stop.load(Relaxed) {
                        break;
                    }
                }
                written
            });
            let begin = Instant::now();
            let mut read = 0_u64;
            let mut torn = None;
            // No panic in here: the worker goes on until it is told to stop.
            while torn.is_none() && (begin.elapsed() < Duration::from_secs(1) || read == 0) {
                if let Some(seen) = place.read() {
                    let seen = (path_of(&seen).to_owned(), seen.method);
                    torn = Some(seen).filter(|seen| !known.contains(seen));
                    read += 1;
                }
            }
            stop.store(true, Relaxed);
            assert!(worker.join().unwrap() > 0);
            assert_eq!(torn, None, "after {read} reads");
        });
    }
}

#[cfg(all(test, hr_loom))]
mod orderings {
    use std::sync::Arc;

    use actix_web::http::{Method, Uri};
    use loom::thread;

    use super::{Place, RouteOf};
    use crate::{
        method::{MethodLabel, Methods},
        orderings::model,
        route::labelling::Verdict,
    };

    fn request(method: &Method, path: &str) -> (&'static MethodLabel, Uri) {
        (Methods::default().label(method), path.parse().unwrap())
    }

    /// What a scrape can tell of a place: method and path.
    fn seen(place: &Arc<Place>) -> Option<(&'static str, String)> {
        let seen = place.read()?;
        match seen.route {
            RouteOf::Unknown(path) => Some((seen.method, path.to_string())),
            RouteOf::Known(verdict) => Some((seen.method, format!("{verdict:?}"))),
        }
    }

    /// Lets a scrape look while one of these requests follows the other.
    fn nobody_sees_another(first: (&Method, &'static str), second: (&Method, &'static str)) {
        let requests = [request(first.0, first.1), request(second.0, second.1)];
        let known = [first, second].map(|(method, path)| (method.to_string(), path.to_owned()));
        model(move || {
            let place = Arc::new(Place::new(0));
            let [(method, first), (other, second)] = requests.clone();
            place.arrive(method, &first);
            let worker = thread::spawn({
                let place = Arc::clone(&place);
                move || {
                    place.leave();
                    place.arrive(other, &second);
                }
            });
            if let Some((method, path)) = seen(&place) {
                assert!(known.contains(&(method.to_owned(), path)));
            }
            worker.join().unwrap();
            let (method, path) = seen(&place).unwrap();
            assert_eq!((method.to_owned(), path), known[1]);
        });
    }

    #[test]
    fn short_requests_are_seen_whole_or_not_at_all() {
        nobody_sees_another((&Method::GET, "/a"), (&Method::PUT, "/bcd"));
    }

    #[test]
    fn requests_of_two_words_are_seen_whole_or_not_at_all() {
        nobody_sees_another((&Method::GET, "/aaaaaaaaaaa"), (&Method::PUT, "/bbbbbbbb"));
    }

    #[test]
    fn long_requests_are_seen_whole_or_not_at_all() {
        let long = Box::leak(format!("/{}", "a".repeat(100)).into_boxed_str());
        nobody_sees_another((&Method::GET, long), (&Method::PUT, "/b"));
    }

    /// Notes the label that a scrape found, while the request ends and another comes.
    #[test]
    fn a_label_is_noted_for_the_request_that_it_was_found_for() {
        let requests = [request(&Method::GET, "/a"), request(&Method::GET, "/b")];
        model(move || {
            let place = Arc::new(Place::new(0));
            let [(method, first), (_, second)] = requests.clone();
            place.arrive(method, &first);
            let worker = thread::spawn({
                let place = Arc::clone(&place);
                move || {
                    place.leave();
                    place.arrive(method, &second);
                    seen(&place).unwrap().1
                }
            });
            if let Some(found) = place.read()
                && let RouteOf::Unknown(path) = &found.route
            {
                found.note(Verdict::Label(path.path().into()));
            }
            let label = worker.join().unwrap();
            assert!(label == "/b" || label == r#"Label("/b")"#, "{label}");
            let label = seen(&place).unwrap().1;
            assert!(label == "/b" || label == r#"Label("/b")"#, "{label}");
        });
    }
}
