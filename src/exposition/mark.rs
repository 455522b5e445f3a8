//! What tells lines and labels of this crate from all other text in what prometheus-client encodes.

use std::{cell::Cell, collections::hash_map::RandomState, hash::BuildHasher as _};

use once_cell::sync::Lazy;

/// More than prometheus-client 0.26 writes at once: 4 KiB.
pub(crate) const MARK_LENGTH: usize = 4 * 1024 + 1;

/// The first character of a mark; no name and no prefix of anybody has it.
const MARK_BEGIN: char = '\u{1}';

/// How much of a mark tells it from all other text.
const TOKEN_LENGTH: usize = 33;

pub(crate) static MARK: Lazy<String> = Lazy::new(|| {
    // Random, so that nobody can write one.
    let random = || RandomState::new().hash_one(0);
    let token = format!("{MARK_BEGIN}{:016x}{:016x}", random(), random());
    format!("{token:_<MARK_LENGTH$}")
});

/// Text that nobody can guess, of [`TOKEN_LENGTH`] characters.
pub(crate) fn token() -> &'static str {
    &MARK[..TOKEN_LENGTH]
}

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
