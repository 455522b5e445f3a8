//! The arguments of a monitor's hooks.

use std::{
    cell::{Cell, OnceCell, Ref},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest,
    body::BodySize,
    dev::{Extensions, ResponseHead, ServiceRequest},
    http::{StatusCode, header::HeaderMap, uri::PathAndQuery},
};

use crate::{
    in_flight::InFlightTable,
    limit::Limits,
    method::MethodLabel,
    monitor::long_lived::LongLivedTypes,
    route::{
        RouteLabel, Routes, arrived_path,
        labelling::{Values, decoded},
        pattern::Pattern,
    },
};

/// A request that has arrived and is not routed yet.
pub struct RequestStart<'a> {
    pub(crate) request: &'a ServiceRequest,
    pub(crate) method: &'static MethodLabel,
    /// `None` before it is measured.
    pub(crate) facts: Option<&'a Facts>,
    pub(crate) table: &'a Arc<InFlightTable>,
    pub(crate) routes: &'a Routes,
    pub(crate) route: OnceCell<Arc<str>>,
    /// How to treat a path with kept values that is not a label yet.
    pub(crate) values: Values,
}

impl RequestStart<'_> {
    /// Returns the request. Do not keep a clone of its [`HttpRequest`]: routing must be its only owner, and panics
    /// otherwise.
    #[must_use]
    pub fn request(&self) -> &ServiceRequest {
        self.request
    }

    /// Returns the label of the method: a method of RFC 9110, `PATCH`, `QUERY` or one of
    /// [`extra_methods`](crate::HrPrometheus::extra_methods); anything else is `_OTHER`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method.text
    }

    /// Returns the label of the route that matches the path, ignoring guards; `unmatched` if there is none.
    ///
    /// Walks the route table when it is first called. [`RequestEnd::route`] is exact and costs less. With
    /// [kept parameters](crate::HrPrometheus::keep_params) a path that is returned here counts towards the limit, except
    /// in a predicate of [`exclude`](crate::HrPrometheus::exclude).
    #[must_use]
    pub fn route(&self) -> &str {
        self.route.get_or_init(|| {
            let path = arrived_path(self.request);
            self.routes.text_as_arrived(&path, self.values)
        })
    }
}

impl RequestStart<'_> {
    /// The limits on labels in the registry that records the request.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        self.table.limits()
    }
}

impl fmt::Debug for RequestStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStart")
            .field("method", &self.method())
            .field("path", &self.request.path())
            .finish_non_exhaustive()
    }
}

/// The facts about one request, for all monitors.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) method: &'static MethodLabel,
    /// Whether the method is HEAD, whatever its label is.
    pub(crate) is_head: bool,
    pub(crate) arrived: Instant,
    /// The time to the head of the response, once a monitor has asked for it.
    to_head: Cell<Option<Duration>>,
    pub(crate) response_body_size: BodySize,
    pub(crate) response_body_bytes: u64,
    /// The status that was passed on, once there was one.
    pub(crate) status: Option<StatusCode>,
    /// The status of an error, in case that no response is made from it here.
    pub(crate) status_of_error: Option<StatusCode>,
}

impl Facts {
    /// The facts about a request that has arrived.
    #[inline]
    pub(crate) fn new(method: &'static MethodLabel, is_head: bool, arrived: Instant) -> Self {
        Self {
            method,
            is_head,
            arrived,
            to_head: Cell::new(None),
            response_body_size: BodySize::Stream,
            response_body_bytes: 0,
            status: None,
            status_of_error: None,
        }
    }
}

/// How long the polls of a request took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PollTimes {
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
}

/// A response whose head is ready, with its request. Neither outlives the hook.
pub struct ResponseStart<'a> {
    pub(crate) request: &'a HttpRequest,
    pub(crate) head: &'a ResponseHead,
    pub(crate) extensions: Ref<'a, Extensions>,
    pub(crate) long_lived_types: &'a LongLivedTypes,
    pub(crate) facts: &'a Facts,
    pub(crate) route: &'a RouteLabel,
}

impl ResponseStart<'_> {
    /// Returns the request, with whatever inner middleware and the handler put into its extensions.
    #[must_use]
    pub fn request(&self) -> &HttpRequest {
        self.request
    }

    /// Returns the label of the method, as [`RequestStart::method`] does.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.facts.method.text
    }

    /// Returns the label of the route that served the request; `unmatched` if there was none.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route.text
    }

    /// Whether [`route`](Self::route) is that of a route: `false` if it is the label of unmatched requests.
    #[must_use]
    #[inline]
    pub fn has_route(&self) -> bool {
        self.route.has_route
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Returns the headers of the response, without those that the server adds when it sends them.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// Returns the extensions of the response.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Returns the time since the request arrived. Reads the clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.facts.arrived.elapsed()
    }

    /// The same when it is first asked for; the end of the request has it too.
    #[inline]
    pub(crate) fn time_to_head(&self) -> Duration {
        let to_head = self.facts.to_head.get().unwrap_or_else(|| self.elapsed());
        self.facts.to_head.set(Some(to_head));
        to_head
    }

    /// Returns the size of the body, as far as it is known in advance.
    #[must_use]
    pub fn body_size(&self) -> BodySize {
        self.facts.response_body_size
    }

    /// Whether the response is long-lived: a stream whose duration is up to the client, so that the default monitor
    /// records it when the head is sent.
    ///
    /// That is a stream which switches the protocol (status 101), has the content type `text/event-stream`,
    /// `multipart/x-mixed-replace` or one of
    /// [`long_lived_content_types`](crate::HrPrometheus::long_lived_content_types), or is marked as [`LongLived`].
    ///
    /// [`LongLived`]: crate::LongLived
    #[must_use]
    #[inline]
    pub fn is_long_lived(&self) -> bool {
        self.long_lived_types
            .include(self.head, &self.extensions, self.facts.response_body_size)
    }

    /// Returns a small number for the label of the route, as [`RequestEnd::route_id`] does.
    #[must_use]
    pub fn route_id(&self) -> usize {
        self.route.id
    }

    pub(crate) fn route_label(&self) -> &RouteLabel {
        self.route
    }

    /// The end of a long-lived request, as far as it does not depend on the client.
    pub(crate) fn ended_at_head(&self, latency: Duration) -> RequestEnd<'_> {
        RequestEnd {
            facts: self.facts,
            route: self.route,
            status: self.status(),
            latency,
            polls: None,
            request_body_bytes: None,
            ending: Ending::Completed,
        }
    }
}

impl fmt::Debug for ResponseStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStart")
            .field("method", &self.method())
            .field("route", &self.route.text)
            .field("status", &self.head.status)
            .finish_non_exhaustive()
    }
}

/// A request that has ended.
#[derive(Debug)]
pub struct RequestEnd<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) route: &'a RouteLabel,
    pub(crate) status: StatusCode,
    pub(crate) latency: Duration,
    pub(crate) polls: Option<&'a PollTimes>,
    pub(crate) request_body_bytes: Option<u64>,
    pub(crate) ending: Ending,
}

impl RequestEnd<'_> {
    /// Returns the label of the method, as [`RequestStart::method`] does.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.facts.method.text
    }

    /// Returns the label of the route that served the request; `unmatched` if there was none. For a request that ended
    /// without a response, the label of the path as it arrived.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route.text
    }

    /// Whether [`route`](Self::route) is a route, as [`ResponseStart::has_route`].
    #[must_use]
    #[inline]
    pub fn has_route(&self) -> bool {
        self.route.has_route
    }

    /// Whether there was a response.
    ///
    /// This includes a response that actix-web made from the `Err` of an inner middleware, for which
    /// [`update_response_metrics`](crate::RequestMonitor::update_response_metrics) is not called. `false` for a request
    /// that panicked or was dropped before.
    #[must_use]
    #[inline]
    pub fn answered(&self) -> bool {
        self.facts.status.or(self.facts.status_of_error).is_some()
    }

    /// Returns the status that the middleware passed on; without a response, 500 after a panic, and
    /// [499](crate::DefaultMonitor#which-status) for a request that was dropped. Once there is a response its status
    /// stays, whatever happens to the body.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the time from the arrival to this end.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// The time from the arrival to the head of the response, if a monitor has asked for it at that time.
    pub(crate) fn time_to_head(&self) -> Option<Duration> {
        self.facts.to_head.get()
    }

    /// Returns the bytes of the response body that were passed to the server, before any transfer coding; 0 for HEAD.
    #[must_use]
    pub fn response_body_bytes(&self) -> u64 {
        self.facts.response_body_bytes
    }

    /// Returns the bytes of the request body that the application has read, or `None` unless a monitor [asks for
    /// them](crate::RequestMonitor::counts_request_body).
    #[must_use]
    pub fn request_body_bytes(&self) -> Option<u64> {
        self.request_body_bytes
    }

    /// Returns the time for which the request occupied its worker: the sum of all polls of the response future and of
    /// the body. `None` unless a monitor [asks for it](crate::RequestMonitor::times_polls).
    #[must_use]
    pub fn time_on_worker(&self) -> Option<Duration> {
        self.polls.map(|polls| polls.total)
    }

    /// Returns the longest of the polls in [`time_on_worker`](Self::time_on_worker), during which all other requests of
    /// the worker waited.
    #[must_use]
    pub fn longest_poll(&self) -> Option<Duration> {
        self.polls.map(|polls| polls.longest)
    }

    /// Returns how the request ended.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Returns a small number for the label of the route, by which a monitor finds its own records without a look-up of
    /// text: counted from 0, the same for the same label as long as the worker lives. Another worker has other
    /// numbers. See [`RequestMonitor::for_worker`](crate::RequestMonitor::for_worker).
    #[must_use]
    pub fn route_id(&self) -> usize {
        self.route.id
    }

    pub(crate) fn route_label(&self) -> &RouteLabel {
        self.route
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The whole response was passed to the server.
    Completed,
    /// The body of the response ended with an error.
    Failed,
    /// The response, or the future that would have returned it, was dropped before it was complete. The reason is not
    /// known: a disconnect, a timeout in outer code, a shutdown.
    Dropped,
    /// A handler, an inner middleware or the body of the response panicked.
    Panicked,
}

/// A scrape that is about to begin.
#[derive(Debug)]
pub struct ScrapeStart {
    pub(crate) request: HttpRequest,
}

impl ScrapeStart {
    /// Returns the label of the route that matches `path` in the application that is being scraped, or `None` if there
    /// is none.
    ///
    /// `path` is percent-encoded, with or without a query, as in a request line. Walks the route table. The options of
    /// a middleware do not apply: a registry can have several middlewares with different options.
    #[must_use]
    pub fn route(&self, path: &PathAndQuery) -> Option<String> {
        let pattern = self.request.resource_map().match_pattern(decoded(path).path())?;
        Some(Pattern::parse(&pattern).label())
    }
}
