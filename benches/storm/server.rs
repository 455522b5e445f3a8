//! Servers in threads of their own, which start and stop.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{AppConfig, Response, ServerHandle},
    middleware::from_fn,
    rt::System,
};
use hr_prometheus::{MetricsRegistry, connection_metrics, metrics_scope};

use crate::{
    application::{misbehave, routes, time_out},
    subject::Subject,
};

/// A server in a thread of its own; it stops when told to.
pub struct Server {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves the storm's application with `workers` workers: HTTP/1.1 and cleartext HTTP/2.
    pub fn start(workers: usize, registry: &MetricsRegistry, subject: &Subject) -> Self {
        let registry = registry.clone();
        match subject.clone() {
            Subject::Crate(metrics) => {
                let app = {
                    let registry = registry.clone();
                    move || {
                        App::new()
                            .app_data(registry.clone())
                            .configure(routes)
                            .wrap(from_fn(misbehave))
                            .wrap(metrics.clone())
                            .wrap(from_fn(time_out))
                    }
                };
                Self::serve(workers, &registry, app)
            }
            Subject::Naive(naive) => {
                let app = {
                    let registry = registry.clone();
                    move || {
                        let naive = naive.clone();
                        App::new()
                            .app_data(registry.clone())
                            .configure(routes)
                            .wrap(from_fn(misbehave))
                            .wrap(from_fn(move |request, next| naive.clone().measure(request, next)))
                            .wrap(from_fn(time_out))
                    }
                };
                Self::serve(workers, &registry, app)
            }
        }
    }

    /// Serves `/metrics` alone, for scrapers that are not ours; it measures nothing.
    pub fn start_admin(registry: &MetricsRegistry) -> Self {
        let shown = registry.clone();
        Self::run(move |listener| {
            HttpServer::new(move || App::new().app_data(shown.clone()).service(metrics_scope()))
                .workers(1)
                .disable_signals()
                .listen(listener)
                .expect("a listener")
                .run()
        })
    }

    fn serve<F, I, S, B>(workers: usize, registry: &MetricsRegistry, app: F) -> Self
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, actix_http::Request>,
        S: ServiceFactory<actix_http::Request, Config = AppConfig> + 'static,
        S::Error: Into<Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<actix_http::Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let on_connect = connection_metrics(registry).expect("a free registry");
        Self::run(move |listener| {
            HttpServer::new(app)
                .on_connect(on_connect)
                .workers(workers)
                .disable_signals()
                .shutdown_timeout(1)
                .listen_auto_h2c(listener)
                .expect("a listener")
                .run()
        })
    }

    fn run(server: impl FnOnce(TcpListener) -> actix_web::dev::Server + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (ready, started) = mpsc::channel();
        let serve = move || {
            System::new().block_on(async move {
                let server = server(listener);
                ready.send(server.handle()).expect("the storm waits");
                server.await.expect("a server that ends well");
            });
        };
        let thread = thread::Builder::new().name("storm-server".into()).spawn(serve);
        Self {
            address,
            handle: started.recv().expect("a server that starts"),
            thread: thread.expect("a thread"),
        }
    }

    /// Stops it. Requests under way are dropped, unless `graceful`.
    pub fn stop(self, graceful: bool) {
        drop(self.handle.stop(graceful));
        self.thread.join().expect("a server that ends well");
    }
}
