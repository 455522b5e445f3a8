//! From a request to its label `path`: bounded by the application, never by what a client sends.

mod debug_text;
mod kept;
pub(crate) mod labelling;
pub(crate) mod pattern;
mod quick;
pub(crate) mod rules;
mod shape;
mod table;

use std::{
    cell::{Cell, OnceCell, RefCell},
    mem,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use actix_web::{
    HttpRequest,
    dev::{Path, ServiceRequest, Url},
    http::{Method, StatusCode, Uri, header, uri::PathAndQuery},
};
use foldhash::{HashMap, HashSet};

use crate::{
    limit::OTHER,
    panics::catch,
    route::{
        labelling::{Labelling, Values, Verdict, decoded, normalized},
        pattern::Pattern,
        shape::{Consumed, Owner, Shape},
    },
};

/// How many paths a worker remembers the label of, for requests that were not routed.
const MOST_PATHS: usize = 256;

/// How long they are, in bytes.
const LONGEST_PATH: usize = 256;

/// The label of one route in one worker.
#[derive(Debug)]
pub(crate) struct RouteLabel {
    pub(crate) text: Arc<str>,
    /// A small number, by which a monitor finds its own records.
    pub(crate) id: usize,
    /// Whether a route matched: not for `unmatched`.
    pub(crate) has_route: bool,
    /// Whether there are values in it, of which a client can make up any number.
    pub(crate) has_values: bool,
    /// The route that has this label for the path which is the same text: one whose parameters are all kept.
    route_of_path: Cell<Option<usize>>,
}

#[cfg(test)]
impl RouteLabel {
    pub(crate) fn new(text: Arc<str>, id: usize) -> Self {
        Self {
            text,
            id,
            has_route: true,
            has_values: false,
            route_of_path: Cell::new(None),
        }
    }
}

/// The result of looking at a request that was answered.
pub(crate) enum Served {
    /// Its label; `None` if it is excluded.
    As(Option<Rc<RouteLabel>>),
    /// Nothing certain.
    Unclear,
}

/// A route, as a worker knows it.
struct OfRoute {
    /// Whether its label depends on the values of its parameters.
    keeps_values: bool,
    /// Its label without values; the inner `None` if it is excluded.
    label: OnceCell<Option<Rc<RouteLabel>>>,
}

/// The label of a request by its decoded path alone.
#[derive(Clone)]
struct OfPath {
    is_matched: bool,
    /// `None` if it is excluded.
    label: Option<Rc<RouteLabel>>,
}

/// The routes of one application as one worker sees them, and the labels made from them so far.
pub(crate) struct Routes {
    pub(crate) labelling: Arc<Labelling>,
    /// Whether nothing is mounted at the root. Such a mount would serve requests without consuming anything.
    root_is_free: bool,
    /// The marks of requested routes, by their indices; empty if they are not shown.
    requested: Vec<Arc<AtomicBool>>,
    by_index: Vec<OfRoute>,
    without_route: Option<Rc<RouteLabel>>,
    /// By their texts; the number of each is its id.
    labels: RefCell<HashMap<Arc<str>, Rc<RouteLabel>>>,
    /// By decoded paths, which no route with kept values matches.
    by_path: RefCell<HashMap<Box<str>, OfPath>>,
    /// The patterns of routes whose requests outlive their handlers. The one memory that a label depends on: it spares the
    /// application a panic, which its hook would see, for each such request.
    shared_requests: RefCell<HashSet<Box<str>>>,
    /// A label that is looked up; kept for its memory.
    text: RefCell<String>,
}

impl Routes {
    pub(crate) fn new(labelling: Arc<Labelling>, requested: Vec<Arc<AtomicBool>>) -> Self {
        let table = &labelling.table;
        let mut routes = Self {
            root_is_free: table.owners.owner_of(&Shape::default(), true) == Some(Owner::NoRoute),
            by_index: (0..table.routes().len())
                .map(|route| OfRoute {
                    keeps_values: labelling.keeps_values_of(route),
                    label: OnceCell::new(),
                })
                .collect(),
            requested,
            without_route: None,
            labels: RefCell::default(),
            by_path: RefCell::default(),
            shared_requests: RefCell::default(),
            text: RefCell::default(),
            labelling,
        };
        // The first, so that its id is 0.
        routes.intern(Arc::clone(routes.labelling.rules.unmatched()));
        routes.without_route = routes.label(routes.labelling.verdict_without_route());
        routes
    }

    /// The label of a request that has been answered, by the route that served it; `path` is its decoded path.
    ///
    /// The consumed part of the path, and the names of its parameters, identify the route, unless routes or scopes
    /// with different labels share them. Not valid if a middleware replaced the path. No earlier request can
    /// change the answer.
    #[inline]
    pub(crate) fn served(&self, request: &HttpRequest, path: &str, status: StatusCode) -> Served {
        let consumed = Consumed::of_path(request.match_info(), path);
        // No route was entered: nothing to look up, at any size of the route table.
        if consumed.is_empty() && self.root_is_free {
            return Served::As(self.served_by_none(request, status));
        }
        match self.labelling.table.owners.owner(&consumed) {
            Some(Owner::Route(route)) => Served::As(self.served_by(request, route, status)),
            Some(Owner::NoRoute) => Served::As(self.served_by_none(request, status)),
            Some(Owner::Routes | Owner::Shared) | None => Served::Unclear,
        }
    }

    /// The label of a request that has been answered, by the route that actix-web noted, if a look can tell.
    ///
    /// `match_pattern` gives the route that was reached. If none was, it looks for one that matches the URI, and finds
    /// one that a guard refused.
    #[cold]
    pub(crate) fn served_as_noted(&self, request: &HttpRequest, status: StatusCode) -> Served {
        let Some(pattern) = request.match_pattern() else {
            return Served::As(self.served_by_none(request, status));
        };
        let table = &self.labelling.table;
        let owner = catch(|| table.owners.owner(&Consumed::of(request.match_info())));
        let is_reached = match owner {
            Ok(Some(Owner::Routes)) => true,
            Ok(Some(Owner::Route(route))) => table.route_of_pattern(&pattern) == Some(route),
            _ => false,
        };
        if is_reached {
            return Served::As(self.served_by_pattern(request, &pattern, status));
        }
        if cfg!(panic = "abort") || self.shared_requests.borrow().contains(&*pattern) {
            return Served::As(self.served_probably(request, &pattern, status));
        }
        Served::Unclear
    }

    /// The same, if a look cannot tell: with a URI that no route matches, `match_pattern` gives what was reached alone.
    #[cold]
    pub(crate) fn served_for_certain(
        &self,
        request: HttpRequest,
        status: StatusCode,
    ) -> (HttpRequest, Option<Rc<RouteLabel>>) {
        let mut request = ServiceRequest::from_request(request);
        let noted = catch(|| {
            let uri = mem::replace(&mut request.head_mut().uri, Uri::from_static("*"));
            let noted = request.match_pattern();
            request.head_mut().uri = uri;
            noted
        });
        let (request, _) = request.into_parts();
        let label = match (noted, request.match_pattern()) {
            (Ok(Some(pattern)), _) => self.served_by_pattern(&request, &pattern, status),
            (Ok(None), _) | (Err(_), None) => self.served_by_none(&request, status),
            // The application holds a clone of the request, as it will of others: that panicked, and is not to be
            // repeated for each.
            (Err(_), Some(pattern)) => {
                let label = self.served_probably(&request, &pattern, status);
                self.shared_requests.borrow_mut().insert(pattern.into());
                label
            }
        };
        (request, label)
    }

    /// The label of a request that the route with this pattern served, unless a guard refused it: then it was not found,
    /// or the route does not consume what was consumed.
    fn served_probably(
        &self,
        request: &HttpRequest,
        pattern: &str,
        status: StatusCode,
    ) -> Option<Rc<RouteLabel>> {
        let shape = Shape::of(&Pattern::parse(pattern));
        let fits = catch(|| shape.fits(&Consumed::of(request.match_info())));
        if status == StatusCode::NOT_FOUND || !fits.unwrap_or(false) {
            return self.served_by_none(request, status);
        }
        self.served_by_pattern(request, pattern, status)
    }

    fn served_by_pattern(
        &self,
        request: &HttpRequest,
        pattern: &str,
        status: StatusCode,
    ) -> Option<Rc<RouteLabel>> {
        match self.labelling.table.route_of_pattern(pattern) {
            Some(route) => self.served_by(request, route, status),
            None => self.label(self.labelling.verdict_of_pattern(pattern)),
        }
    }

    #[inline]
    fn served_by(&self, request: &HttpRequest, route: usize, status: StatusCode) -> Option<Rc<RouteLabel>> {
        // What a handler does not find is a value that a client made up.
        let of_route = &self.by_index[route];
        if !of_route.keeps_values || status == StatusCode::NOT_FOUND {
            let label = || {
                self.note_requested(route);
                self.label(self.labelling.verdict_of_route(route))
            };
            return of_route.label.get_or_init(label).clone();
        }
        self.label_with_values(route, request.match_info())
    }

    #[inline(never)]
    fn label_with_values(&self, route: usize, info: &Path<Url>) -> Option<Rc<RouteLabel>> {
        let path = info.as_str();
        // Usually the values need not be looked at again.
        if let Some(known) = self.labels.borrow().get(path)
            && known.route_of_path.get() == Some(route)
        {
            return Some(Rc::clone(known));
        }
        self.note_requested(route);
        let mut text = self.text.borrow_mut();
        if !self.labelling.write_kept(route, info, &mut text) {
            return self.label(self.labelling.verdict_of_route(route));
        }
        // A label of this worker is not excluded, and stays admitted.
        let known = self.labels.borrow().get(&**text).cloned();
        let label = known.or_else(|| self.label(self.labelling.verdict_of_kept(&text, Values::Admit)))?;
        if *label.text == *path {
            label.route_of_path.set(Some(route));
        }
        Some(label)
    }

    /// The label of a request that no route served: a default service did, or a middleware answered before it was routed.
    /// These look the same, so the status decides.
    #[inline]
    fn served_by_none(&self, request: &HttpRequest, status: StatusCode) -> Option<Rc<RouteLabel>> {
        if !is_of_gatekeeper(request, status) {
            return self.without_route.clone();
        }
        self.label_of_path(request.match_info().as_str(), Values::Drop)
            .label
    }

    /// The label of a request that ended before there was a response, with the status that it has then; `None` if it is
    /// excluded.
    #[cold]
    pub(crate) fn without_response(
        &self,
        path: &PathAndQuery,
        status: Option<StatusCode>,
    ) -> Option<Rc<RouteLabel>> {
        let values = if status.is_some_and(is_refused) {
            Values::Drop
        } else {
            Values::Admit
        };
        let path = decoded(path);
        let of_path = self.label_of_path(path.path(), values);
        match normalized(path.path()) {
            Some(path) if !of_path.is_matched => self.label_of_path(&path, values).label,
            _ => of_path.label,
        }
    }

    /// The text of the label of a request that has not been routed.
    pub(crate) fn text_as_arrived(&self, path: &PathAndQuery, values: Values) -> Arc<str> {
        match self.labelling.verdict_as_arrived(path, values) {
            (_, Verdict::Label(text)) => text,
            (_, Verdict::OverLimit) => OTHER.into(),
            (Some(route), Verdict::Excluded) => Arc::clone(&self.labelling.table.route(route).label),
            (None, Verdict::Excluded) => Arc::clone(self.labelling.rules.unmatched()),
        }
    }

    /// The label of a request by its decoded path, for callers that ask for every arriving request; `None` if it is
    /// excluded. Values are kept if requests that were answered have had the same: clients can make up others.
    pub(crate) fn label_on_arrival(&self, path: &str) -> Option<Arc<str>> {
        let labelling = &self.labelling;
        let find = |path: &str| labelling.table.route_of_path(path);
        let Some(route) = find(path).or_else(|| find(&normalized(path)?)) else {
            return self.without_route.as_ref().map(|label| Arc::clone(&label.text));
        };
        if labelling.keeps_values_of(route) {
            let (_, verdict) = labelling.verdict_of_path(path, Values::Show);
            match verdict {
                Verdict::Label(label) if self.labels.borrow().contains_key(&label) => return Some(label),
                Verdict::Excluded => return None,
                Verdict::Label(_) | Verdict::OverLimit => {}
            }
        }
        match labelling.verdict_of_route(route) {
            Verdict::Label(label) => Some(label),
            Verdict::Excluded | Verdict::OverLimit => None,
        }
    }

    /// Whether requests to this path are excluded, as far as can be known before they are routed.
    pub(crate) fn excludes_as_arrived(&self, path: &PathAndQuery) -> bool {
        self.labelling.rules.excludes_any()
            && self.labelling.verdict_as_arrived(path, Values::Show).1 == Verdict::Excluded
    }

    #[cold]
    fn label_of_path(&self, path: &str, values: Values) -> OfPath {
        if let Some(known) = self.by_path.borrow().get(path) {
            return known.clone();
        }
        let (route, verdict) = self.labelling.verdict_of_path(path, values);
        if let Some(route) = route {
            self.note_requested(route);
        }
        let of_path = OfPath {
            is_matched: route.is_some(),
            label: self.label(verdict),
        };
        let keeps_values = route.is_some_and(|route| self.labelling.keeps_values_of(route));
        if path.len() <= LONGEST_PATH && !keeps_values {
            let mut by_path = self.by_path.borrow_mut();
            if by_path.len() >= MOST_PATHS {
                by_path.clear();
            }
            by_path.insert(path.into(), of_path.clone());
        }
        of_path
    }

    /// Marks a route as one that was asked for; called when its label is looked up, which is not for every request.
    #[cold]
    fn note_requested(&self, route: usize) {
        // Usually it is marked already, and other workers need not be disturbed.
        if let Some(mark) = self.requested.get(route).filter(|mark| !mark.load(Relaxed)) {
            mark.store(true, Relaxed);
        }
    }

    /// Marks the route of a request whose label a scrape has found, by its path as it arrived.
    #[cold]
    pub(crate) fn note_requested_by(&self, path: impl FnOnce() -> Option<PathAndQuery>) {
        if !self.requested.is_empty()
            && let Some(path) = path()
            && let (Some(route), _) = self.labelling.verdict_as_arrived(&path, Values::Show)
        {
            self.note_requested(route);
        }
    }

    /// The label of a request that is recorded; `None` if it is excluded.
    pub(crate) fn label(&self, verdict: Verdict) -> Option<Rc<RouteLabel>> {
        match verdict {
            Verdict::Label(text) => Some(self.intern(text)),
            Verdict::OverLimit => {
                self.labelling.limits.paths.count_exceeded();
                Some(self.intern(OTHER))
            }
            Verdict::Excluded => None,
        }
    }

    fn intern(&self, text: impl AsRef<str> + Into<Arc<str>>) -> Rc<RouteLabel> {
        let mut labels = self.labels.borrow_mut();
        if let Some(known) = labels.get(text.as_ref()) {
            return Rc::clone(known);
        }
        let Labelling {
            rules, table, limits, ..
        } = &*self.labelling;
        let shared = limits.labels.admit(text.as_ref(), usize::MAX);
        let text = shared.unwrap_or_else(|| text.into());
        let has_route = text != *rules.unmatched();
        let label = Rc::new(RouteLabel {
            id: labels.len(),
            has_route,
            has_values: has_route && &*text != OTHER && table.label(&text).is_none(),
            text: Arc::clone(&text),
            route_of_path: Cell::new(None),
        });
        labels.insert(text, Rc::clone(&label));
        label
    }
}

/// Whether a request that no route served was answered by a middleware before it was routed, and not by a default
/// service: with a redirect, by an authentication or a rate limit, or as a CORS preflight.
#[inline]
fn is_of_gatekeeper(request: &HttpRequest, status: StatusCode) -> bool {
    match status.as_u16() {
        301 | 302 | 303 | 307 | 308 => true,
        200..=299 => is_preflight(request),
        404 => false,
        _ => is_refused(status),
    }
}

/// Whether a request was not found or not let through, so that its values say nothing.
fn is_refused(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 404 | 407 | 429)
}

fn is_preflight(request: &HttpRequest) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a request asked for as it arrived; costs a reference count.
#[inline]
pub(crate) fn arrived_path(request: &ServiceRequest) -> PathAndQuery {
    let uri = request.uri();
    // CONNECT in authority form has none; no route matches this.
    uri.path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("*"))
}
