//! Method and route labels: bounded by the application, never by what a client sends.

use std::{
    cell::RefCell,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::{Rc, Weak},
    sync::Arc,
};

use actix_web::{
    HttpRequest,
    dev::{ResourceMap, ServiceRequest, Url},
    http::{Method, StatusCode, Uri, uri::PathAndQuery},
};

/// The label of a request that no route of the application matched.
const UNMATCHED: &str = "unmatched";

/// How many texts a worker remembers the label of.
///
/// The texts are the application's static routes, except where a route ends in an unnamed tail (`/files*`): such
/// a route consumes what the client sent without a capture. Beyond the bound the label is looked up each time.
const REMEMBERED_TEXTS: usize = 4096;

/// The label of a request's method: itself if RFC 9110 defines it, PATCH (RFC 5789) or QUERY, else `_OTHER`, as
/// the OpenTelemetry HTTP semantic conventions name what they do not know.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
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
        _ => "_OTHER",
    }
}

/// What a request asked for as it arrived; costs a reference count.
pub(crate) fn arrived_path(request: &ServiceRequest) -> PathAndQuery {
    let uri = request.uri();
    // CONNECT in authority form has none.
    uri.path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// The label of one route in one worker: its text, and a small number by which a monitor finds its own records.
#[derive(Clone, Debug)]
pub(crate) struct RouteLabel {
    pub(crate) text: Arc<str>,
    pub(crate) id: usize,
}

/// The routes of one application as one worker sees them, and the labels made from them so far.
pub(crate) struct Routes {
    /// A shallow clone, for requests that end without a response: with them goes their `HttpRequest`.
    table: ResourceMap,
    /// Whether something is mounted at the root and so receives requests of which nothing was consumed.
    mounted_at_root: bool,
    labels: RefCell<Labels>,
}

#[derive(Default)]
struct Labels {
    all: Vec<RouteLabel>,
    /// The pattern of a route, as actix-web has it, to its label.
    by_pattern: HashMap<Box<str>, usize>,
    /// The text of a static route to its label. Not always the same: a resource with several patterns has the
    /// first as its label.
    by_text: HashMap<Box<str>, usize>,
}

thread_local! {
    /// The routes of the applications that run on this thread, for an `encode` without a scraping request.
    static ROUTES_OF_THREAD: RefCell<Vec<Weak<Routes>>> = const { RefCell::new(Vec::new()) };
}

impl Routes {
    /// Learns the routes from the first request of a worker.
    pub(crate) fn of(request: &HttpRequest) -> Rc<Self> {
        let table = request.resource_map();
        let routes = Rc::new(Self {
            table: table.clone(),
            mounted_at_root: table.match_pattern("").is_some_and(|pattern| pattern.is_empty()),
            labels: RefCell::default(),
        });
        ROUTES_OF_THREAD.with_borrow_mut(|all| {
            all.retain(|routes| routes.strong_count() > 0);
            all.push(Rc::downgrade(&routes));
        });
        routes
    }

    /// The label of a request that has not been routed yet, or that ended before there was a response.
    pub(crate) fn label_as_arrived(&self, path: &PathAndQuery) -> RouteLabel {
        self.label_of_pattern(match_pattern(&self.table, path).as_deref())
    }

    /// The label of a request that has been answered, by the route that served it.
    pub(crate) fn label_as_served(&self, request: &HttpRequest, status: StatusCode) -> RouteLabel {
        // A middleware that replaced the path and kept the position in it makes `unprocessed` cut within a
        // character, which panics.
        catch_unwind(AssertUnwindSafe(|| self.find_served(request, status)))
            .unwrap_or_else(|_| self.label_of_pattern(None))
    }

    fn find_served(&self, request: &HttpRequest, status: StatusCode) -> RouteLabel {
        let info = request.match_info();
        let (path, rest) = (info.as_str(), info.unprocessed());
        let consumed = &path[..path.len() - rest.len()];

        if info.is_empty() {
            // No route was entered: nothing to look up, at any size of the route table.
            if consumed.is_empty() && status == StatusCode::NOT_FOUND && !self.mounted_at_root {
                return self.label_of_pattern(None);
            }
            // A static route: its text is the application's own.
            if rest.is_empty() {
                return self.label_of_text(path, request);
            }
        }

        let pattern = request.match_pattern();
        if status == StatusCode::NOT_FOUND
            && !rest.is_empty()
            && pattern.is_some()
            && pattern != request.resource_map().match_pattern(consumed)
        {
            // A route that refused this request, not a mount such as actix-files that found nothing below itself.
            return self.label_of_pattern(None);
        }
        self.label_of_pattern(pattern.as_deref())
    }

    fn label_of_text(&self, text: &str, request: &HttpRequest) -> RouteLabel {
        let labels = self.labels.borrow();
        if let Some(&id) = labels.by_text.get(text) {
            return labels.all[id].clone();
        }
        drop(labels);

        let label = self.label_of_pattern(request.match_pattern().as_deref());
        let mut labels = self.labels.borrow_mut();
        if labels.by_text.len() < REMEMBERED_TEXTS {
            labels.by_text.insert(text.into(), label.id);
        }
        label
    }

    fn label_of_pattern(&self, pattern: Option<&str>) -> RouteLabel {
        // No route has a pattern like this one: they are empty or begin with a slash.
        let pattern = pattern.unwrap_or(UNMATCHED);
        let mut labels = self.labels.borrow_mut();
        if let Some(&id) = labels.by_pattern.get(pattern) {
            return labels.all[id].clone();
        }

        let text = text_of_pattern(pattern);
        let known = labels.all.iter().position(|label| *label.text == *text);
        let id = known.unwrap_or(labels.all.len());
        if known.is_none() {
            labels.all.push(RouteLabel {
                text: text.into(),
                id,
            });
        }
        labels.by_pattern.insert(pattern.into(), id);
        labels.all[id].clone()
    }
}

/// The label of `path` in the route table `table`; `None` if no route matches.
pub(crate) fn label_in_table(table: &ResourceMap, path: &PathAndQuery) -> Option<String> {
    match_pattern(table, path).map(|pattern| text_of_pattern(&pattern))
}

/// The label of `path` in an application that runs on this thread; `unmatched` if none knows it.
pub(crate) fn label_on_this_thread(path: &PathAndQuery) -> String {
    ROUTES_OF_THREAD
        .try_with(|all| {
            let all = all.try_borrow().ok()?;
            all.iter()
                .filter_map(Weak::upgrade)
                .find_map(|routes| label_in_table(&routes.table, path))
        })
        .ok()
        .flatten()
        .unwrap_or_else(|| UNMATCHED.to_owned())
}

/// Walks the route table as the router does, by the decoded path, but without guards.
fn match_pattern(table: &ResourceMap, path: &PathAndQuery) -> Option<String> {
    table.match_pattern(Url::new(Uri::from(path.clone())).path())
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
