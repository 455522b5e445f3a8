//! The label `method`: bounded, whatever clients send.

use actix_web::http::Method;
use parking_lot::Mutex;

use crate::{error::Error, limit::OTHER};

/// The label of a method. Each text has one label per process, so labels are compared by address.
#[derive(Debug)]
pub(crate) struct MethodLabel {
    pub(crate) text: &'static str,
    /// Identifies the label in the table of requests in progress.
    pub(crate) number: u32,
}

/// The methods of RFC 9110, PATCH (RFC 5789) and QUERY. The last label is for all others, named as in the OpenTelemetry
/// HTTP semantic conventions.
static KNOWN: [MethodLabel; 11] = [
    MethodLabel::new("GET", 0),
    MethodLabel::new("HEAD", 1),
    MethodLabel::new("POST", 2),
    MethodLabel::new("PUT", 3),
    MethodLabel::new("DELETE", 4),
    MethodLabel::new("CONNECT", 5),
    MethodLabel::new("OPTIONS", 6),
    MethodLabel::new("TRACE", 7),
    MethodLabel::new("PATCH", 8),
    MethodLabel::new("QUERY", 9),
    MethodLabel::new(OTHER, 10),
];

/// The methods in options, in the order of their numbers. They are leaked, but only as many as the program configures.
static EXTRA: Mutex<Vec<&'static MethodLabel>> = Mutex::new(Vec::new());

impl MethodLabel {
    const fn new(text: &'static str, number: u32) -> Self {
        Self { text, number }
    }

    /// The label with this number.
    pub(crate) fn numbered(number: u32) -> &'static Self {
        let number = number as usize;
        let extra = || EXTRA.lock().get(number - KNOWN.len()).copied();
        KNOWN.get(number).or_else(extra).unwrap_or(Self::other())
    }

    fn other() -> &'static Self {
        &KNOWN[KNOWN.len() - 1]
    }

    fn of(method: &str) -> &'static Self {
        if let Some(known) = KNOWN.iter().find(|known| known.text == method) {
            return known;
        }
        let mut extra = EXTRA.lock();
        if let Some(known) = extra.iter().find(|known| known.text == method) {
            return known;
        }
        #[expect(clippy::cast_possible_truncation, reason = "no program configures that many")]
        let number = (KNOWN.len() + extra.len()) as u32;
        let label: &'static Self = Box::leak(Box::new(Self::new(String::leak(method.to_owned()), number)));
        extra.push(label);
        label
    }
}

/// The methods that have labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods {
    extra: Vec<&'static MethodLabel>,
    /// Whether only `extra` have labels, and the methods of RFC 9110 have none.
    are_all: bool,
}

impl Methods {
    /// Gives one more method a label.
    pub(crate) fn add(&mut self, method: &str) -> Result<(), Error> {
        // Not by `Method::from_bytes`, which refuses some of them.
        if !is_token(method) {
            return Err(Error::new(format!(
                "{method:?} is not a method; write a token of RFC 9110, section 5.6.2, such as \"PURGE\""
            )));
        }
        self.extra.push(MethodLabel::of(method));
        Ok(())
    }

    /// Removes the labels of all methods.
    pub(crate) fn clear(&mut self) {
        self.extra.clear();
        self.are_all = true;
    }

    /// The label of a request's method: itself if it is known or was added, else `_OTHER`.
    #[inline]
    pub(crate) fn label(&self, method: &Method) -> &'static MethodLabel {
        if !self.are_all && matches!(*method, Method::GET) {
            return &KNOWN[0];
        }
        self.label_of_other(method)
    }

    #[inline(never)]
    fn label_of_other(&self, method: &Method) -> &'static MethodLabel {
        let method = method.as_str();
        let known: &[_] = if self.are_all { &[] } else { &KNOWN };
        let known = known.iter().chain(self.extra.iter().copied());
        let mut known = known.filter(|known| known.text == method);
        known.next().unwrap_or(MethodLabel::other())
    }
}

/// Whether `text` is a token of RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_tchar)
}

/// The text of the one label of a method in this process.
pub(crate) fn label_of(method: &str) -> &'static str {
    MethodLabel::of(method).text
}
