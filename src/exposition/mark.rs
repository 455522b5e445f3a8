//! The mark that registries have as their prefix, so that it is known where their lines begin.
//!
//! prometheus-client writes in blocks: a label with a newline in its name looks like two samples, and the
//! families before a failing one are lost with the block. A mark is longer than a block. So it is written on its own, at
//! the beginning of each line, and whatever stands before it at once.

use std::{cell::Cell, collections::hash_map::RandomState, fmt, hash::BuildHasher as _, mem};

use once_cell::sync::Lazy;
use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::MetricType, registry::Registry,
};

/// More than prometheus-client 0.26 writes at once: 4 KiB.
pub(crate) const MARK_LENGTH: usize = 4 * 1024 + 1;

/// The first character of a mark; no name and no prefix contains it.
const MARK_BEGIN: char = '\u{1}';

/// How much of a mark distinguishes it from all other text.
const TOKEN_LENGTH: usize = 33;

static MARK: Lazy<String> = Lazy::new(|| {
    // Random, so that it cannot be forged.
    let random = || RandomState::new().hash_one(0);
    let token = format!("{MARK_BEGIN}{:016x}{:016x}", random(), random());
    format!("{token:_<MARK_LENGTH$}")
});

/// Unguessable text of [`TOKEN_LENGTH`] characters.
pub(crate) fn token() -> &'static str {
    &MARK[..TOKEN_LENGTH]
}

/// A registry for new families, with the prefix and the labels of this one.
pub(crate) fn new_part(registry: &mut Registry) -> Registry {
    let mut part = mem::take(registry.sub_registry_with_prefix(&*MARK));
    part.register_collector(Box::new(EndOfMetrics));
    part
}

/// Removes the mark from a name.
#[cfg(feature = "protobuf")]
pub(crate) fn unmark(name: &mut String) {
    if let Some(begin) = name.find(token()) {
        name.replace_range(begin..name.len().min(begin + MARK_LENGTH + 1), "");
    }
}

/// The text of a registry as its owner expects it: without marks, and without [`EndOfMetrics`].
#[cfg(test)]
pub(crate) fn strip_marks(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    let lines = lines.map(|line| line.replace(&format!("{}_", *MARK), ""));
    lines.filter(|line| !line.contains(token())).collect()
}

/// Whether a family is that of [`EndOfMetrics`]; it may have a prefix.
pub(crate) fn is_end_of_metrics(name: &str) -> bool {
    name.ends_with(token())
}

/// The first collector of each part: by its family what stands before it has arrived, so that a collector that fails
/// without a word costs no metric.
#[derive(Debug)]
struct EndOfMetrics;

impl Collector for EndOfMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encoder.encode_descriptor(token(), "", None, MetricType::Unknown)?;
        Ok(())
    }
}

/// The text before a mark and after it.
pub(crate) fn split_at_mark(text: &str) -> Option<(&str, &str)> {
    let mut marks = text.match_indices(MARK_BEGIN);
    let (begin, _) = marks.find(|&(begin, _)| text[begin..].starts_with(token()))?;
    Some((&text[..begin], text.get(begin + MARK_LENGTH..)?))
}

thread_local! {
    static BEGUN_LINES: Cell<usize> = const { Cell::new(0) };
}

/// How many lines with a mark have begun on this thread: more of them while a family is encoded tell that it is in a
/// registry which this crate made, and encodes.
pub(crate) fn begun_lines() -> usize {
    BEGUN_LINES.get()
}

pub(crate) fn count_begun_line() {
    BEGUN_LINES.set(BEGUN_LINES.get().wrapping_add(1));
}

#[cfg(test)]
mod tests {
    use std::fmt::{self, Write};

    use prometheus_client::{encoding, metrics::gauge::ConstGauge, registry::Registry};

    use super::{MARK, new_part};

    /// What prometheus-client writes at once.
    #[derive(Default)]
    struct Writes(Vec<String>);

    impl Write for Writes {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push(text.to_owned());
            Ok(())
        }
    }

    /// The next version of prometheus-client may write larger blocks; then a mark has to be longer.
    #[test]
    fn a_mark_is_written_on_its_own() {
        let mut part = new_part(&mut Registry::with_prefix("shop"));
        part.register("x", "Help", ConstGauge::new(1_i64));
        let mut writes = Writes::default();
        encoding::text::encode_registry(&mut writes, &part).unwrap();
        let marks = writes.0.iter().filter(|text| text.contains(&**MARK));
        assert_eq!(
            marks.clone().count(),
            5,
            "of HELP, TYPE and a sample, and of the end of metrics"
        );
        assert!(marks.into_iter().all(|mark| *mark == format!("shop_{}", *MARK)));
    }
}
