//! This crate's own families, on their way into a scrape.
//!
//! Code that encodes a registry with prometheus-client gets them through its encoder. For text that this crate renders,
//! the encoder writes the header of a family and one line instead of all samples: they contain the name and the
//! labels of the registry, and the render then writes the samples itself.

use std::{fmt, rc::Rc};

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

use crate::exposition::{
    attached::{Attachment, attach, attach_samples},
    mark::begun_lines,
    samples::{Counter, Histogram, LabelPairs, Number, Output, Samples},
};

/// The lines of a family before its samples.
#[derive(Debug)]
pub(crate) struct Descriptor<'a> {
    pub(crate) name: &'a str,
    pub(crate) help: &'a str,
    /// The encoder adds it to the name.
    pub(crate) unit: Option<&'a Unit>,
    pub(crate) of_type: MetricType,
    /// Whether labels may clash with those of its registry; then they must be checked.
    pub(crate) has_unknown_labels: bool,
}

/// Encodes a family of this crate, or attaches its samples to the render that is running.
pub(crate) fn encode_family(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Descriptor<'_>,
    samples: impl Fn(&mut dyn Output) -> fmt::Result + 'static,
) -> fmt::Result {
    let Descriptor {
        name,
        help,
        unit,
        of_type,
        has_unknown_labels,
    } = *family;
    let before = begun_lines();
    let mut metric = encoder.encode_descriptor(name, help, unit, of_type)?;
    let samples: Samples = Rc::new(samples);
    // A collector may encode another registry in the middle of a render, and one may have been made elsewhere.
    if begun_lines() != before
        && let Some(marker) = attach_samples(&samples, has_unknown_labels)
    {
        return metric.encode_family(&[marker])?.encode_gauge(&0_i64);
    }
    samples(&mut Encoded(metric))
}

/// The way through the encoder of prometheus-client.
struct Encoded<'a>(MetricEncoder<'a>);

impl Output for Encoded<'_> {
    fn counter(&mut self, labels: &dyn LabelPairs, counter: Counter) -> fmt::Result {
        let exemplars = counter.exemplar.map(|exemplar| (0, exemplar));
        let marker = attach(Attachment {
            exemplars: exemplars.into_iter().collect(),
            created: counter.created,
        });
        self.0
            .encode_family(&EncodedLabels(labels, marker))?
            .encode_counter::<NoLabelSet, _, u64>(&counter.count, None)
    }

    fn gauge(&mut self, labels: &dyn LabelPairs, value: Number) -> fmt::Result {
        let labels = EncodedLabels(labels, None);
        let mut metric = self.0.encode_family(&labels)?;
        match value {
            Number::Whole(value) => metric.encode_gauge(&value),
            Number::Float(value) => metric.encode_gauge(&value),
        }
    }

    fn histogram(&mut self, labels: &dyn LabelPairs, histogram: Histogram<'_>) -> fmt::Result {
        let Histogram {
            sum,
            buckets,
            exemplars,
            native,
            created,
        } = histogram;
        let labels = EncodedLabels(labels, attach(Attachment { exemplars, created }));
        let mut metric = self.0.encode_family(&labels)?;
        let count = buckets.iter().map(|(_, count)| count).sum();
        match native {
            Some(native) => {
                metric.encode_histogram_with_native::<NoLabelSet>(sum, count, buckets, None, native)
            }
            None => metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None),
        }
    }
}

/// Labels, and the one that tells the render what is attached to their series.
struct EncodedLabels<'a>(&'a dyn LabelPairs, Option<(&'static str, String)>);

impl EncodeLabelSet for EncodedLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0
            .for_each(&mut |name, value| (name, value).encode(encoder.encode_label()))?;
        match &self.1 {
            Some((name, value)) => (*name, value.as_str()).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}
