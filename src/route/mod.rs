//! Method and route labels: bounded by the application, never by what a client sends.

pub(crate) mod kept;

use crate::panics::catch;
use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    ptr,
    rc::{Rc, Weak},
    sync::Arc,
};

use actix_web::{
    HttpRequest,
    dev::{Path, ResourceDef, ResourceMap, ServiceRequest, Url},
    http::{StatusCode, Uri, uri::PathAndQuery},
};
use foldhash::HashMap;
use parking_lot::Mutex;

use crate::{
    limit::OTHER,
    route::kept::{Kept, KeptParams, Labelling, Shown},
};

/// The label of a request that no route of the application matched, where nobody chose another.
pub(crate) const UNMATCHED: &str = "unmatched";

/// Ends the text of what a scope or a mount consumed of a path of which it knows nothing more; in no route.
const BELOW: char = '\0';

/// How many texts a worker may remember and still add one for what is below a scope. The texts are the application's
/// own, unless a middleware replaces the path within the scope.
const MOST_TEXTS: usize = 16_384;

/// The label of a method that RFC 9110 defines, of PATCH (RFC 5789) or QUERY.
#[inline]
pub(crate) fn known_method(method: &str) -> Option<&'static str> {
    Some(match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => return None,
    })
}

/// What a request asked for as it arrived; costs a reference count.
#[inline]
pub(crate) fn arrived_path(request: &ServiceRequest) -> PathAndQuery {
    let uri = request.uri();
    // CONNECT in authority form has none; no route matches what stands for it.
    uri.path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("*"))
}

/// The label of one route in one worker.
#[derive(Debug)]
pub(crate) struct RouteLabel {
    pub(crate) text: Arc<str>,
    /// A small number, by which a monitor finds its own records.
    pub(crate) id: usize,
    /// A pattern with this label, or without the values in it, as actix-web has it; `None` for `unmatched` and what is
    /// beyond the cap.
    pub(crate) pattern: Option<Box<str>>,
    standing: Standing,
}

/// What becomes of the requests with a label.
#[derive(Debug)]
enum Standing {
    Recorded,
    /// No trace of them.
    LeftOut,
    /// They are recorded, under a label that many paths share.
    OverLimit,
    /// They get labels of their own, with values of their paths.
    Keeps(Arc<KeptParams>),
}

/// The routes of one application as one worker sees them, and the labels made from them so far.
pub(crate) struct Routes {
    /// A shallow clone, for requests that end without a response: with them goes their `HttpRequest`.
    table: ResourceMap,
    /// Whether something is mounted at the root and so receives requests of which nothing was consumed. Not seen
    /// behind a scope without a prefix, where the look-up of actix-web ends; a 404 of such a mount is `unmatched`.
    mounted_at_root: bool,
    labelling: Arc<Labelling>,
    unmatched: Rc<RouteLabel>,
    labels: RefCell<Labels>,
    /// The text that is looked up; kept for its memory.
    text: RefCell<String>,
}

struct Labels {
    /// By their ids; the first is `unmatched`.
    all: Vec<Rc<RouteLabel>>,
    /// The pattern of a route, as actix-web has it or as its label has it, and the texts of other labels, to the id of
    /// the label.
    by_pattern: HashMap<Box<str>, usize>,
    /// The texts of routes, and the requests for which they have led to a label. One text can lead to several routes:
    /// guards choose, most often by the method, and a scope that knows nothing of its bare prefix answers 404.
    by_text: HashMap<Box<str>, Vec<Remembered>>,
}

struct Remembered {
    method: &'static str,
    not_found: bool,
    label: usize,
}

thread_local! {
    /// The routes of the applications that run on this thread, for an `encode` without a scraping request.
    static ROUTES_OF_THREAD: RefCell<Vec<Weak<Routes>>> = const { RefCell::new(Vec::new()) };
}

impl Routes {
    /// Learns the routes from the first request of a worker.
    pub(crate) fn of(request: &HttpRequest, labelling: &Arc<Labelling>) -> Rc<Self> {
        let table = request.resource_map();
        let options = &labelling.options;
        let unmatched = Rc::new(RouteLabel {
            text: Arc::clone(options.unmatched()),
            id: 0,
            pattern: None,
            standing: if options.excludes_unmatched() {
                Standing::LeftOut
            } else {
                Standing::Recorded
            },
        });
        let routes = Rc::new(Self {
            table: table.clone(),
            mounted_at_root: table.match_pattern("").is_some_and(|pattern| pattern.is_empty()),
            labels: RefCell::new(Labels {
                all: vec![Rc::clone(&unmatched)],
                by_pattern: HashMap::default(),
                by_text: HashMap::default(),
            }),
            text: RefCell::default(),
            labelling: Arc::clone(labelling),
            unmatched,
        });
        ROUTES_OF_THREAD.with_borrow_mut(|all| {
            all.retain(|routes| routes.strong_count() > 0);
            all.push(Rc::downgrade(&routes));
        });
        routes
    }

    /// The label of a request that ended before there was a response; `None` if it is left out.
    #[cold]
    pub(crate) fn label_without_response(&self, path: Option<&PathAndQuery>) -> Option<Rc<RouteLabel>> {
        self.recorded(self.label_as_arrived(path))
    }

    /// The label of a request that has not been routed.
    pub(crate) fn label_as_arrived(&self, path: Option<&PathAndQuery>) -> Rc<RouteLabel> {
        let Some(path) = path.map(decoded) else {
            return Rc::clone(&self.unmatched);
        };
        let route = self.route_of_path(path.path());
        self.with_kept_values(route, path.path())
    }

    /// The text of that label, whatever the cap says of it, and without a claim on the cap.
    pub(crate) fn text_before_cap(&self, path: &PathAndQuery) -> Arc<str> {
        let path = decoded(path);
        let route = self.route_of_path(path.path());
        let kept = route.label_with_values(path.path());
        kept.map_or_else(|| Arc::clone(&route.text), Arc::from)
    }

    /// The label of a request that has been answered, by the route that served it; `None` if it is left out.
    pub(crate) fn label_as_served(
        &self,
        request: &HttpRequest,
        method: &'static str,
        status: StatusCode,
    ) -> Option<Rc<RouteLabel>> {
        // A middleware that replaced the path and kept the position in it makes `unprocessed` cut within a
        // character, which panics.
        let route = catch(|| self.find_served(request, method, status))
            .unwrap_or_else(|_| self.label_of_pattern(request.match_pattern().as_deref()));
        if matches!(route.standing, Standing::Recorded) {
            return Some(route);
        }
        self.recorded(self.with_kept_values(route, request.match_info().as_str()))
    }

    /// Counts the label of a request that is recorded if it is beyond the cap; `None` if it is left out.
    #[cold]
    fn recorded(&self, label: Rc<RouteLabel>) -> Option<Rc<RouteLabel>> {
        match label.standing {
            Standing::LeftOut => return None,
            Standing::OverLimit => self.labelling.limits.paths.count_exceeded(),
            Standing::Recorded | Standing::Keeps(_) => {}
        }
        Some(label)
    }

    fn find_served(&self, request: &HttpRequest, method: &'static str, status: StatusCode) -> Rc<RouteLabel> {
        let info = request.match_info();
        let (path, rest) = (info.as_str(), info.unprocessed());
        let not_found = status == StatusCode::NOT_FOUND;

        // No route was entered: nothing to look up, at any size of the route table.
        if not_found && rest.len() == path.len() && info.is_empty() && !self.mounted_at_root {
            return Rc::clone(&self.unmatched);
        }

        let by_pattern = || self.label_of_pattern(self.pattern_of(request, rest, not_found).as_deref());
        // What of the consumed path no parameter captured is the application's own text. With the names of the
        // parameters it nearly always is the label.
        let mut memory;
        let text = if rest.is_empty() && info.is_empty() {
            path
        } else if rest.is_empty() || not_found {
            memory = self.text.borrow_mut();
            if !name_captures(info, &path[..path.len() - rest.len()], &mut memory) {
                return by_pattern();
            }
            if !rest.is_empty() {
                memory.push(BELOW);
            }
            &memory
        } else {
            return by_pattern();
        };

        let mut labels = self.labels.borrow_mut();
        if let Some(label) = labels.remembered(text, method, not_found) {
            return label;
        }
        let pattern = self.pattern_of(request, rest, not_found);
        let label = labels.of_pattern(pattern.as_deref(), &self.labelling);
        // It is not the label for the further patterns of a resource that has several, for a tail, nor where a
        // middleware replaced the path after it was routed.
        // Nor is it enough where values are kept, which needs the pattern.
        if matches!(label.standing, Standing::Keeps(_)) {
            return label;
        }
        if *label.text == *text || (text.ends_with(BELOW) && labels.by_text.len() < MOST_TEXTS) {
            labels.remember(text, method, not_found, &label);
        }
        label
    }

    /// The pattern of the route that served the request.
    fn pattern_of(&self, request: &HttpRequest, rest: &str, not_found: bool) -> Option<String> {
        let path = request.match_info().as_str();
        // By resource ids; or by the path as it is encoded, where a middleware answered before routing.
        let Some(pattern) = request.match_pattern() else {
            let is_encoded = path != request.path();
            return is_encoded.then(|| self.table.match_pattern(path)).flatten();
        };
        if not_found && !rest.is_empty() {
            // Either a mount such as actix-files, which found nothing below itself, or a route that refused this
            // request. Only a mount matches whatever is below what was consumed, at any depth.
            let below = format!("{}/\0/\0/\0/\0", &path[..path.len() - rest.len()]);
            let is_mount = |below: &str| self.table.match_pattern(below).as_ref() == Some(&pattern);
            if !(is_mount(&below) && is_mount(&(below + "/\0"))) {
                return None;
            }
        }
        Some(pattern)
    }

    /// The route that a decoded path matches.
    fn route_of_path(&self, path: &str) -> Rc<RouteLabel> {
        self.label_of_pattern(self.table.match_pattern(path).as_deref())
    }

    fn label_of_pattern(&self, pattern: Option<&str>) -> Rc<RouteLabel> {
        self.labels.borrow_mut().of_pattern(pattern, &self.labelling)
    }

    /// The label of a request that `route` matches, with the values that are kept of its decoded path.
    #[cold]
    fn with_kept_values(&self, route: Rc<RouteLabel>, path: &str) -> Rc<RouteLabel> {
        let Some(text) = route.label_with_values(path) else {
            return route;
        };
        let mut labels = self.labels.borrow_mut();
        if let Some(&id) = labels.by_pattern.get(&*text) {
            return Rc::clone(&labels.all[id]);
        }
        let find = |path: &str| self.table.match_pattern(path);
        let (text, standing) = match self.labelling.admit(&text, find) {
            Kept::Route(pattern) => return labels.of_pattern(Some(&pattern), &self.labelling),
            Kept::LeftOut => (text.into(), Standing::LeftOut),
            Kept::Admitted(text) => (text, Standing::Recorded),
            Kept::OverLimit => return labels.over_limit(),
        };
        labels.add(text, route.pattern.clone(), standing)
    }
}

impl RouteLabel {
    /// The label of a path that matches this route, with the values that are kept of it; `None` if there are none.
    fn label_with_values(&self, path: &str) -> Option<String> {
        match &self.standing {
            Standing::Keeps(params) => params.label(path),
            _ => None,
        }
    }
}

impl Labels {
    fn remembered(&self, text: &str, method: &'static str, not_found: bool) -> Option<Rc<RouteLabel>> {
        let mut of_text = self.by_text.get(text)?.iter();
        let found = of_text.find(|known| ptr::eq(known.method, method) && known.not_found == not_found)?;
        Some(Rc::clone(&self.all[found.label]))
    }

    fn remember(&mut self, text: &str, method: &'static str, not_found: bool, label: &RouteLabel) {
        self.by_text.entry(text.into()).or_default().push(Remembered {
            method,
            not_found,
            label: label.id,
        });
    }

    fn of_pattern(&mut self, pattern: Option<&str>, labelling: &Labelling) -> Rc<RouteLabel> {
        let Some(pattern) = pattern else {
            return Rc::clone(&self.all[0]);
        };
        if let Some(&id) = self.by_pattern.get(pattern) {
            return Rc::clone(&self.all[id]);
        }

        let text = text_of_pattern(pattern);
        let kept = labelling.kept_params(pattern);
        let known = self.by_pattern.get(&*text).map(|&id| Rc::clone(&self.all[id]));
        let label = known.unwrap_or_else(|| {
            let standing = if labelling.options.excludes_route(&text) {
                Standing::LeftOut
            } else {
                kept.map_or(Standing::Recorded, Standing::Keeps)
            };
            if !matches!(standing, Standing::Recorded) {
                labelling.options.special_routes().learn(pattern);
            }
            self.add(text.into(), Some(pattern.into()), standing)
        });
        self.by_pattern.insert(pattern.into(), label.id);
        label
    }

    fn over_limit(&mut self) -> Rc<RouteLabel> {
        match self.by_pattern.get(OTHER) {
            Some(&id) => Rc::clone(&self.all[id]),
            None => self.add(OTHER.into(), None, Standing::OverLimit),
        }
    }

    fn add(&mut self, text: Arc<str>, pattern: Option<Box<str>>, standing: Standing) -> Rc<RouteLabel> {
        let id = self.all.len();
        self.by_pattern.insert((*text).into(), id);
        let label = Rc::new(RouteLabel {
            text,
            id,
            pattern,
            standing,
        });
        self.all.push(Rc::clone(&label));
        label
    }
}

/// Writes `path` with the names of its parameters in place of their values into `text`; `false` if a value is not part
/// of the path, which a middleware can bring about.
fn name_captures(info: &Path<Url>, path: &str, text: &mut String) -> bool {
    text.clear();
    let mut end = 0;
    for (name, value) in info.iter() {
        let start = value.as_ptr().addr().wrapping_sub(path.as_ptr().addr());
        let Some(before) = path.get(end..start) else {
            return false;
        };
        text.push_str(before);
        text.push('{');
        text.push_str(name);
        text.push('}');
        end = start + value.len();
    }
    path.get(end..).map(|after| text.push_str(after)).is_some()
}

/// The label of `path` in the route table `table`; `None` if no route matches.
pub(crate) fn label_in_table(table: &ResourceMap, path: &PathAndQuery) -> Option<String> {
    let pattern = table.match_pattern(decoded(path).path());
    pattern.map(|pattern| text_of_pattern(&pattern))
}

/// What a request for `path` is shown as by an application that runs on this thread; `None` if none knows it.
pub(crate) fn shown_on_this_thread(labelling: &Labelling, path: &PathAndQuery) -> Option<Shown> {
    let shown = ROUTES_OF_THREAD.try_with(|all| {
        let all = all.try_borrow().ok()?;
        all.iter()
            .filter_map(Weak::upgrade)
            .find_map(|routes| labelling.shown(path, |path| routes.table.match_pattern(path)))
    });
    shown.ok().flatten()
}

/// Routes that are known without their application.
#[derive(Debug, Default)]
pub(crate) struct KnownRoutes {
    matchers: Mutex<BTreeMap<KnownRoute, Matcher>>,
}

/// Label and pattern: in their order a static route comes before one with a parameter in its place.
type KnownRoute = (Box<str>, Box<str>);

/// Made when it is first needed; `None` if it cannot be made.
type Matcher = OnceCell<Option<ResourceDef>>;

impl Clone for KnownRoutes {
    fn clone(&self) -> Self {
        let routes = self.matchers.lock();
        let matchers = routes.keys().map(|route| (route.clone(), Matcher::new()));
        Self {
            matchers: Mutex::new(matchers.collect()),
        }
    }
}

impl KnownRoutes {
    pub(crate) fn learn(&self, pattern: &str) {
        let route = (text_of_pattern(pattern).into(), pattern.into());
        self.matchers.lock().entry(route).or_default();
    }

    /// The pattern of the first of all these routes that matches a decoded path.
    pub(crate) fn find<'a>(all: impl IntoIterator<Item = &'a Self>, path: &str) -> Option<String> {
        let found = all.into_iter().filter_map(|routes| {
            let matchers = routes.matchers.lock();
            let found = matchers.iter().find(|((_, pattern), matcher)| {
                let matcher = matcher.get_or_init(|| self::matcher(pattern, ResourceDef::new));
                matcher.as_ref().is_some_and(|matcher| matcher.is_match(path))
            });
            found.map(|(route, _)| route.clone())
        });
        found.min().map(|(_, pattern)| pattern.into())
    }
}

/// The path of a request as the router sees it.
pub(crate) fn decoded(path: &PathAndQuery) -> Url {
    Url::new(Uri::from(path.clone()))
}

/// Matches paths as the route with this pattern does, which `make` makes of it; `None` for more parameters than
/// actix-web allows in one, and for names within a regular expression that clash with ours.
///
/// The parameters of nested scopes may have the same name, which actix-web does not allow in one pattern, so they are
/// numbered; see [`captured_as`].
pub(crate) fn matcher(pattern: &str, make: fn(String) -> ResourceDef) -> Option<ResourceDef> {
    const MOST_PARAMETERS: usize = 16;

    let mut numbered = String::with_capacity(pattern.len());
    let mut parameters = 0;
    for (c, place) in places(pattern) {
        match place {
            Place::Name => {}
            Place::Bracket if c == '{' => {
                parameters += 1;
                numbered.push('{');
                numbered.push_str(&captured_as(parameters));
            }
            Place::Static | Place::Bracket | Place::Regex => numbered.push(c),
        }
    }
    if parameters > MOST_PARAMETERS {
        return None;
    }
    catch(|| make(numbered)).ok()
}

/// What a [`matcher`] calls the parameter with this number, counted from 1.
pub(crate) fn captured_as(number: usize) -> String {
    format!("p{number}")
}

/// The label text of a route's pattern: the regular expressions of its parameters left out, `/` for a mount at
/// the root.
pub(crate) fn text_of_pattern(pattern: &str) -> String {
    if pattern.is_empty() {
        return "/".to_owned();
    }
    let kept = places(pattern).filter(|(_, place)| *place != Place::Regex);
    kept.map(|(c, _)| c).collect()
}

/// What a character of a pattern belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Static,
    /// The outer brackets of a parameter.
    Bracket,
    Name,
    /// The regular expression of a parameter, with the colon before it.
    Regex,
}

pub(crate) fn places(pattern: &str) -> impl Iterator<Item = (char, Place)> {
    let mut depth = 0_usize;
    let mut in_regex = false;
    pattern.chars().map(move |c| {
        let outside = depth == 0;
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 1 => in_regex = true,
            _ => {}
        }
        let place = match (outside, depth) {
            (true, 0) => Place::Static,
            (true, _) | (_, 0) => {
                in_regex = false;
                Place::Bracket
            }
            _ if in_regex => Place::Regex,
            _ => Place::Name,
        };
        (c, place)
    })
}

#[cfg(test)]
mod tests {
    use actix_web::dev::ResourceDef;

    use super::text_of_pattern;

    fn matcher(pattern: &str) -> Option<ResourceDef> {
        super::matcher(pattern, ResourceDef::new)
    }

    #[test]
    fn a_matcher_is_made_of_any_pattern_that_nested_scopes_can_have() {
        let matches = |pattern: &str, path| matcher(pattern).is_some_and(|matcher| matcher.is_match(path));
        assert!(matches("/{id}/{id}", "/a/b"));
        assert!(!matches("/{id}/{id}", "/a"));
        assert!(matches(r"/n/{id:\d{2}}/x", "/n/12/x"));
        assert!(!matches(r"/n/{id:\d{2}}/x", "/n/1/x"));
        assert!(matches("/files/{tail}*", "/files/a/b"));
        assert!(matches("/about", "/about"));
        assert!(matcher(&"/{a}".repeat(16)).is_some());
        assert!(matcher(&"/{a}".repeat(17)).is_none());
    }

    #[test]
    fn the_regular_expressions_of_parameters_are_left_out() {
        assert_eq!(text_of_pattern(""), "/");
        assert_eq!(text_of_pattern("/a"), "/a");
        assert_eq!(text_of_pattern(r"/users/{id:\d{3}}/{name}"), "/users/{id}/{name}");
        assert_eq!(text_of_pattern("/files/{tail:.*}"), "/files/{tail}");
        assert_eq!(text_of_pattern("/files/{tail}*"), "/files/{tail}*");
        assert_eq!(text_of_pattern("/a:b/{id:[^:]+}:c"), "/a:b/{id}:c");
    }
}
