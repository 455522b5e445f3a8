//! Method and route labels: bounded by the application, never by what a client sends.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    rc::{Rc, Weak},
    sync::Arc,
};

use actix_web::{
    HttpRequest,
    dev::{ResourceMap, ServiceRequest, Url},
    http::{Method, StatusCode, Uri, uri::PathAndQuery},
};
use foldhash::HashMap;

/// The label of a request that no route of the application matched.
pub(crate) const UNMATCHED: &str = "unmatched";

/// The label of a request's method: itself if RFC 9110 defines it, PATCH (RFC 5789) or QUERY, else `_OTHER`, as
/// the OpenTelemetry HTTP semantic conventions name what they do not know.
#[inline]
pub(crate) fn method_label(method: &Method) -> &'static str {
    if method == Method::GET {
        return "GET";
    }
    match method.as_str() {
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => "_OTHER",
    }
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
    /// A pattern with this label, as actix-web has it; `None` for `unmatched`.
    pub(crate) pattern: Option<Box<str>>,
}

/// The routes of one application as one worker sees them, and the labels made from them so far.
pub(crate) struct Routes {
    /// A shallow clone, for requests that end without a response: with them goes their `HttpRequest`.
    table: ResourceMap,
    /// Whether something is mounted at the root and so receives requests of which nothing was consumed. Not seen
    /// behind a scope without a prefix, where the look-up of actix-web ends; a 404 of such a mount is `unmatched`.
    mounted_at_root: bool,
    unmatched: Rc<RouteLabel>,
    labels: RefCell<Labels>,
}

struct Labels {
    /// By their ids; the first is `unmatched`.
    all: Vec<Rc<RouteLabel>>,
    /// The pattern of a route, as actix-web has it, to the index of its label.
    by_pattern: HashMap<Box<str>, usize>,
    /// The text of a static route to its labels.
    by_text: HashMap<Box<str>, Vec<Remembered>>,
}

/// The label of a static route, for requests that look alike. One text can lead to several routes: guards choose,
/// most often by the method, and a scope that knows nothing of its bare prefix answers 404.
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
    pub(crate) fn of(request: &HttpRequest) -> Rc<Self> {
        let table = request.resource_map();
        let unmatched = Rc::new(RouteLabel {
            text: UNMATCHED.into(),
            id: 0,
            pattern: None,
        });
        let routes = Rc::new(Self {
            table: table.clone(),
            mounted_at_root: table.match_pattern("").is_some_and(|pattern| pattern.is_empty()),
            labels: RefCell::new(Labels {
                all: vec![Rc::clone(&unmatched)],
                by_pattern: HashMap::default(),
                by_text: HashMap::default(),
            }),
            unmatched,
        });
        ROUTES_OF_THREAD.with_borrow_mut(|all| {
            all.retain(|routes| routes.strong_count() > 0);
            all.push(Rc::downgrade(&routes));
        });
        routes
    }

    /// The label of a request that has not been routed yet, or that ended before there was a response.
    pub(crate) fn label_as_arrived(&self, path: Option<&PathAndQuery>) -> Rc<RouteLabel> {
        let pattern = path.and_then(|path| match_pattern(&self.table, path));
        self.label_of_pattern(pattern.as_deref())
    }

    /// The label of a request that has been answered, by the route that served it.
    pub(crate) fn label_as_served(
        &self,
        request: &HttpRequest,
        method: &'static str,
        status: StatusCode,
    ) -> Rc<RouteLabel> {
        // A middleware that replaced the path and kept the position in it makes `unprocessed` cut within a
        // character, which panics.
        catch_unwind(AssertUnwindSafe(|| self.find_served(request, method, status)))
            .unwrap_or_else(|_| self.label_of_pattern(request.match_pattern().as_deref()))
    }

    fn find_served(&self, request: &HttpRequest, method: &'static str, status: StatusCode) -> Rc<RouteLabel> {
        let info = request.match_info();
        let (path, rest) = (info.as_str(), info.unprocessed());
        let not_found = status == StatusCode::NOT_FOUND;

        if info.is_empty() {
            // No route was entered: nothing to look up, at any size of the route table.
            if rest.len() == path.len() && not_found && !self.mounted_at_root {
                return self.label_of_pattern(None);
            }
            // A static route: its text is the application's own.
            if rest.is_empty() {
                return self.label_of_text(path, method, not_found, request);
            }
        }

        let table = request.resource_map();
        let mut pattern = request.match_pattern();
        if not_found && !rest.is_empty() && pattern.is_some() {
            // Either a mount such as actix-files, which found nothing below itself, or a route that refused this
            // request. Only a mount matches whatever is below what was consumed.
            let below = format!("{}/\0/\0/\0/\0", &path[..path.len() - rest.len()]);
            if pattern != table.match_pattern(&below) {
                pattern = None;
            }
        } else if pattern.is_none() && path != request.path() {
            // A middleware that answers before routing: actix-web looks for the path as it is encoded.
            pattern = table.match_pattern(path);
        }
        self.label_of_pattern(pattern.as_deref())
    }

    fn label_of_text(
        &self,
        text: &str,
        method: &'static str,
        not_found: bool,
        request: &HttpRequest,
    ) -> Rc<RouteLabel> {
        let labels = self.labels.borrow();
        let remembered = labels.by_text.get(text).and_then(|all| {
            all.iter()
                .find(|known| ptr::eq(known.method, method) && known.not_found == not_found)
        });
        if let Some(remembered) = remembered {
            return Rc::clone(&labels.all[remembered.label]);
        }
        drop(labels);

        let pattern = request.match_pattern();
        let label = self.label_of_pattern(pattern.as_deref());
        // Unless a middleware replaced the path after it was routed: then the text is that of another route.
        if pattern == self.table.match_pattern(text) {
            let mut labels = self.labels.borrow_mut();
            labels.by_text.entry(text.into()).or_default().push(Remembered {
                method,
                not_found,
                label: label.id,
            });
        }
        label
    }

    fn label_of_pattern(&self, pattern: Option<&str>) -> Rc<RouteLabel> {
        let Some(pattern) = pattern else {
            return Rc::clone(&self.unmatched);
        };
        let mut labels = self.labels.borrow_mut();
        if let Some(&id) = labels.by_pattern.get(pattern) {
            return Rc::clone(&labels.all[id]);
        }

        let text = text_of_pattern(pattern);
        let known = labels.all.iter().position(|label| *label.text == *text);
        let id = known.unwrap_or_else(|| {
            let id = labels.all.len();
            labels.all.push(Rc::new(RouteLabel {
                text: text.into(),
                id,
                pattern: Some(pattern.into()),
            }));
            id
        });
        labels.by_pattern.insert(pattern.into(), id);
        Rc::clone(&labels.all[id])
    }
}

/// The label of `path` in the route table `table`; `None` if no route matches.
pub(crate) fn label_in_table(table: &ResourceMap, path: &PathAndQuery) -> Option<String> {
    match_pattern(table, path).map(|pattern| text_of_pattern(&pattern))
}

/// The label of `path` in an application that runs on this thread; `None` if none knows it.
pub(crate) fn label_on_this_thread(path: &PathAndQuery) -> Option<String> {
    let label = ROUTES_OF_THREAD.try_with(|all| {
        let all = all.try_borrow().ok()?;
        all.iter()
            .filter_map(Weak::upgrade)
            .find_map(|routes| label_in_table(&routes.table, path))
    });
    label.ok().flatten()
}

/// The path of a request as the router sees it.
pub(crate) fn decoded(path: &PathAndQuery) -> Url {
    Url::new(Uri::from(path.clone()))
}

/// Walks the route table as the router does, by the decoded path, but without guards.
fn match_pattern(table: &ResourceMap, path: &PathAndQuery) -> Option<String> {
    table.match_pattern(decoded(path).path())
}

/// The label text of a route's pattern: the regular expressions of its parameters left out, `/` for a mount at
/// the root.
fn text_of_pattern(pattern: &str) -> String {
    if pattern.is_empty() {
        return "/".to_owned();
    }
    let mut text = String::with_capacity(pattern.len());
    let mut depth = 0_usize;
    let mut in_regex = false;
    for c in pattern.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 1 => in_regex = true,
            _ => {}
        }
        if depth == 0 {
            in_regex = false;
        }
        if !in_regex {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text_of_pattern;

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
