//! What a collector of this crate attaches to the render that is running on its thread.
//!
//! prometheus-client encodes exemplars and start timestamps only for its built-in metrics, and is slow with samples. So
//! a collector attaches them, and marks the place with a label that the render removes.

use std::{cell::RefCell, ops::Range, rc::Rc, time::SystemTime};

use crate::exposition::{exemplar::OfSeries, mark::token, samples::Samples};

/// The parts of a series that prometheus-client cannot encode.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) exemplars: OfSeries,
    /// When the series began.
    #[cfg_attr(
        not(feature = "protobuf"),
        expect(dead_code, reason = "no text format has it without a series")
    )]
    pub(crate) created: SystemTime,
}

/// The samples of a family that the render writes.
pub(crate) struct AttachedSamples {
    pub(crate) samples: Samples,
    /// Whether their labels may clash with those of their registry.
    pub(crate) has_unknown_labels: bool,
}

/// What a render accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Exemplars and start timestamps of single series.
    #[cfg(feature = "protobuf")]
    Series,
    /// The same, and the samples of whole families.
    Samples,
}

/// Everything attached to one render.
#[derive(Default)]
pub(crate) struct Attached {
    pub(crate) to_series: Vec<Attachment>,
    pub(crate) samples: Vec<AttachedSamples>,
}

thread_local! {
/// For the render that is running on this thread.
    static PENDING: RefCell<Option<(Takes, Attached)>> = const { RefCell::new(None) };
}

/// The label that marks a place.
pub(crate) type Marker = (&'static str, String);

/// The beginning of a marker's value, if the marker is that of samples.
const SAMPLES: &str = "samples ";

/// The index of the samples that are attached to a family, and where the labels of its registry are.
pub(crate) fn find_samples(
    text: &str,
    name: &Range<usize>,
    samples: &Range<usize>,
) -> Option<(usize, Range<usize>)> {
    let line = text[samples.clone()].strip_suffix('\n')?;
    let behind_name = line.strip_prefix(&text[name.clone()])?;
    let (labels, marker) = behind_name
        .split_once('\n')
        .is_none()
        .then(|| behind_name.split_once(token()))??;
    let (marker, _) = marker.strip_prefix("=\"")?.split_once('"')?;
    let index = marker.strip_prefix(SAMPLES)?.parse().ok()?;
    let labels = labels.strip_prefix('{')?;
    let begin = samples.start + name.len() + 1;
    let labels = labels.strip_suffix(',').unwrap_or(labels);
    Some((index, begin..begin + labels.len()))
}

/// Attaches to one series; `None` if other code encodes.
pub(crate) fn attach(attachment: Attachment) -> Option<Marker> {
    PENDING.with_borrow_mut(|pending| {
        let (_, attached) = pending.as_mut()?;
        attached.to_series.push(attachment);
        Some((token(), (attached.to_series.len() - 1).to_string()))
    })
}

/// Attaches the samples of a family; `None` if the render does not accept them, or if other code encodes.
pub(crate) fn attach_samples(samples: &Samples, has_unknown_labels: bool) -> Option<Marker> {
    PENDING.with_borrow_mut(|pending| {
        let (_, attached) = pending.as_mut().filter(|(takes, _)| *takes == Takes::Samples)?;
        attached.samples.push(AttachedSamples {
            samples: Rc::clone(samples),
            has_unknown_labels,
        });
        Some((token(), format!("{SAMPLES}{}", attached.samples.len() - 1)))
    })
}

/// Encodes, and returns what was attached meanwhile.
pub(crate) fn attached_by<T>(takes: Takes, encode: impl FnOnce() -> T) -> (T, Attached) {
    // A collector may scrape another registry.
    let outer = PENDING.replace(Some((takes, Attached::default())));
    let encoded = encode();
    let pending = PENDING.replace(outer);
    (encoded, pending.map(|(_, attached)| attached).unwrap_or_default())
}
