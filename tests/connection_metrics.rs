//! Connections that are opened and closed in every way, as the scrape shows them.

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, rt::System, web};
use futures_util::future::join_all;
use h2::client::{SendRequest, handshake};
use hr_prometheus::{HrPrometheus, MetricsRegistry, connection_metrics};
use socket2::SockRef;

use support::{eventually, eventually_has};

const PATIENCE: Duration = Duration::from_secs(20);

const HTTP: &[(&str, &str)] = &[("scheme", "http")];

/// A server whose connections are measured, HTTP/1.1 and HTTP/2; it stops when dropped.
struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

fn serve(registry: &MetricsRegistry, keep_alive: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (ready, started) = mpsc::channel();
    let metrics = HrPrometheus::default()
        .register_in(registry)
        .expect("a free registry");
    let measured = connection_metrics(registry).expect("a free registry");
    let thread = thread::spawn(move || {
        System::new().block_on(async move {
            let app = move || {
                let hello = web::get().to(async || "hello");
                App::new()
                    .route("/hello", hello)
                    .service(
                        web::resource("/twice")
                            .route(web::get().to(async || "hello"))
                            .wrap(metrics.clone()),
                    )
                    .wrap(metrics.clone())
            };
            let server = HttpServer::new(app)
                .on_connect(measured)
                .workers(2)
                .keep_alive(keep_alive)
                .client_request_timeout(Duration::from_secs(1))
                .client_disconnect_timeout(Duration::from_secs(1))
                .disable_signals()
                .shutdown_timeout(1)
                .listen_auto_h2c(listener)
                .expect("a listener")
                .run();
            ready.send(server.handle()).expect("the test waits");
            server.await.expect("a server that ends well");
        });
    });
    Server {
        address,
        handle: started.recv().expect("a server that starts"),
        thread: Some(thread),
    }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
    }

    fn stop(&mut self, graceful: bool) {
        if let Some(thread) = self.thread.take() {
            drop(self.handle.stop(graceful));
            thread.join().expect("a server thread that did not panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(false);
    }
}

/// Asks `times` on one connection.
fn ask(stream: &mut TcpStream, path: &str, times: usize) {
    for _ in 0..times {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a server that reads");
        let mut response = Vec::new();
        while !response.ends_with(b"hello") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).expect("a response"), 1, "closed");
            response.push(byte[0]);
        }
    }
}

/// What the scrape says has been opened, is open, and was asked on closed ones.
fn assert_settles(registry: &MetricsRegistry, accepted: f64, open: f64, requests: f64) {
    eventually_has(registry, "actix_connections_accepted_total", HTTP, accepted);
    eventually_has(registry, "actix_connections_open", HTTP, open);
    eventually("the connections that have closed are there", || {
        let is = |name, expected: f64| {
            let found = registry.value(name, HTTP).unwrap_or_default();
            found.total_cmp(&expected).is_eq()
        };
        is("actix_connection_duration_seconds_count", accepted - open)
            && is("actix_connection_requests_sum", requests)
    });
}

#[test]
fn a_thousand_connections_that_end_in_every_way_end_at_zero() {
    let registry = MetricsRegistry::new();
    let mut server = serve(&registry, Duration::from_secs(2));
    let mut held = Vec::new();
    for round in 0..100 {
        for way in 0..8 {
            let mut stream = server.connect();
            match way {
                // Nothing is asked, and it is closed: FIN.
                0 => {}
                1 => ask(&mut stream, "/hello", 3),
                // RST.
                2 => {
                    ask(&mut stream, "/hello", 1);
                    SockRef::from(&stream)
                        .set_linger(Some(Duration::ZERO))
                        .expect("SO_LINGER");
                }
                3 => {
                    ask(&mut stream, "/hello", 1);
                    stream.shutdown(Shutdown::Write).expect("an open connection");
                }
                // The head is cut.
                4 => stream.write_all(b"GET /hello HT").expect("a server that reads"),
                5 => stream
                    .write_all(b"\0garbage\r\n\r\n")
                    .expect("a server that reads"),
                // Idle until the server closes it.
                6 if round % 10 == 0 => {
                    ask(&mut stream, "/hello", 1);
                    held.push(stream);
                }
                _ => ask(&mut stream, "/hello", 2),
            }
        }
    }
    // Two hundred over HTTP/2, in which the client says GOAWAY.
    tokio_block_on(async {
        for _ in 0..20 {
            let address = server.address;
            join_all((0..10).map(|_| async move {
                let (client, connection) = h2_connect(address).await;
                h2_ask(client, 5).await;
                drop(connection);
            }))
            .await;
        }
    });
    let http1 = 100.0 * (3.0 + 1.0 + 1.0 + 2.0) + 10.0 + 90.0 * 2.0;
    assert_settles(&registry, 1_000.0, 0.0, http1 + 200.0 * 5.0);
    for mut stream in held {
        let read = stream.read(&mut [0]).expect("the server has closed it");
        assert_eq!(read, 0);
    }

    // The server stops under open connections.
    let mut open: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for stream in &mut open {
        ask(stream, "/hello", 1);
    }
    eventually_has(&registry, "actix_connections_accepted_total", HTTP, 1_010.0);
    server.stop(true);
    assert_settles(&registry, 1_010.0, 0.0, http1 + 200.0 * 5.0 + 10.0);
}

#[test]
fn a_server_that_stops_says_goaway_and_its_connections_end() {
    let registry = MetricsRegistry::new();
    let mut server = serve(&registry, Duration::from_secs(60));
    let address = server.address;
    tokio_block_on(async {
        let mut clients = Vec::new();
        for _ in 0..5 {
            let (client, connection) = h2_connect(address).await;
            h2_ask(client.clone(), 2).await;
            clients.push((client, connection));
        }
        assert_settles(&registry, 5.0, 5.0, 0.0);
        tokio::task::spawn_blocking(move || server.stop(true))
            .await
            .expect("a server that stops");
    });
    assert_settles(&registry, 5.0, 0.0, 10.0);
}

#[test]
fn a_request_that_two_middleware_see_is_one_on_its_connection() {
    let registry = MetricsRegistry::new();
    let server = serve(&registry, Duration::from_secs(60));
    let mut stream = server.connect();
    ask(&mut stream, "/twice", 2);
    drop(stream);
    assert_settles(&registry, 1.0, 0.0, 2.0);
    assert_eq!(
        registry.value("request_count_total", &[("path", "/twice")]),
        Some(4.0)
    );
}

#[cfg(unix)]
#[test]
fn connections_of_a_unix_socket_are_told_apart() {
    use std::os::unix::net::{UnixListener, UnixStream};

    let registry = MetricsRegistry::new();
    let folder = std::env::temp_dir().join(format!("hr-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("socket");
    let metrics = HrPrometheus::default()
        .register_in(&registry)
        .expect("a free registry");
    System::new().block_on(async {
        let server = HttpServer::new(move || {
            App::new()
                .route("/hello", web::get().to(async || "hello"))
                .wrap(metrics.clone())
        });
        let server = server.on_connect(connection_metrics(&registry).expect("a free registry"));
        let server = server
            .workers(1)
            .disable_signals()
            .listen_uds(UnixListener::bind(&path).expect("a free path"))
            .expect("a listener")
            .run();
        let handle = server.handle();
        let client = tokio::task::spawn_blocking({
            let path = path.clone();
            move || {
                let mut stream = UnixStream::connect(path).expect("a connection");
                let request = "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                stream.write_all(request.as_bytes()).expect("a server that reads");
                let mut response = String::new();
                stream.read_to_string(&mut response).expect("a response");
                assert!(response.ends_with("hello"), "{response}");
            }
        });
        let stop = async {
            client.await.expect("a client");
            handle.stop(true).await;
        };
        let (server, ()) = futures_util::future::join(server, stop).await;
        server.expect("a server that ends well");
    });
    std::fs::remove_dir_all(&folder).expect("a folder");
    let unix = &[("scheme", "unix")];
    assert_eq!(
        registry.value("actix_connections_accepted_total", unix),
        Some(1.0)
    );
    assert_eq!(registry.value("actix_connections_open", unix), Some(0.0));
    assert_eq!(registry.value("actix_connection_requests_sum", unix), Some(1.0));
}

fn tokio_block_on(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(test);
}

async fn h2_connect(address: SocketAddr) -> (SendRequest<web::Bytes>, tokio::task::JoinHandle<()>) {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let (client, connection) = handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(async move { connection.await.expect("a connection that ends well") });
    (client, connection)
}

/// Asks `times`, one after the other.
async fn h2_ask(client: SendRequest<web::Bytes>, times: usize) {
    let mut client = client.ready().await.expect("a connection");
    for _ in 0..times {
        let mut request = default_request(SendRequest::<web::Bytes>::send_request);
        *request.uri_mut() = "http://localhost/hello".parse().expect("an address");
        let (response, _) = client.send_request(request, true).expect("a connection");
        let mut body = response.await.expect("a response").into_body();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.expect("a body");
            body.flow_control()
                .release_capacity(chunk.len())
                .expect("a window");
        }
        client = client.ready().await.expect("a connection");
    }
}

/// A request as h2 takes it, whose type is in a crate that is no dependency of the tests.
fn default_request<R: Default, T>(_: fn(&mut SendRequest<web::Bytes>, R, bool) -> T) -> R {
    R::default()
}
