//! The connections of a server: how many there are, how long they last, and how many requests each has.

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

/// Upper bounds of the number of requests on one connection.
const REQUEST_BUCKETS: [f64; 9] = [0.0, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1_000.0, 10_000.0];

type Labels = [(&'static str, &'static str); 1];

/// Measures the connections of a server: pass the returned function to
/// [`HttpServer::on_connect`](actix_web::HttpServer::on_connect), before `bind`.
///
/// | family | type | meaning |
/// | --- | --- | --- |
/// | `actix_connections_open` | gauge | open connections |
/// | `actix_connections_accepted_total` | counter | accepted connections; compared with the rate of requests, its rate shows how often clients reconnect |
/// | `actix_connection_duration_seconds` | histogram | time from accept to close, of closed connections; buckets from 10 ms to a day |
/// | `actix_connection_requests` | histogram | requests per connection, of closed connections; buckets from 0 to 10,000 |
///
/// The label `scheme` is `http`, `https` or `unix`, by the type of the socket. A connection ends when its last request has
/// ended, whether the client, a timeout or the stopping server closed it. A WebSocket is a connection with one request.
///
/// [`HrPrometheus`](crate::HrPrometheus) counts the requests, including excluded ones, and counts a request once even
/// if two of them see it. Without the middleware each connection has 0 requests. An HTTP/2 connection has many requests
/// at a time.
///
/// Not measured:
///
/// - Unix domain sockets of `bind_uds`, for which actix-web 4.18 does not call `on_connect`; it does for those of
///   [`listen_uds`](actix_web::HttpServer::listen_uds).
/// - Connections that the system or the server refuses or has not accepted yet, for example because
///   [`max_connections`](actix_web::HttpServer::max_connections) are open.
/// - TLS handshakes that fail.
/// - Requests that actix-web refuses before they reach the application, such as those whose head is too large.
///
/// ```
/// use actix_web::{App, HttpServer, rt, web};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, connection_metrics};
/// use tokio::{io::{AsyncReadExt as _, AsyncWriteExt as _}, net::TcpStream};
///
/// # rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let metrics = HrPrometheus::default().register_in(&registry)?;
/// let app = move || App::new().route("/", web::get().to(async || "hello")).wrap(metrics.clone());
/// let server = HttpServer::new(app)
///     .on_connect(connection_metrics(&registry)?)
///     .bind("127.0.0.1:0")?;
/// let address = server.addrs()[0];
/// let server = server.run();
/// let handle = server.handle();
/// rt::spawn(server);
///
/// let mut connection = TcpStream::connect(address).await?;
/// connection.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
/// connection.read_u8().await?; // the response begins
/// let of = [("scheme", "http")];
/// assert_eq!(registry.value("actix_connections_accepted_total", &of), Some(1.0));
/// assert_eq!(registry.value("actix_connections_open", &of), Some(1.0));
///
/// drop(connection);
/// handle.stop(true).await;
/// assert_eq!(registry.value("actix_connections_open", &of), Some(0.0));
/// assert_eq!(registry.value("actix_connection_requests_sum", &of), Some(1.0));
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
///
/// Servers that share a registry are added up. `on_connect` takes only one function: if you have one already, call this one
/// from it.
///
/// # Errors
///
/// If called from within a registration or a scrape of the same registry.
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

/// Whether requests are to be counted on their connections. Each worker asks once, before its first connection.
pub(crate) fn are_measured() -> bool {
    ARE_MEASURED.load(Relaxed)
}

/// Counts a request on its connection, unless connections are not measured or another middleware has counted it.
#[cold]
pub(crate) fn count(request: &HttpRequest) {
    struct Counted;

    if let Some(connection) = request.conn_data::<OpenConnection>() {
        // User code may hold the extensions of the request.
        let is_first = catch(|| request.extensions_mut().insert(Counted).is_none());
        if is_first.unwrap_or(false) {
            connection
                .requests
                .set(connection.requests.get().saturating_add(1));
        }
    }
}

/// The scheme of a socket that actix-web has accepted. Sockets of TLS have many types.
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
        registry.register("actix_connections_open", "Open connections", open.clone());
        registry.register(
            "actix_connections_accepted",
            "Accepted connections",
            accepted.clone(),
        );
        registry.register_with_unit(
            "actix_connection_duration",
            "Time from accept to close, of closed connections",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register(
            "actix_connection_requests",
            "Requests per connection, of closed connections",
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

/// An open connection. It is kept in the extensions of the connection, which are dropped when that closes.
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
