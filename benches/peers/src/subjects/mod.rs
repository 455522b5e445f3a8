//! What is measured: the same application, wrapped by this crate and by each of its peers.

mod ours;
mod peers;

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    web::{self, ServiceConfig},
};

pub use self::{
    ours::{
        BodySizes, Both, CustomCounter, CustomLabels, Default, Excluded, Exemplars, KeptValues, Otel,
        TimeToHead,
    },
    peers::{Families, Metrics, Nothing, OpenTelemetry, Prom, Prometheus},
};

/// The type of an application, written once.
macro_rules! app {
    () => {
        App<
            impl ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<impl MessageBody + 'static>,
                Error = Error,
                InitError = (),
            > + 'static,
        >
    };
}
use app;

/// One of those that are compared. Clones share what they record into, as workers do.
pub trait Subject: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    /// Called once in a process.
    fn new() -> Self;

    /// An application with this middleware outermost.
    fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!();

    /// The text of a scrape.
    fn scrape(&self) -> String;

    /// Adds `/metrics`: where the peer has no view of its own, a handler that encodes, as its users write.
    fn add_metrics(&self, app: &mut ServiceConfig) {
        let subject = self.clone();
        app.route(
            "/metrics",
            web::get().to(move || std::future::ready(subject.scrape())),
        );
    }
}

/// This crate and its peers.
pub const ALL: [&str; 9] = [
    Nothing::NAME,
    Default::NAME,
    CustomCounter::NAME,
    Otel::NAME,
    Families::NAME,
    Prom::NAME,
    Metrics::NAME,
    Prometheus::NAME,
    OpenTelemetry::NAME,
];

/// This crate with one option each.
pub const OPTIONS: [&str; 7] = [
    KeptValues::NAME,
    CustomLabels::NAME,
    Exemplars::NAME,
    BodySizes::NAME,
    TimeToHead::NAME,
    Both::NAME,
    Excluded::NAME,
];

/// Calls a function that is generic over the subject with the one of this name.
macro_rules! for_subject {
    ($name:expr, $measure:ident $arguments:tt) => {
        $crate::subjects::for_subject!(
            $name, $measure $arguments,
            Nothing Default CustomCounter Otel Families Prom Metrics Prometheus OpenTelemetry
            KeptValues CustomLabels Exemplars BodySizes TimeToHead Both Excluded
        )
    };
    ($name:expr, $measure:ident $arguments:tt, $($subject:ident)+) => {
        match $name {
            $(<$crate::subjects::$subject as $crate::subjects::Subject>::NAME => {
                $measure::<$crate::subjects::$subject> $arguments
            })+
            name => panic!("there is no subject {name}"),
        }
    };
}
pub(crate) use for_subject;
