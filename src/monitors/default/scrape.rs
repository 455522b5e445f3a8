//! One scrape of a default monitor.

use std::{fmt, rc::Rc, sync::Arc};

use actix_web::http::StatusCode;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use crate::{
    exposition::samples::Output,
    monitors::default::{
        families::{FamilyEncoder, InProgress},
        labels::CustomLabels,
        objectives::Objective,
        storage::DefaultStorage,
        table::Content,
    },
    series::{SeriesKey, Snapshot, Totals, grouping::ByStatus},
};

/// Encodes all families from one snapshot, so that they agree.
#[derive(Debug)]
pub(super) struct DefaultCollector(pub(super) Arc<DefaultStorage>);

impl Collector for DefaultCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let scrape = Rc::new(Scrape::begin(&self.0));
        for (index, (content, family)) in self.0.families.iter().enumerate() {
            let scrape = Rc::clone(&scrape);
            family.encode(&mut encoder, content.metric_type(), move |output| {
                scrape.write(index, output)
            })?;
        }
        Ok(())
    }
}

/// The numbers of one scrape.
struct Scrape {
    storage: Arc<DefaultStorage>,
    snapshot: Snapshot<CustomLabels>,
    in_progress: Vec<InProgress>,
    /// The same, with their peaks.
    peaks: Vec<InProgress>,
    /// The keys of series without requests, of which there is one for each objective.
    objectives: Vec<SeriesKey<CustomLabels>>,
    /// The numbers of such a series.
    none: Vec<u64>,
}

impl Scrape {
    fn begin(storage: &Arc<DefaultStorage>) -> Self {
        let snapshot = storage.series.snapshot();
        let in_progress = if storage.shows_in_progress() {
            InProgress::look(&storage.in_flight, snapshot.all().map(|totals| totals.key))
        } else {
            Vec::new()
        };
        let mut peaks = Vec::new();
        if let Some(all) = &storage.peaks {
            peaks.clone_from(&in_progress);
            all.for_each(|method, route, peak| peaks.push(InProgress::peak(method, route, peak)));
            InProgress::sort(&mut peaks);
        }
        let objectives = storage.objectives.iter().flat_map(|objectives| &objectives.all);
        Self {
            objectives: objectives
                .map(|objective| SeriesKey {
                    method: "",
                    route: Arc::clone(&objective.route),
                    status: StatusCode::OK,
                    attributes: CustomLabels::NONE,
                })
                .collect(),
            none: vec![0; storage.series.measures().width],
            storage: Arc::clone(storage),
            snapshot,
            in_progress,
            peaks,
        }
    }

    /// Writes the samples of the family at this index.
    fn write(&self, index: usize, output: &mut dyn Output) -> fmt::Result {
        let families = &self.storage.families;
        let measures = self.storage.series.measures();
        let (content, family) = &families[index];
        let distribution = match content {
            Content::Requests => {
                return family.write_count(output, self.snapshot.all(), &measures.latency);
            }
            Content::InProgress => {
                return family.write_gauge(output, &self.in_progress, InProgress::number);
            }
            Content::OldestInProgress => {
                return family.write_gauge(output, &self.in_progress, InProgress::oldest_seconds);
            }
            Content::PeakInProgress => {
                return family.write_gauge(output, &self.peaks, InProgress::most);
            }
            Content::ObjectiveMet => return self.write_judged(family, output, 0),
            Content::ObjectiveMissed => return self.write_judged(family, output, 1),
            Content::ObjectiveRatio => {
                return self.write_objectives(family, output, |objective| objective.ratio);
            }
            Content::ObjectiveSeconds => {
                return self.write_objectives(family, output, |objective| objective.within.as_secs_f64());
            }
            Content::Latency => &measures.latency,
            Content::Further(..) => {
                // The measures are in the order of the families.
                let before = families[..index].iter();
                let before = before.filter(|(content, _)| matches!(content, Content::Further(..)));
                &measures.further[before.count()]
            }
        };
        family.write_distribution(output, self.snapshot.all(), distribution)
    }
    /// Writes the number of requests that met or missed the objectives.
    fn write_judged(&self, family: &FamilyEncoder, output: &mut dyn Output, bucket: usize) -> fmt::Result {
        let Some(judged) = self.storage.series.measures().further.last() else {
            return Ok(());
        };
        // Future methods and statuses are unknown.
        let has_zeros = !family.group_by.method && family.group_by.status == ByStatus::No;
        let zeros = self.objectives.iter().filter(|_| has_zeros).map(|key| Totals {
            key,
            numbers: &self.none,
            exemplars: &[],
            native: None,
            created: self.storage.created,
        });
        let objectives = self.storage.objectives.as_ref();
        let has_objective =
            |route: &str| objectives.is_some_and(|objectives| objectives.index_of(route).is_some());
        let all = self
            .snapshot
            .all()
            .filter(|totals| has_objective(&totals.key.route));
        let mut all: Vec<_> = zeros.chain(all).collect();
        all.sort_by(|a, b| a.key.cmp(b.key));
        family.write_bucket(output, all.into_iter(), (judged, bucket))
    }

    fn write_objectives(
        &self,
        family: &FamilyEncoder,
        output: &mut dyn Output,
        value: impl Fn(&Objective) -> f64,
    ) -> fmt::Result {
        let mut objectives = self
            .storage
            .objectives
            .iter()
            .flat_map(|objectives| &objectives.all);
        objectives.try_for_each(|objective| family.write_of_route(output, &objective.route, value(objective)))
    }
}
