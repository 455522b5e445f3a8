//! The connections of a server: how many there are, how long they last, and how often they are used again.

use std::{
    any::Any,
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use actix_web::{HttpMessage as _, HttpRequest, dev::Extensions, rt::net};
use futures_util::future::{LocalBoxFuture, ready};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    error::Error,
    panics::catch,
    registry::{BeforeScrape, MetricsRegistry},
};

/// Upper bounds of the lifetimes in seconds: from one request to a web socket of a day.
const DURATION_BUCKETS: [f64; 11] = [
    0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0,
];

/// Upper bounds of the requests of one connection.
const REQUEST_BUCKETS: [f64; 9] = [0.0, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1_000.0, 10_000.0];

type Labels = [(&'static str, &'static str); 1];

/// Measures the connections of a server; give the value to
/// [`HttpServer::on_connect`](actix_web::HttpServer::on_connect), before `bind`.
///
/// | family | type | meaning |
/// | --- | --- | --- |
/// | `actix_connections_open` | gauge | connections that are open |
/// | `actix_connections_accepted_total` | counter | connections that were accepted; its rate against that of requests shows how often clients reconnect |
/// | `actix_connection_duration_seconds` | histogram | from accept to close, of connections that have closed; buckets from 10 ms to a day |
/// | `actix_connection_requests` | histogram | requests that came on a connection, of connections that have closed; buckets from 0 to 10,000 |
///
/// The label `scheme` is `http`, `https` or `unix`, by the kind of socket that the server hands over. A connection ends
/// once its last request has, whoever closed it: the client, a time-out, or the server that stops. Web sockets are
/// connections with one request.
///
/// Requests are counted by [`HrPrometheus`](crate::HrPrometheus), excluded ones too, and once where two of them see the
/// same request; a server without it shows 0 of them. HTTP/2 has many requests at a time on one connection.
///
/// What is not seen from here: sockets of `bind_uds`, for which actix-web 4.18 calls no `on_connect`, while those of
/// [`listen_uds`](actix_web::HttpServer::listen_uds) are; connections that the system or the server refuses, since too many are open
/// ([`max_connections`](actix_web::HttpServer::max_connections)), or that wait to be accepted; TLS handshakes that fail;
/// requests that actix-web refuses before the application, such as those with too large a head.
///
/// ```
/// use std::{io::{Read, Write}, net::TcpStream};
///
/// use actix_web::{App, HttpServer, web};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, connection_metrics};
///
/// # #[actix_web::main]
/// # async fn main() -> std::io::Result<()> {
/// let registry = MetricsRegistry::new();
/// let metrics = HrPrometheus::default().register_in(&registry)?;
/// let server = HttpServer::new(move || {
///     App::new().route("/", web::get().to(async || "hello")).wrap(metrics.clone())
/// })
/// .on_connect(connection_metrics(&registry)?)
/// .bind("127.0.0.1:0")?;
///
/// # let address = server.addrs()[0];
/// # let server = server.workers(1).disable_signals().run();
/// # let handle = server.handle();
/// # actix_web::rt::spawn(server);
/// # let client = std::thread::spawn(move || -> std::io::Result<String> {
/// let mut connection = TcpStream::connect(address)?;
/// connection.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
/// let mut responses = String::new();
/// connection.read_to_string(&mut responses)?;
/// # Ok(responses)
/// # });
/// # while !client.is_finished() { actix_web::rt::task::yield_now().await }
/// # client.join().unwrap()?;
/// # handle.stop(true).await;
/// assert_eq!(registry.value("actix_connections_accepted_total", &[("scheme", "http")]), Some(1.0));
/// assert_eq!(registry.value("actix_connections_open", &[("scheme", "http")]), Some(0.0));
/// assert_eq!(registry.value("actix_connection_requests_sum", &[("scheme", "http")]), Some(2.0));
/// # Ok(())
/// # }
/// ```
///
/// Several servers may share a registry; they are added up. `on_connect` takes one function: where you have your own,
/// call this one from it.
///
/// # Errors
///
/// When called from within a registration or a scrape of the same registry.
pub fn connection_metrics(
    registry: &MetricsRegistry,
) -> Result<impl Fn(&dyn Any, &mut Extensions) + Clone + Send + Sync + 'static, Error> {
    #[derive(PartialEq)]
    struct OfRegistry;

    let connections = registry.register_once("of connections", OfRegistry, Connections::register)?;
    ARE_MEASURED.store(true, Relaxed);
    Ok(move |socket: &dyn Any, extensions: &mut Extensions| {
        extensions.insert(OpenConnection::new(&connections, scheme(socket)));
    })
}

/// Whether connections of any server in this process are measured.
static ARE_MEASURED: AtomicBool = AtomicBool::new(false);

/// Whether requests are to be counted on their connections; asked once by each worker, which has none before.
pub(crate) fn are_measured() -> bool {
    ARE_MEASURED.load(Relaxed)
}

/// Counts a request on its connection, if that is measured, and if no other middleware has done so.
#[cold]
pub(crate) fn count(request: &HttpRequest) {
    struct Counted;

    if let Some(connection) = request.conn_data::<OpenConnection>() {
        // Somebody may hold the extensions of the request.
        let is_first = catch(|| request.extensions_mut().insert(Counted).is_none());
        if is_first.unwrap_or(false) {
            connection
                .requests
                .set(connection.requests.get().saturating_add(1));
        }
    }
}

/// What kind of socket actix-web has accepted; those of TLS have many types.
fn scheme(socket: &dyn Any) -> &'static str {
    #[cfg(unix)]
    if socket.is::<net::UnixStream>() {
        return "unix";
    }
    if socket.is::<net::TcpStream>() {
        "http"
    } else {
        "https"
    }
}

#[derive(Debug)]
struct Connections {
    open: Family<Labels, Gauge>,
    accepted: Family<Labels, Counter>,
    duration: Family<Labels, Histogram>,
    requests: Family<Labels, Histogram>,
}

impl Connections {
    fn register(registry: &mut Registry) -> Self {
        let connections = Self {
            open: Family::default(),
            accepted: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            requests: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
        };
        let Self {
            open,
            accepted,
            duration,
            requests,
        } = &connections;
        registry.register(
            "actix_connections_open",
            "Connections that are open",
            open.clone(),
        );
        registry.register(
            "actix_connections_accepted",
            "Connections that were accepted",
            accepted.clone(),
        );
        registry.register_with_unit(
            "actix_connection_duration",
            "Time from accept to close, of connections that have closed",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register(
            "actix_connection_requests",
            "Requests that came on a connection, of connections that have closed",
            requests.clone(),
        );
        connections
    }
}

impl BeforeScrape for Connections {
    fn prepare(&self, _: &HttpRequest) -> LocalBoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}

/// A connection that is open; it lives in the connection's extensions, and closes with them.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    labels: Labels,
    accepted: Instant,
    requests: Cell<u32>,
}

impl OpenConnection {
    fn new(connections: &Arc<Connections>, scheme: &'static str) -> Self {
        let labels = [("scheme", scheme)];
        connections.open.get_or_create_owned(&labels).inc();
        connections.accepted.get_or_create_owned(&labels).inc();
        Self {
            connections: Arc::clone(connections),
            labels,
            accepted: Instant::now(),
            requests: Cell::new(0),
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let Self {
            connections,
            labels,
            accepted,
            requests,
        } = self;
        connections.open.get_or_create_owned(labels).dec();
        let duration = connections.duration.get_or_create_owned(labels);
        duration.observe(accepted.elapsed().as_secs_f64());
        let histogram = connections.requests.get_or_create_owned(labels);
        histogram.observe(requests.get().into());
    }
}

#[cfg(test)]
mod tests {
    use super::scheme;

    /// Streams of TLS have a type for each library, of which none is built here.
    #[test]
    fn a_socket_of_another_type_is_one_of_tls() {
        struct TlsStream;

        assert_eq!(scheme(&TlsStream), "https");
    }
}
