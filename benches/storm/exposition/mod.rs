//! Scrapes, read strictly and by nothing that this crate is made of: the text formats line by line, protobuf field by
//! field.

mod protobuf;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    Text,
    Protobuf,
}

pub type Labels = Vec<(String, String)>;

#[derive(Debug)]
struct Sample {
    labels: Labels,
    value: f64,
    /// Whether it only grows.
    is_monotonic: bool,
}

/// What a scrape says, whatever its format.
#[derive(Debug, Default)]
pub struct Scrape {
    /// By name and, in it, by labels.
    samples: BTreeMap<String, BTreeMap<Labels, Sample>>,
    families: BTreeSet<String>,
}

impl Scrape {
    pub fn read(format: Format, body: &[u8]) -> Result<Self, String> {
        match format {
            Format::Protobuf => Self::from_protobuf(body),
            Format::OpenMetrics | Format::Text => {
                let text = str::from_utf8(body).map_err(|error| error.to_string())?;
                Self::from_text(text, format == Format::OpenMetrics)
            }
        }
    }

    /// The sum over the series of this name.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// The series of this name: their labels, by name, and their values.
    pub fn series(&self, name: &str) -> impl Iterator<Item = (BTreeMap<&str, &str>, f64)> {
        let series = self.samples.get(name).into_iter().flat_map(BTreeMap::values);
        series.map(|sample| {
            let labels = sample.labels.iter().map(|(name, value)| (&**name, &**value));
            (labels.collect(), sample.value)
        })
    }

    pub fn number_of_series(&self) -> usize {
        self.samples.values().map(BTreeMap::len).sum()
    }

    /// The values that only grow, sorted by a hash of name and labels: all that is kept of a scrape.
    pub fn monotonic(&self) -> Vec<(u64, f64)> {
        let mut all: Vec<_> = self
            .all_monotonic()
            .map(|(hash, _, sample)| (hash, sample.value))
            .collect();
        all.sort_by_key(|(hash, _)| *hash);
        all.shrink_to_fit();
        all
    }

    fn all_monotonic(&self) -> impl Iterator<Item = (u64, &str, &Sample)> {
        let all = self
            .samples
            .iter()
            .flat_map(|(name, series)| series.values().map(move |sample| (name, sample)));
        let monotonic = all.filter(|(_, sample)| sample.is_monotonic);
        monotonic.map(|(name, sample)| {
            let mut hasher = DefaultHasher::new();
            (name, &sample.labels).hash(&mut hasher);
            (hasher.finish(), &**name, sample)
        })
    }

    /// What has become less since an earlier scrape, or is no longer there.
    pub fn less_than(&self, earlier: &[(u64, f64)]) -> Option<String> {
        let mut missing = earlier.len();
        for (hash, name, sample) in self.all_monotonic() {
            let Ok(index) = earlier.binary_search_by_key(&hash, |(hash, _)| *hash) else {
                continue;
            };
            let before = earlier[index].1;
            if sample.value < before {
                return Some(format!(
                    "{name}{:?} was {before}, is {}",
                    sample.labels, sample.value
                ));
            }
            missing -= 1;
        }
        (missing > 0).then(|| format!("{missing} series are gone"))
    }

    fn add(&mut self, name: &str, mut labels: Labels, value: f64, is_monotonic: bool) -> Result<(), String> {
        labels.sort();
        if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("{name}: a label twice in {labels:?}"));
        }
        if let Some((label, _)) = labels.iter().find(|(label, _)| !is_name(label, false)) {
            return Err(format!("{name}: the label {label:?}"));
        }
        if is_monotonic && (value < 0.0 || value.is_nan()) {
            return Err(format!("{name}{labels:?} is {value}"));
        }
        let sample = Sample {
            labels: labels.clone(),
            value,
            is_monotonic,
        };
        if !self.samples.contains_key(name) {
            self.samples.insert(name.to_owned(), BTreeMap::new());
        }
        let series = self.samples.get_mut(name).expect("just inserted");
        match series.insert(labels, sample) {
            None => Ok(()),
            Some(twice) => Err(format!("{name}{:?} is there twice", twice.labels)),
        }
    }

    fn add_family(&mut self, name: &str) -> Result<(), String> {
        if !is_name(name, true) {
            return Err(format!("the family {name:?}"));
        }
        if !self.families.insert(name.to_owned()) {
            return Err(format!("the family {name} is there twice"));
        }
        Ok(())
    }
}

/// What holds among the samples of one series of a histogram, whose buckets come one after the other.
#[derive(Default)]
struct Buckets {
    /// The labels without `le`, the bound, and the number, of the bucket before.
    last: Option<(Labels, f64, f64)>,
    /// Counts may come before or after the buckets.
    counts: BTreeMap<Labels, f64>,
    infinite: BTreeMap<Labels, f64>,
}

impl Buckets {
    fn see(&mut self, suffix: &str, labels: &Labels, value: f64) -> Result<(), String> {
        let mut others = labels.clone();
        others.retain(|(name, _)| name != "le");
        others.sort();
        match suffix {
            "_count" => drop(self.counts.insert(others, value)),
            "_bucket" => {
                let bound = labels
                    .iter()
                    .find(|(name, _)| name == "le")
                    .ok_or("a bucket without `le`")?;
                let bound = number(&bound.1).ok_or("a bound that is no number")?;
                if let Some((of, before, below)) = &self.last
                    && *of == others
                    && (bound <= *before || value < *below)
                {
                    return Err("a bucket below the one before".into());
                }
                if bound == f64::INFINITY {
                    self.infinite.insert(others.clone(), value);
                }
                self.last = Some((others, bound, value));
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares the infinite buckets with the counts, at the end of a family.
    fn end(&mut self) -> Result<(), String> {
        if self.last.is_some() && self.infinite != self.counts {
            return Err("infinite buckets that are not the counts".into());
        }
        *self = Self::default();
        Ok(())
    }
}

fn is_name(name: &str, is_metric: bool) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || is_metric && c == ':';
    name.starts_with(starts) && name.chars().all(|c| starts(c) || c.is_ascii_digit())
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}
