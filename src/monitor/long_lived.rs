//! Responses whose lifetime is up to the client: their end says little, so they are recorded at their head.

use actix_web::{
    body::BodySize,
    dev::{Extensions, ResponseHead},
    http::{StatusCode, header},
};

use crate::{error::Error, method::is_token};

/// The content types of responses that are long-lived in every application.
const CONTENT_TYPES: [&str; 2] = ["text/event-stream", "multipart/x-mixed-replace"];

/// Marks a response as long-lived, whatever its content type: it is counted and timed when its head is sent.
///
/// A handler or an inner middleware puts this marker into the extensions of the response. It affects only streamed
/// bodies; a body of known size has an end. For all responses with a content type, use
/// [`HrPrometheus::long_lived_content_types`]. The guide says more about [long-lived
/// responses](crate::guide::long_lived).
///
/// ```
/// use actix_web::{App, HttpResponse, test, web};
/// use futures_util::stream;
/// use hr_prometheus::{HrPrometheus, LongLived, MetricsRegistry};
///
/// async fn logs() -> HttpResponse {
///     let logs = stream::pending::<Result<web::Bytes, actix_web::Error>>();
///     let mut response = HttpResponse::Ok().streaming(logs);
///     response.extensions_mut().insert(LongLived);
///     response
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .route("/logs", web::get().to(logs))
///     .wrap(HrPrometheus::default());
/// let app = test::init_service(app).await;
///
/// let response = test::call_service(&app, test::TestRequest::with_uri("/logs").to_request()).await;
/// assert_eq!(registry.value("request_count_total", &[("path", "/logs")]), Some(1.0));
/// assert_eq!(registry.value("requests_in_progress", &[("path", "/logs")]), Some(1.0));
///
/// drop(response);
/// assert_eq!(registry.value("requests_in_progress", &[("path", "/logs")]), Some(0.0));
/// # });
/// ```
///
/// [`HrPrometheus::long_lived_content_types`]: crate::HrPrometheus::long_lived_content_types
#[derive(Clone, Copy, Debug, Default)]
pub struct LongLived;

/// The additional content types of long-lived responses of one middleware.
#[derive(Clone, Debug, Default)]
pub(crate) struct LongLivedTypes(Vec<String>);

impl LongLivedTypes {
    pub(crate) fn add(&mut self, content_type: &str) -> Result<(), Error> {
        let is_name = |name: &str| is_token(name) && name != "*";
        let names = content_type.split_once('/');
        if !names.is_some_and(|(main, sub)| is_name(main) && is_name(sub)) {
            return Err(Error::new(format!(
                "{content_type:?} is not a content type: write a type and a subtype without parameters, such as \"application/x-ndjson\""
            )));
        }
        self.0.push(content_type.to_owned());
        Ok(())
    }

    /// Whether a response is long-lived: a stream that is marked, switches the protocol or has one of the content types.
    #[inline]
    pub(crate) fn include(&self, head: &ResponseHead, extensions: &Extensions, body_size: BodySize) -> bool {
        body_size == BodySize::Stream && self.include_stream(head, extensions)
    }

    fn include_stream(&self, head: &ResponseHead, extensions: &Extensions) -> bool {
        if head.status == StatusCode::SWITCHING_PROTOCOLS || extensions.contains::<LongLived>() {
            return true;
        }
        let Some(content_type) = head.headers().get(header::CONTENT_TYPE) else {
            return false;
        };
        let essence = content_type.as_bytes().split(|&byte| byte == b';').next();
        essence.map(<[u8]>::trim_ascii).is_some_and(|essence| {
            let is = |known: &str| essence.eq_ignore_ascii_case(known.as_bytes());
            CONTENT_TYPES.into_iter().any(is) || self.0.iter().any(|known| is(known))
        })
    }
}
