//! `/metrics` on an address of its own.

#[cfg(unix)]
use std::path::Path;
use std::{io, net::ToSocketAddrs, sync::Arc};

use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
};
use once_cell::sync::OnceCell;

use crate::{endpoint::metrics_scope, registry::MetricsRegistry};

/// Binds a server with one worker; its type cannot be written.
macro_rules! one_worker {
    ($registry:ident, $bind:ident($address:ident)) => {{
        let registry = $registry.clone();
        let handle = Arc::new(OnceCell::new());
        let handle_of_worker = Arc::clone(&handle);
        let app = move || {
            App::new()
                .app_data(StopsWithWorker(Arc::clone(&handle_of_worker)))
                .app_data(registry.clone())
                .service(metrics_scope())
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .$bind($address)?
            .run();
        handle.get_or_init(|| server.handle());
        Ok(server)
    }};
}

/// Makes a [`Server`] that serves `/metrics` of `registry` at `address`, with one worker.
///
/// For metrics on a port that the public does not reach. Like every [`Server`] it runs only while it is polled: spawn it
/// beside that of the application.
///
/// ```no_run
/// use actix_web::{App, HttpServer, rt, web};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_server};
///
/// #[actix_web::main]
/// async fn main() -> std::io::Result<()> {
///     let registry = MetricsRegistry::new();
///     rt::spawn(metrics_server(&registry, ("0.0.0.0", 9000))?);
///
///     HttpServer::new(move || {
///         App::new()
///             .app_data(registry.clone())
///             .route("/hello/{name}", web::get().to(async || "hello"))
///             .wrap(HrPrometheus::default())
///     })
///     .bind(("0.0.0.0", 8080))?
///     .run()
///     .await
/// }
/// ```
///
/// It handles no signals. On SIGTERM the application stops, and its metrics are served while its last requests are
/// answered; they end with `main`. Two servers that are joined, as by `futures_util`'s `try_join`, end both too. The example
/// [`admin_port`] goes further: it asks for a token, and serves the metrics for one more scrape after that.
///
/// [`admin_port`]: https://github.com/hundredrooms/hr-prometheus/blob/main/examples/admin_port.rs
///
/// # Errors
///
/// When `address` cannot be bound.
pub fn metrics_server(registry: &MetricsRegistry, address: impl ToSocketAddrs) -> io::Result<Server> {
    one_worker!(registry, bind(address))
}

/// Makes a [`Server`] as [`metrics_server`] does, on a Unix domain socket: for a scraper or a proxy on the same host.
///
/// # Errors
///
/// When `path` cannot be bound.
#[cfg(unix)]
pub fn metrics_server_uds(registry: &MetricsRegistry, path: impl AsRef<Path>) -> io::Result<Server> {
    one_worker!(registry, bind_uds(path))
}

/// Stops a server with its worker, in whose application's data it is.
///
/// When one server of a process is told to stop by a signal, actix-web ends the workers of all of them, but only that
/// server: another one would go on without workers, and who joins both would wait for ever.
struct StopsWithWorker(Arc<OnceCell<ServerHandle>>);

impl Drop for StopsWithWorker {
    fn drop(&mut self) {
        if let Some(server) = self.0.get() {
            // It is told now; the future would wait until it has stopped.
            drop(server.stop(false));
        }
    }
}
