//! The middleware in one worker: what it does when a request arrives.

use std::{
    cell::OnceCell,
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_service::{Service, Transform};
use actix_web::{
    HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};
use log::Level;

use crate::{
    connections,
    in_flight::InFlightTable,
    middleware::{
        HrPrometheus,
        active_request::ActiveRequest,
        response::{MeasuredBody, MeasuredResponse},
        worker::{SpareStates, Worker},
    },
    monitor::set::{MonitorSet, Monitors},
    panics::report,
    registry::MetricsRegistry,
    requested_routes::RequestedRoutes,
    route::{Routes, labelling::Labelling},
    workers::Workers,
};

impl<N, B, M> Transform<N, ServiceRequest> for HrPrometheus<M>
where
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
    M: Monitors,
{
    type Response = ServiceResponse<MeasuredBody<B, M::Set>>;
    type Error = actix_web::Error;
    type InitError = ();
    type Transform = HrPrometheusService<N, M>;
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, next: N) -> Self::Future {
        if let Err(error) = self.options.mistakes.check() {
            // actix-web says only that a service cannot start.
            report(
                Level::Error,
                format_args!("{error}; the application does not start"),
            );
            return ready(Err(()));
        }
        ready(Ok(HrPrometheusService {
            next,
            metrics: self.clone(),
            worker: OnceCell::new(),
        }))
    }
}

/// The middleware in one worker.
pub struct HrPrometheusService<N, M: Monitors> {
    next: N,
    metrics: HrPrometheus<M>,
    /// Created at the first request: earlier, neither the app data nor the routes can be seen.
    worker: OnceCell<Rc<Worker<M::Set>>>,
}

impl<N, M: Monitors> HrPrometheusService<N, M> {
    fn worker(&self, request: &HttpRequest) -> &Rc<Worker<M::Set>> {
        self.worker.get_or_init(|| {
            let registry = self.metrics.registry.clone();
            let registry = registry.unwrap_or_else(|| MetricsRegistry::of(request));
            registry.note_recorded();
            // A monitor that cannot be registered is off, which the registry has logged; requests are served.
            let monitors = (self.metrics.source)(&registry, &self.metrics.name, &mut Vec::new()).for_worker();
            let options = Arc::clone(&self.metrics.options);
            let shown = options
                .shows_workers
                .then(|| Workers::of(&registry).ok()?.join())
                .flatten();
            let rules = Arc::clone(&options.rules);
            let labelling = Arc::new(Labelling::new(rules, registry.limits(), request.resource_map()));
            let requested = options
                .shows_routes
                .then(|| Some(RequestedRoutes::of(&registry).ok()?.join(&labelling)))
                .flatten();
            Rc::new(Worker {
                counts_request_body: monitors.counts_request_body(),
                times_polls: monitors.times_polls(),
                counts_on_connections: connections::are_measured(),
                monitors,
                has_predicates: !options.predicates.is_empty(),
                options,
                routes: Routes::new(Arc::clone(&labelling), requested.unwrap_or_default()),
                _shown: shown,
                in_flight: Arc::new(InFlightTable::new(labelling)),
                spare_states: SpareStates::new(),
            })
        })
    }
}

impl<N, B, M> Service<ServiceRequest> for HrPrometheusService<N, M>
where
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
    M: Monitors,
{
    type Response = ServiceResponse<MeasuredBody<B, M::Set>>;
    type Error = actix_web::Error;
    type Future = MeasuredResponse<N::Future, M::Set>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.next.poll_ready(cx)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let worker = self.worker(request.request());
        if worker.counts_on_connections {
            connections::count(request.request());
        }
        let mut active = ActiveRequest::begin(worker, &mut request);
        let response = active.run(|| self.next.call(request));
        MeasuredResponse::new(response, active)
    }
}
