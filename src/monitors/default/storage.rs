//! The state that the workers of one default monitor share.

use std::{sync::Arc, time::SystemTime};

use crate::{
    in_flight::InFlight,
    monitors::default::{
        config::Config,
        exemplars::Exemplars,
        families::FamilyEncoder,
        labels::{CustomLabels, LabelSets},
        objectives::Objectives,
        peaks::Peaks,
        table::{Content, DefaultFamily, Ended},
    },
    series::Series,
};

/// The state that the workers share and a scrape encodes.
#[derive(Debug)]
pub(super) struct DefaultStorage {
    pub(super) series: Arc<Series<CustomLabels>>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) families: Vec<(Content, FamilyEncoder)>,
    /// The values of the further measures, in the order of the families; without the last measure, if there
    /// are objectives.
    pub(super) further: Vec<fn(&Ended<'_>) -> Option<u64>>,
    pub(super) label_sets: Arc<LabelSets>,
    pub(super) exemplars: Option<Exemplars>,
    pub(super) objectives: Option<Objectives>,
    pub(super) peaks: Option<Peaks>,
    pub(super) counts_request_body: bool,
    pub(super) times_queue: bool,
    pub(super) times_polls: bool,
    pub(super) created: SystemTime,
}

impl DefaultStorage {
    /// For these options; `has_labels` says whether there are custom labels.
    pub(super) fn new(config: &Config, has_labels: bool) -> Self {
        let families = config.recorded();
        let families = families.map(|(row, _)| (row.content, config.encoder(row, has_labels)));
        let families: Vec<_> = families.collect();
        let further = families.iter().filter_map(|(content, _)| match content {
            Content::Further(_, value) => Some(*value),
            _ => None,
        });
        let peaks = families
            .iter()
            .find(|(content, _)| matches!(content, Content::PeakInProgress));
        let is_on = |family| config.chosen(family).is_on;
        let series = Series::new(config.measures());
        for key in &config.zeros {
            series.add(key.clone());
        }
        Self {
            series,
            in_flight: Arc::default(),
            further: further.collect(),
            peaks: peaks.map(|(_, family)| Peaks::new(family.group_by)),
            families,
            label_sets: Arc::new(LabelSets::new(config.max_label_sets, config.label_names())),
            exemplars: config.exemplars.clone().map(Exemplars::new),
            objectives: (!config.objectives.is_empty())
                .then(|| Objectives::new(config.objectives.clone(), config.failures.clone())),
            counts_request_body: is_on(DefaultFamily::RequestBodyBytes),
            times_queue: is_on(DefaultFamily::QueueTime),
            times_polls: is_on(DefaultFamily::TimeOnWorker) || is_on(DefaultFamily::LongestPoll),
            created: SystemTime::now(),
        }
    }

    pub(super) fn shows_in_progress(&self) -> bool {
        self.families.iter().any(|(content, _)| content.is_in_progress())
    }

    pub(super) fn shows_ages(&self) -> bool {
        let mut contents = self.families.iter().map(|(content, _)| content);
        contents.any(|content| matches!(content, Content::OldestInProgress))
    }
}
