//! `metrics_server` serves `/metrics` on an address of its own, until the application has stopped.
#![cfg(unix)]

mod support;

use std::{
    env, fs, io,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    dev::Server,
    rt::{self, System},
    web,
};
use futures_util::future::{LocalBoxFuture, try_join};
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_server, metrics_server_uds};
use tokio::sync::Notify;

use support::{eventually, http};

/// The path of a socket that nobody has.
fn socket(name: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("hr-prometheus-{name}-{}", process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// A scrape over a Unix socket.
fn scrape(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

fn signal(name: &str) {
    let id = process::id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap()
            .success()
    );
}

type Main = fn(Server, Server) -> LocalBoxFuture<'static, io::Result<()>>;

fn main_that_joins(app: Server, metrics: Server) -> LocalBoxFuture<'static, io::Result<()>> {
    Box::pin(async {
        try_join(app, metrics).await?;
        Ok(())
    })
}

fn main_that_spawns(app: Server, metrics: Server) -> LocalBoxFuture<'static, io::Result<()>> {
    Box::pin(async {
        rt::spawn(metrics);
        app.await
    })
}

/// One after the other, since a signal goes to every server of the process.
#[test]
fn it_serves_while_the_application_stops_and_ends_with_it() {
    for (name, main) in [("joined", main_that_joins as Main), ("spawned", main_that_spawns)] {
        let path = socket(name);
        let registry = MetricsRegistry::new();
        let release = Arc::new(Notify::new());
        let (started, address) = mpsc::channel();
        let main = thread::spawn({
            let (path, registry, release) = (path.clone(), registry.clone(), Arc::clone(&release));
            move || {
                System::new().block_on(async {
                    let metrics = metrics_server_uds(&registry, &path)?;
                    let app = HttpServer::new(move || {
                        let release = Arc::clone(&release);
                        App::new()
                            .app_data(registry.clone())
                            .route(
                                "/slow",
                                web::get().to(move || {
                                    let release = Arc::clone(&release);
                                    async move {
                                        release.notified().await;
                                        "done"
                                    }
                                }),
                            )
                            .wrap(HrPrometheus::default())
                    })
                    .workers(1)
                    .bind(("127.0.0.1", 0))?;
                    started.send(app.addrs()[0]).unwrap();
                    main(app.run(), metrics).await
                })
            }
        });
        let address: SocketAddr = address.recv().unwrap();
        let request = thread::spawn(move || http(address, "GET", "/slow").1);
        let in_progress = "\nrequests_in_progress{method=\"GET\",path=\"/slow\"} 1\n";
        eventually("the request", || {
            scrape(&path).is_ok_and(|scrape| scrape.contains(in_progress))
        });

        signal("TERM");
        eventually("the end of the application", || {
            TcpStream::connect(address).is_err()
        });
        assert!(scrape(&path).unwrap().contains(in_progress), "{name}");
        release.notify_one();
        assert_eq!(request.join().unwrap(), "done");
        eventually("the end of main", || main.is_finished());
        main.join().unwrap().unwrap();
        assert!(scrape(&path).is_err(), "{name}");
        let _ = fs::remove_file(&path);
    }
}

#[actix_web::test]
async fn it_serves_an_address_that_is_free_and_says_which_is_not() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = metrics_server(&MetricsRegistry::new(), taken.local_addr().unwrap())
        .err()
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);

    // Another process may take it in between; then the next one.
    let bound = (0..10).find_map(|_| {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Some((address, metrics_server(&MetricsRegistry::new(), address).ok()?))
    });
    let (address, server) = bound.expect("a free port");
    let handle = server.handle();
    let server = rt::spawn(server);
    let ask = |path| rt::task::spawn_blocking(move || http(address, "GET", path));
    let (head, body) = ask("/metrics").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(body, "# EOF\n");
    assert!(ask("/").await.unwrap().0.starts_with("HTTP/1.1 404 Not Found"));
    handle.stop(false).await;
    server.await.unwrap().unwrap();
}
