//! What prometheus-client encodes of registries, family by family.
//!
//! It checks neither names nor labels nor help. In registries that this crate hands out a mark tells where lines begin,
//! whatever is in them; of others the text is read.

use std::{collections::HashMap, fmt, ops::Range};

use prometheus_client::{encoding, registry::Registry};

use crate::exposition::{
    attached::{AttachedSamples, find_samples},
    direct::Lines as OwnLines,
    family::{CUT_OFF, NO_METRIC_NAME, Own, Reason},
    mark::{MARK_LENGTH, count_begun_line, is_end_of_metrics, split_at_mark, token},
    rendered::{Omitted, contain},
};

/// The text of registries.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    text: String,
    places: Vec<Place>,
}

/// The place of a family in the text.
#[derive(Debug, Default)]
struct Place {
    /// The index of the samples that this crate writes itself, and where the labels of the registry are.
    own: Option<(usize, Range<usize>)>,
    name: Range<usize>,
    help: Range<usize>,
    kind: Range<usize>,
    unit: Range<usize>,
    samples: Range<usize>,
    /// Why it cannot be read.
    fault: Option<Reason>,
}

/// A family as it was encoded.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    /// As it was given, not escaped.
    pub(crate) help: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) unit: Option<&'a str>,
    /// Whole lines.
    pub(crate) samples: &'a str,
    pub(crate) own: Option<Own<'a>>,
}

impl Encoded {
    /// Adds everything that `registry` encodes. If a metric fails, those after it in the same registry are not encoded.
    pub(crate) fn add(&mut self, registry: &Registry, omitted: &mut Vec<Omitted>) {
        let begin = self.text.len();
        let first = self.places.len();
        let mut lines = Lines {
            begin,
            line: Line::Unmarked,
            prefix: 0,
            drops_underscore: false,
            encoded: self,
        };
        let result = contain(|| encoding::text::encode_registry(&mut lines, registry));
        lines.end();
        if lines.line == Line::Unmarked {
            self.find_places(begin);
        }
        let has_named_family = self.places.len() > first && !self.drop_end_of_metrics();
        if let Err(reason) = result {
            // It may be the last family that failed, or a collector without one.
            let failed = has_named_family.then(|| self.places.pop()).flatten();
            let family = failed.map_or("", |place| &self.text[place.name]);
            omitted.push(Omitted::family(family, reason));
        }
    }

    /// Forgets the last family, if it is that of [`EndOfMetrics`].
    fn drop_end_of_metrics(&mut self) -> bool {
        let is_last = |place: &mut Place| is_end_of_metrics(&self.text[place.name.clone()]);
        self.places.pop_if(is_last).is_some()
    }

    /// The families, or the names of those that cannot be read and why.
    pub(crate) fn sections(&self) -> impl Iterator<Item = Result<Section<'_>, (&str, Reason)>> {
        self.places.iter().map(|place| {
            let text = |range: &Range<usize>| &self.text[range.clone()];
            if let Some(fault) = &place.fault {
                return Err((text(&place.name), fault.clone()));
            }
            Ok(Section {
                name: text(&place.name),
                help: text(&place.help),
                kind: text(&place.kind),
                unit: Some(text(&place.unit)).filter(|unit| !unit.is_empty()),
                samples: text(&place.samples),
                own: place.own.as_ref().map(|(samples, labels)| Own {
                    samples: *samples,
                    constant_labels: text(labels),
                }),
            })
        })
    }

    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Self {
        let mut encoded = Self {
            text: text.to_owned(),
            places: Vec::new(),
        };
        encoded.find_places(0);
        encoded
    }

    /// Finds the families whose samples are attached. Those that may have series or labels which are there already are
    /// written now, to be read.
    pub(crate) fn find_own(&mut self, attached: &[AttachedSamples]) {
        let mut counts = HashMap::new();
        for place in &self.places {
            *counts.entry(&self.text[place.name.clone()]).or_insert(0) += 1;
        }
        let is_alone: Vec<_> = self
            .places
            .iter()
            .map(|place| counts[&self.text[place.name.clone()]] == 1)
            .collect();
        for (place, is_alone) in self.places.iter_mut().zip(is_alone) {
            let Some((index, labels)) = find_samples(&self.text, &place.name, &place.samples) else {
                continue;
            };
            let Some(own) = attached.get(index) else {
                continue;
            };
            if is_alone && (labels.is_empty() || !own.has_unknown_labels) {
                place.own = Some((index, labels));
                continue;
            }
            let mut samples = String::new();
            let name = (&self.text[place.name.clone()], &self.text[labels]);
            // Writing to a string does not fail.
            let _ = (own.samples)(&mut OwnLines::new(&mut samples, name, true));
            place.samples = self.text.len()..self.text.len() + samples.len();
            self.text.push_str(&samples);
        }
    }

    /// Finds the families in text without marks: that of a registry which was made elsewhere.
    fn find_places(&mut self, begin: usize) {
        const HELP: &str = "# HELP ";
        let text = &self.text;
        let mut at = begin;
        while let Some(family) = text[at..].strip_prefix(HELP) {
            let begin_of_name = at + HELP.len();
            let end_of_name = begin_of_name + family.find([' ', '\n']).unwrap_or(family.len());
            let next_family = |from: usize| {
                let mut lines = text[from..].match_indices("\n# HELP ");
                lines.next().map_or(text.len(), |(index, _)| from + index + 1)
            };
            let read = read_header(text, begin_of_name..end_of_name);
            let place = match read {
                Ok(place) => {
                    let from = place.samples.start;
                    let end = if text[from..].starts_with(HELP) {
                        from
                    } else {
                        next_family(from)
                    };
                    Place {
                        samples: from..end,
                        ..place
                    }
                }
                Err(fault) => Place {
                    name: begin_of_name..end_of_name,
                    samples: end_of_name..next_family(end_of_name),
                    fault: Some(fault),
                    ..Place::default()
                },
            };
            at = place.samples.end;
            self.places.push(place);
        }
    }
}

/// Reads the first lines of a family without marks, whose help may span several; the samples begin after them.
fn read_header(text: &str, name: Range<usize>) -> Result<Place, Reason> {
    let after_help = format!("\n# TYPE {} ", &text[name.clone()]);
    let help = name.end + 1;
    let end_of_help = text
        .get(help..)
        .and_then(|text| text.find(&after_help))
        .ok_or(NO_METRIC_NAME)?
        + help;
    let kind = end_of_help + after_help.len();
    let line_end = |from: usize| text[from..].find('\n').map(|end| from + end).ok_or(CUT_OFF);
    let end_of_kind = line_end(kind)?;
    let mut samples = end_of_kind + 1;
    let before_unit = format!("# UNIT {} ", &text[name.clone()]);
    let mut unit = 0..0;
    if text[samples..].starts_with(&before_unit) {
        unit = samples + before_unit.len()..line_end(samples)?;
        samples = unit.end + 1;
    }
    Ok(Place {
        name,
        help: help..end_of_help,
        kind: kind..end_of_kind,
        unit,
        samples: samples..samples,
        ..Place::default()
    })
}

/// The kind of line that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// There has been no mark.
    Unmarked,
    Help,
    Type,
    Unit,
    Sample,
}

impl Line {
    /// The keyword before its mark.
    fn keyword(self) -> &'static str {
        match self {
            Self::Help => "# HELP ",
            Self::Type => "# TYPE ",
            Self::Unit => "# UNIT ",
            Self::Unmarked | Self::Sample => "",
        }
    }
}

/// Without an early return, so that the compiler vectorizes the loop.
#[inline]
fn has_newline(text: &str) -> bool {
    text.bytes()
        .fold(0, |found, byte| found | u8::from(byte == b'\n'))
        != 0
}

/// Receives what a registry encodes, and finds its lines by their marks.
struct Lines<'a> {
    encoded: &'a mut Encoded,
    /// Where the line begins, behind its keyword.
    begin: usize,
    line: Line,
    /// The length of the text before the mark.
    prefix: usize,
    /// Whether the character that prometheus-client writes behind a prefix is still to come.
    drops_underscore: bool,
}

impl fmt::Write for Lines<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() < MARK_LENGTH {
            self.push(text);
        } else {
            self.push_with_marks(text);
        }
        Ok(())
    }
}

impl Lines<'_> {
    #[inline]
    fn push(&mut self, mut text: &str) {
        if self.drops_underscore && !text.is_empty() {
            text = text.strip_prefix('_').unwrap_or(text);
            self.drops_underscore = false;
        }
        self.encoded.text.push_str(text);
    }

    fn push_with_marks(&mut self, mut text: &str) {
        // Nearly all are like the one before.
        if text.len() == self.prefix + MARK_LENGTH
            && text.as_bytes()[self.prefix..].starts_with(token().as_bytes())
        {
            self.begin_line(&text[..self.prefix]);
            return;
        }
        while let Some((prefix, behind)) = split_at_mark(text) {
            self.prefix = prefix.len();
            self.begin_line(prefix);
            text = behind;
        }
        self.push(text);
    }

    /// Ends the line so far, and begins the one that has a mark here, behind a prefix.
    #[inline]
    fn begin_line(&mut self, prefix: &str) {
        count_begun_line();
        let text = &self.encoded.text;
        let is_sample = matches!(self.line, Line::Sample | Line::Unit | Line::Type) && text.ends_with('\n');
        let next = if is_sample { Line::Sample } else { self.next_line() };
        self.end_line(text.len() - next.keyword().len());
        if next == Line::Help {
            self.encoded.drop_end_of_metrics();
            self.encoded.places.push(Place::default());
        }
        self.begin = self.encoded.text.len();
        self.line = next;
        self.encoded.text.push_str(prefix);
        self.drops_underscore = true;
    }

    /// What begins behind the keyword that was written last.
    fn next_line(&self) -> Line {
        let possible: &[_] = match self.line {
            Line::Help => &[Line::Type],
            Line::Type => &[Line::Unit, Line::Help],
            Line::Unmarked | Line::Unit | Line::Sample => &[Line::Help],
        };
        let so_far = &self.encoded.text[self.begin..];
        // A whole sample ends with a newline, and is not asked about.
        let is_cut_off = self.line == Line::Sample;
        let is_next = |line: &Line| {
            let so_far = so_far.strip_suffix(line.keyword());
            so_far.is_some_and(|so_far| is_cut_off || so_far.is_empty() || so_far.ends_with('\n'))
        };
        possible.iter().copied().find(is_next).unwrap_or(Line::Sample)
    }

    /// Reads the line that ends here; what is behind it is the keyword of the next one.
    #[inline]
    fn end_line(&mut self, end: usize) {
        let begin = self.begin;
        let text = &mut self.encoded.text;
        let Some(place) = self.encoded.places.last_mut() else {
            return;
        };
        let has_end = text[begin..end].ends_with('\n');
        let content = begin..end - usize::from(has_end);
        match self.line {
            Line::Unmarked => {}
            Line::Help => place.help = content,
            Line::Type => {
                // Until now it was name and help.
                let help = &text[place.help.clone()];
                let name = if has_end {
                    text[content.clone()]
                        .rsplit_once(' ')
                        .map_or("", |(name, _)| name)
                } else {
                    help.split(' ').next().unwrap_or_default()
                };
                match help.strip_prefix(name).and_then(|help| help.strip_prefix(' ')) {
                    Some(help) => {
                        place.name = place.help.start..place.help.start + name.len();
                        place.kind = (begin + name.len() + 1).min(content.end)..content.end;
                        place.help.start = place.help.end - help.len();
                    }
                    None => place.fault = Some(NO_METRIC_NAME.into()),
                }
                place.samples = end..end;
            }
            Line::Unit => {
                place.unit = (begin + place.name.len() + 1).min(content.end)..content.end;
                place.samples = end..end;
            }
            Line::Sample => {
                // A newline in a name must not split the line.
                if has_newline(&text[content.clone()]) {
                    let line = text[content.clone()].replace('\n', "\0");
                    text.replace_range(content, &line);
                }
                if has_end {
                    place.samples.end = end;
                } else {
                    text.insert(end, '\n');
                    place.samples.end = end + 1;
                }
            }
        }
    }

    /// Reads the last line.
    fn end(&mut self) {
        if self.line != Line::Unmarked {
            self.end_line(self.encoded.text.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, GaugeValueEncoder, MetricEncoder},
        metrics::{MetricType, gauge::ConstGauge},
        registry::{Registry, Unit},
    };
    use std::fmt;

    use super::Encoded;
    use crate::exposition::{family::CUT_OFF, mark::new_part};

    #[derive(Debug)]
    struct Fails;

    impl Collector for Fails {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }

    #[test]
    fn families_are_the_same_with_marks_and_without() {
        let register = |registry: &mut Registry| {
            registry.register("x", "Help", ConstGauge::new(1_i64));
            registry.register_with_unit("y", "Help\n# TYPE y gauge", Unit::Bytes, ConstGauge::new(2_i64));
            let shop = registry.sub_registry_with_prefix("shop");
            shop.register("z", "", ConstGauge::new(3_i64));
        };
        let mut root = Registry::with_prefix("a");
        let mut part = new_part(&mut root);
        register(&mut root);
        register(&mut part);
        let sections = |registry: &Registry| {
            let mut encoded = Encoded::default();
            let mut omitted = Vec::new();
            encoded.add(registry, &mut omitted);
            assert!(omitted.is_empty(), "{omitted:?}");
            let sections = encoded
                .sections()
                .map(|section| format!("{:?}", section.unwrap()));
            sections.collect::<Vec<_>>()
        };
        assert_eq!(sections(&part), sections(&root));
        assert_eq!(
            sections(&part),
            [
                r#"Section { name: "a_x", help: "Help.", kind: "gauge", unit: None, samples: "a_x 1\n", own: None }"#,
                r#"Section { name: "a_y_bytes", help: "Help\n# TYPE y gauge.", kind: "gauge", unit: Some("bytes"), samples: "a_y_bytes 2\n", own: None }"#,
                r#"Section { name: "a_shop_z", help: ".", kind: "gauge", unit: None, samples: "a_shop_z 3\n", own: None }"#,
            ],
        );
    }

    /// A gauge that goes on after its value failed.
    #[derive(Debug)]
    struct HasNoValue;

    impl EncodeGaugeValue for HasNoValue {
        fn encode(&self, _: &mut GaugeValueEncoder<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }

    impl EncodeMetric for HasNoValue {
        fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
            encoder.encode_family(&[("n", "1")])?.encode_gauge(&1_i64)?;
            let _ = encoder.encode_family(&[("n", "2")])?.encode_gauge(self);
            Ok(())
        }

        fn metric_type(&self) -> MetricType {
            MetricType::Gauge
        }
    }

    #[test]
    fn a_line_that_is_cut_off_ends_before_the_next_family() {
        let mut part = new_part(&mut Registry::default());
        part.register("x", "Help", HasNoValue);
        part.register("y", "Help", ConstGauge::new(1_i64));
        let mut encoded = Encoded::default();
        encoded.add(&part, &mut Vec::new());
        let samples: Vec<_> = encoded
            .sections()
            .map(|section| section.unwrap().samples)
            .collect();
        assert_eq!(samples, ["x{n=\"1\"} 1\nx{n=\"2\"}\n", "y 1\n"]);
    }

    /// A registry that was made elsewhere, and that failed.
    #[test]
    fn text_that_is_cut_off_in_a_header_tells_of_which_family() {
        for header in [
            "# HELP y Help\n# TYPE y gau",
            "# HELP y Help\n# TYPE y gauge\n# UNIT y s",
        ] {
            let encoded = Encoded::from_text(&format!("# HELP x Help\n# TYPE x gauge\nx 1\n{header}"));
            let mut sections = encoded.sections();
            assert_eq!(sections.next().unwrap().unwrap().samples, "x 1\n");
            assert_eq!(sections.next().unwrap().unwrap_err(), ("y", CUT_OFF.into()));
            assert!(sections.next().is_none());
        }
    }

    #[test]
    fn a_registry_that_was_made_elsewhere_loses_no_more_than_a_block_and_what_is_behind() {
        let mut registry = Registry::default();
        for n in 0..1_000 {
            registry.register(format!("x{n}"), "Help", ConstGauge::new(n));
        }
        registry.register_collector(Box::new(Fails));
        let mut encoded = Encoded::default();
        let mut omitted = Vec::new();
        encoded.add(&registry, &mut omitted);
        assert_eq!(omitted.len(), 1);
        assert!(encoded.sections().all(|section| section.is_ok()));
        assert!((850..1_000).contains(&encoded.sections().count()));
    }
}
