//! The options of the default monitor, as its builder sets them.

use std::{borrow::Cow, collections::HashSet};

use crate::{
    error::Error,
    exposition::family::Kind,
    limit::DEFAULT_LIMIT,
    monitors::default::{
        exemplars::ExemplarSource,
        families::{FamilyEncoder, LabelNames},
        labels::CustomLabels,
        objectives::{Failures, Objective},
        table::{Content, DefaultFamily, DefaultLabels, FAMILIES, Row},
    },
    registry::names::{FamilyNames, MonitorNames},
    series::{
        SeriesKey,
        measures::{Measures, Scale},
        native::NativeOptions,
    },
};

/// The families of objectives.
const OF_OBJECTIVES: [DefaultFamily; 4] = [
    DefaultFamily::ObjectiveMet,
    DefaultFamily::ObjectiveMissed,
    DefaultFamily::ObjectiveRatio,
    DefaultFamily::ObjectiveSeconds,
];

/// The options of a builder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    /// For each of [`FAMILIES`].
    chosen: [Chosen; FAMILIES.len()],
    pub(super) prefix: Option<Cow<'static, str>>,
    /// The series that start at 0.
    pub(super) zeros: Vec<SeriesKey<CustomLabels>>,
    pub(super) exemplars: Option<ExemplarSource>,
    pub(super) native: Option<NativeOptions>,
    pub(super) max_label_sets: usize,
    pub(super) objectives: Vec<Objective>,
    pub(super) failures: Option<Failures>,
}

/// The options of one family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    /// `None` for those of the table.
    pub(super) labels: Option<LabelNames>,
    pub(super) bounds: Cow<'static, [f64]>,
    pub(super) is_on: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chosen: FAMILIES.each_ref().map(|row| Chosen {
                name: row.name.into(),
                help: row.help.into(),
                labels: None,
                bounds: row.bounds.into(),
                is_on: row.is_on,
            }),
            prefix: None,
            zeros: Vec::new(),
            exemplars: None,
            native: None,
            max_label_sets: DEFAULT_LIMIT,
            objectives: Vec::new(),
            failures: None,
        }
    }
}

impl Config {
    pub(super) fn chosen(&self, family: DefaultFamily) -> &Chosen {
        &self.chosen[family as usize]
    }

    pub(super) fn chosen_mut(&mut self, family: DefaultFamily) -> &mut Chosen {
        &mut self.chosen[family as usize]
    }

    /// The families that are recorded, in the order of the scrape.
    pub(super) fn recorded(&self) -> impl Iterator<Item = (&'static Row, &Chosen)> {
        FAMILIES
            .iter()
            .zip(&self.chosen)
            .filter(|(_, chosen)| chosen.is_on)
    }

    pub(super) fn measures(&self) -> Measures {
        let measures = Measures::latency(&self.chosen(DefaultFamily::Latency).bounds)
            .and_exemplars(self.exemplars.is_some())
            .and_native(self.native);
        let measures = self
            .recorded()
            .fold(measures, |measures, (row, chosen)| match row.content {
                Content::Further(scale, _) => measures.and(&chosen.bounds, scale),
                _ => measures,
            });
        if self.objectives.is_empty() {
            return measures;
        }
        // The last one: 0 for a request that met the objective of its route, 1 for one that missed it.
        measures.and(&[0.0], Scale::Bytes)
    }

    /// Adds an objective, whose families are recorded from now on.
    pub(super) fn add_objective(&mut self, objective: Objective) {
        self.objectives.push(objective);
        for family in OF_OBJECTIVES {
            self.chosen_mut(family).is_on = true;
        }
    }

    /// The encoder of a family; `custom` says whether there are custom labels.
    pub(super) fn encoder(&self, row: &Row, custom: bool) -> FamilyEncoder {
        let chosen = self.chosen(row.family);
        let custom = custom && row.content.has_custom_labels();
        FamilyEncoder::new(
            chosen.name.clone(),
            chosen.help.clone(),
            self.labels(row.family),
            custom,
        )
    }

    fn labels(&self, family: DefaultFamily) -> LabelNames {
        if let Some(labels) = &self.chosen(family).labels {
            return labels.clone();
        }
        match FAMILIES[family as usize].labels {
            DefaultLabels::These(labels) => {
                labels.iter().map(|&(name, label)| (name.into(), label)).collect()
            }
            DefaultLabels::AsOf(other) => self.labels(other),
        }
    }

    /// The names of the families in a registry that puts `prefix` before them.
    pub(super) fn names(&self, prefix: &str) -> MonitorNames {
        let families = self.recorded().filter_map(|(row, chosen)| {
            let labels = self.labels(row.family).into_iter();
            Some(FamilyNames {
                role: row.content.role()?,
                name: format!("{prefix}{}", chosen.name),
                labels: labels
                    .map(|(name, label)| (name.into_owned(), label.role()))
                    .collect(),
            })
        });
        MonitorNames {
            families: families.collect(),
        }
    }

    /// The names of all labels of the families that have custom labels too.
    pub(super) fn label_names(&self) -> HashSet<String> {
        let families = FAMILIES.iter().filter(|row| row.content.has_custom_labels());
        let labels = families.flat_map(|row| self.labels(row.family));
        labels.map(|(name, _)| name.into_owned()).collect()
    }

    /// The names of the labels of all families that are recorded, without custom ones; those of buckets too.
    pub(super) fn own_labels(&self) -> HashSet<Cow<'static, str>> {
        let mut names = HashSet::new();
        for (row, _) in self.recorded() {
            names.extend(self.labels(row.family).into_iter().map(|(name, _)| name));
            if row.content.kind() == Kind::Histogram {
                names.insert("le".into());
            }
        }
        names
    }

    /// The same with another name for a family, unless the names of families or samples then clash, whether they
    /// are recorded or not.
    pub(super) fn renamed(&self, family: DefaultFamily, name: Cow<'static, str>) -> Result<Self, Error> {
        if family.content().kind() == Kind::Counter
            && let Some(without) = name.strip_suffix("_total")
        {
            return Err(Error::new(format!(
                "the encoder appends `_total` to {name:?}; call it {without:?}",
            )));
        }
        let mut config = self.clone();
        config.chosen_mut(family).name = name;
        let mut samples = HashSet::new();
        for (row, chosen) in FAMILIES.iter().zip(&config.chosen) {
            for suffix in row.content.kind().suffixes() {
                let sample = format!("{}{suffix}", chosen.name);
                if samples.contains(&sample) {
                    return Err(Error::new(format!(
                        "two families of this monitor would have samples called {sample:?}; \
                         choose another name, or rename the other family first",
                    )));
                }
                samples.insert(sample);
            }
        }
        Ok(config)
    }
}
