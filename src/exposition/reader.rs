//! Reads the families that prometheus-client encodes, and finds what would break the format.
//!
//! prometheus-client checks neither names nor values, and a registry cannot be listed. One bad line makes
//! Prometheus refuse the lines around it, or silently lose half of them. So every scrape is read, line by line, against
//! OpenMetrics 1.0: a family with an invalid name is omitted, and so are invalid series of other families.

use crate::exposition::{
    encoded::{Encoded, Section},
    family::{
        Family, INFO_WITH_UNIT, Kind, NO_METRIC_NAME, REGISTERED_TWICE, Reason, SeenSeries, TakenNames,
        is_metric_name,
    },
    rendered::Omitted,
    series::{Fault, SeriesReader},
};

/// Reads all families, and adds the invalid ones to `omitted`.
pub(crate) fn read<'a>(encoded: &'a Encoded, omitted: &mut Vec<Omitted>) -> Vec<Family<'a>> {
    let mut families = Families::default();
    for section in encoded.sections() {
        let name = match &section {
            Ok(section) => section.name,
            Err((name, _)) => name,
        };
        let read = section
            .map_err(|(_, reason)| reason)
            .and_then(|section| families.read(&section));
        match read {
            Ok(None) => {}
            Ok(Some(fault)) => omitted.push(Omitted::series(fault.series, name, fault.reason)),
            Err(reason) => {
                let name = name.split([' ', '\n']).next().unwrap_or_default();
                omitted.push(Omitted::family(name, reason));
            }
        }
    }
    families.all
}

/// The families that have been read.
#[derive(Default)]
struct Families<'a> {
    all: Vec<Family<'a>>,
    taken: TakenNames,
    hasher: foldhash::fast::RandomState,
}

impl<'a> Families<'a> {
    /// Adds a family, or its series to the family of its name.
    fn read(&mut self, section: &Section<'a>) -> Result<Option<Fault>, Reason> {
        let name = section.name;
        if !is_metric_name(name) {
            return Err(NO_METRIC_NAME.into());
        }
        let kind = Kind::of(section.kind).ok_or(NO_METRIC_NAME)?;
        if kind == Kind::Info && section.unit.is_some() {
            return Err(INFO_WITH_UNIT.into());
        }
        let known = self.taken.find(name, kind)?;
        let mut new = Family {
            name,
            help: section.help,
            kind,
            unit: section.unit,
            samples: Vec::new(),
            own: section.own,
            sample_count: 0,
            is_rewritten: false,
            seen: SeenSeries::default(),
        };
        if new.own.is_some() && known.is_none() {
            self.taken.take(name, kind, self.all.len());
            self.all.push(new);
            return Ok(None);
        }
        let family = known.map_or(&mut new, |index| &mut self.all[index]);
        let mut reader = SeriesReader::new(family, &self.hasher);
        let fault = reader.read(section.samples);
        let (good, twice) = (reader.good, reader.twice);
        if let (0, Some(fault)) = (good, &fault) {
            return Err(if twice == fault.series {
                REGISTERED_TWICE.into()
            } else {
                fault.reason.clone()
            });
        }
        if known.is_none() {
            self.taken.take(name, kind, self.all.len());
            self.all.push(new);
        }
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::exposition::encoded::Encoded;

    /// In a build with checks prometheus-client panics rather than count over a `u64`; in others the sum wraps.
    #[test]
    fn a_histogram_whose_counts_fall_is_omitted() {
        let histogram = |name: &str, counts: [u64; 3]| {
            let [one, two, all] = counts;
            format!(
                "# HELP {name} h\n# TYPE {name} histogram\n{name}_sum 1.0\n{name}_count {all}\n\
                 {name}_bucket{{le=\"1.0\"}} {one}\n{name}_bucket{{le=\"2.0\"}} {two}\n\
                 {name}_bucket{{le=\"+Inf\"}} {all}\n"
            )
        };
        let text = [
            histogram("rises", [9, 9, 10]),
            histogram("falls", [10, 9, 10]),
            histogram("wraps", [u64::MAX, 0, 1]),
            histogram("large", [1, u64::MAX - 1, u64::MAX]),
        ];
        let encoded = Encoded::from_text(&text.concat());
        let mut omitted = Vec::new();
        let served: Vec<_> = read(&encoded, &mut omitted)
            .iter()
            .map(|family| family.name)
            .collect();
        assert_eq!(served, ["rises", "large"]);
        let reasons: Vec<_> = omitted.iter().map(ToString::to_string).collect();
        assert_eq!(reasons.len(), 2);
        assert!(
            reasons[0].starts_with("the family falls has buckets whose cumulative counts decrease;"),
            "{reasons:?}"
        );
        assert!(
            reasons[1].starts_with("the family wraps has buckets whose cumulative counts decrease;"),
            "{reasons:?}"
        );
    }
}
