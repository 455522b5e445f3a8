//! The exemplars of the default monitor.

use std::{any::TypeId, fmt, iter, sync::Arc};

use actix_web::http::header::HeaderName;
use log::Level;

use crate::{
    exposition::exemplar::{ExemplarLabels, are_labels},
    monitor::hooks::{RequestStart, ResponseStart},
    panics::{DiscardOnDrop, LogOnce, catch},
};

/// As text it would be parsed for each request.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

type Pairs = Vec<(String, String)>;

type FromResponse = dyn Fn(&ResponseStart<'_>) -> Option<Pairs> + Send + Sync;

#[derive(Clone)]
pub(super) enum ExemplarSource {
    /// The header of W3C Trace Context.
    Traceparent,
    /// A function of the user.
    Response {
        labels: Arc<FromResponse>,
        /// The type of that function, by which two sources are equal.
        closure: TypeId,
    },
}

impl ExemplarSource {
    pub(super) fn from_response<F, E, N, V>(labels: F) -> Self
    where
        F: Fn(&ResponseStart<'_>) -> Option<E> + Send + Sync + 'static,
        E: IntoIterator<Item = (N, V)>,
        N: Into<String>,
        V: Into<String>,
    {
        let closure = TypeId::of::<F>();
        let labels = DiscardOnDrop::new(labels);
        let labels = move |response: &ResponseStart<'_>| {
            let mut pairs = DiscardOnDrop::new(labels.as_ref()?(response)?.into_iter());
            let pairs = iter::from_fn(|| {
                let (name, value) = pairs.as_mut()?.next()?;
                let mut value = DiscardOnDrop::new(value);
                Some((name.into(), value.take()?.into()))
            });
            Some(pairs.collect())
        };
        Self::Response {
            labels: Arc::new(labels),
            closure,
        }
    }
}

impl PartialEq for ExemplarSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Traceparent, Self::Traceparent) => true,
            (Self::Response { closure, .. }, Self::Response { closure: other, .. }) => closure == other,
            _ => false,
        }
    }
}

impl fmt::Debug for ExemplarSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traceparent => "Traceparent",
            Self::Response { .. } => "Response",
        })
    }
}

/// The exemplars of one monitor.
#[derive(Debug)]
pub(super) struct Exemplars {
    source: ExemplarSource,
    logged: LogOnce,
}

impl Exemplars {
    pub(super) fn new(source: ExemplarSource) -> Self {
        Self {
            source,
            logged: LogOnce::default(),
        }
    }

    /// Whether their labels are known on arrival, not only with the response.
    pub(super) fn are_of_requests(&self) -> bool {
        matches!(self.source, ExemplarSource::Traceparent)
    }

    /// The labels that are known when the request arrives.
    pub(super) fn at_arrival(&self, request: &RequestStart<'_>) -> Option<ExemplarLabels> {
        let ExemplarSource::Traceparent = self.source else {
            return None;
        };
        let mut headers = request.request().headers().get_all(&TRACEPARENT);
        // A header that is sent twice is ambiguous.
        let (Some(header), None) = (headers.next(), headers.next()) else {
            return None;
        };
        sampled_trace_id(header.as_bytes()).map(ExemplarLabels::TraceId)
    }

    /// The labels that are known at the response head.
    pub(super) fn at_response(&self, response: &ResponseStart<'_>) -> Option<ExemplarLabels> {
        let ExemplarSource::Response { labels, .. } = &self.source else {
            return None;
        };
        let labels = catch(|| labels(response)).unwrap_or_else(|panicked| {
            self.report(format_args!(
                "the function of `exemplars_from` panicked: {panicked}; fix it"
            ));
            None
        })?;
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        if !are_labels(pairs) {
            self.report(format_args!(
                "its labels have more than 128 characters in all (OpenMetrics 1.0), \
                 a name that is invalid or occurs twice, or a NUL in a value"
            ));
            return None;
        }
        Some(ExemplarLabels::Pairs(labels))
    }

    fn report(&self, what: fmt::Arguments<'_>) {
        self.logged.log(
            Level::Warn,
            format_args!("an exemplar is omitted: {what} (logged once)"),
        );
    }
}

/// The trace id of a `traceparent` header, W3C Trace Context, if the trace is sampled: only then is there something to
/// find.
fn sampled_trace_id(header: &[u8]) -> Option<[u8; 32]> {
    // Without early returns, so that the compiler vectorizes the loop.
    fn are_hex<const N: usize>(text: &[u8; N]) -> bool {
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.iter().fold(true, |so_far, byte| so_far & is_hex(byte))
    }

    let (parts, rest) = header.split_first_chunk::<55>()?;
    let version = &parts[..2];
    let (trace_id, parent_id) = (parts[3..].first_chunk()?, parts[36..].first_chunk()?);
    let valid = [2, 35, 52].into_iter().all(|dash| parts[dash] == b'-')
        && are_hex(trace_id)
        && are_hex(parent_id)
        && are_hex(&[parts[0], parts[1], parts[53], parts[54]])
        && version != b"ff"
        && *trace_id != [b'0'; 32]
        && *parent_id != [b'0'; 16]
        // Later versions may have more parts.
        && (rest.is_empty() || (version != b"00" && rest[0] == b'-'));
    // An odd digit.
    let sampled = matches!(parts[54], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f');
    (valid && sampled).then_some(*trace_id)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::sampled_trace_id;

    const TRACE: [u8; 32] = *b"4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn the_trace_id_of_a_sampled_trace_is_taken() {
        for header in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
        ] {
            assert_eq!(sampled_trace_id(header.as_bytes()), Some(TRACE), "{header}");
        }
    }

    #[test]
    fn what_is_not_valid_or_not_sampled_is_no_trace() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            // Not sampled.
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02",
            // Not valid.
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(sampled_trace_id(header.as_bytes()), None, "{header}");
        }
    }

    /// The same as somebody else would write it, without an eye on the time that it takes.
    fn by_parts(header: &[u8]) -> Option<[u8; 32]> {
        let header = str::from_utf8(header).ok()?;
        let mut parts = header.splitn(5, '-');
        let mut hex = |length: usize| {
            let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            parts
                .next()
                .filter(|part| part.len() == length && part.chars().all(is_hex))
        };
        let (version, trace_id, parent_id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let has_more = parts.next().is_some();
        let is_zero = |id: &str| id.chars().all(|c| c == '0');
        if version == "ff" || (version == "00" && has_more) || is_zero(trace_id) || is_zero(parent_id) {
            return None;
        }
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        is_sampled.then(|| trace_id.as_bytes().try_into().unwrap())
    }

    proptest! {
        #[test]
        fn a_header_is_read_part_by_part(
            version in "00|ff|[0-9a-f]{2}",
            ids in "[0-9a-f]{32}-[0-9a-f]{16}|0{32}-[0-9a-f]{16}|[0-9a-f]{32}-0{16}",
            flags in "[0-9a-f]{2}",
            more in "|-|-more|x",
            changes in vec((0..60_usize, prop::sample::select(&b" -gA0f\x00"[..])), 0..3),
            length in 0..200_usize,
        ) {
            let mut header = format!("{version}-{ids}-{flags}{more}").into_bytes();
            for (at, byte) in changes {
                if let Some(changed) = header.get_mut(at) {
                    *changed = byte;
                }
            }
            header.truncate(length.max(40));
            prop_assert_eq!(sampled_trace_id(&header), by_parts(&header));
        }

        #[test]
        fn any_bytes_are_a_trace_or_none(header in vec(any::<u8>(), 0..80)) {
            if let Ok(text) = str::from_utf8(&header) {
                prop_assert_eq!(sampled_trace_id(text.as_bytes()), by_parts(text.as_bytes()));
            } else {
                prop_assert!(sampled_trace_id(&header).is_none_or(|id| id.is_ascii()));
            }
        }
    }
}
