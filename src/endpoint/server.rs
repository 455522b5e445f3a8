//! A server for `/metrics` on a separate address.

#[cfg(unix)]
use std::path::Path;
use std::{io, net::ToSocketAddrs, sync::Arc};

use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
};
use once_cell::sync::OnceCell;

use crate::{endpoint::metrics_scope, registry::MetricsRegistry};

/// Binds a server with one worker. A macro, because the type of the server cannot be named.
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

/// Creates a [`Server`] with one worker that serves `registry` under `/metrics` at `address`.
///
/// Use it for a port that the public cannot reach. Like every [`Server`] it runs only while it is polled, so spawn it next
/// to that of the application:
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
/// It handles no signals. At SIGTERM it keeps serving while the application answers its last requests, and ends with
/// `main`. If you join both servers, for example with `futures_util`'s `try_join`, both end. The example [`admin_port`]
/// adds a token, and waits for one more scrape after the last request.
///
/// [`admin_port`]: https://github.com/hundredrooms/hr-prometheus/blob/main/examples/admin_port.rs
///
/// # Errors
///
/// If `address` cannot be bound.
pub fn metrics_server(registry: &MetricsRegistry, address: impl ToSocketAddrs) -> io::Result<Server> {
    one_worker!(registry, bind(address))
}

/// Creates a [`Server`] like [`metrics_server`], but on a Unix domain socket, for a scraper or a proxy on the same host.
///
/// # Errors
///
/// If `path` cannot be bound.
#[cfg(unix)]
pub fn metrics_server_uds(registry: &MetricsRegistry, path: impl AsRef<Path>) -> io::Result<Server> {
    one_worker!(registry, bind_uds(path))
}

/// Stops a server when its worker ends, since it is in the app data of that worker.
///
/// When a signal stops one server of a process, actix-web ends the workers of all servers, but only that one server. The
/// other would go on without workers, and code that joins both would wait forever.
struct StopsWithWorker(Arc<OnceCell<ServerHandle>>);

impl Drop for StopsWithWorker {
    fn drop(&mut self) {
        if let Some(server) = self.0.get() {
            // The call is enough to stop it; the future would only wait for the end.
            drop(server.stop(false));
        }
    }
}
