//! The label `method`: bounded, whatever clients send.

use std::collections::BTreeSet;

use actix_web::http::Method;
use parking_lot::Mutex;

use crate::{error::Error, limit::OTHER};

/// The methods that have a label of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods {
    extra: Vec<&'static str>,
    /// Whether these are all, and those of RFC 9110 are unknown too.
    are_all: bool,
}

impl Methods {
    /// Gives one more method a label of its own.
    pub(crate) fn add(&mut self, method: &str) -> Result<(), Error> {
        // Not by `Method::from_bytes`, which refuses some of them.
        if !is_token(method) {
            return Err(Error::new(format!(
                "{method:?} is not a method: write a token of RFC 9110, section 5.6.2, such as \"PURGE\""
            )));
        }
        if method != OTHER && (self.are_all || known(method).is_none()) {
            self.extra.push(label_of(method));
        }
        Ok(())
    }

    /// Takes away the label of every method.
    pub(crate) fn clear(&mut self) {
        self.extra.clear();
        self.are_all = true;
    }

    /// The label of a request's method: itself if RFC 9110 defines it, PATCH (RFC 5789), QUERY or one that was added,
    /// else `_OTHER`, as the OpenTelemetry HTTP semantic conventions name what they do not know.
    #[inline]
    pub(crate) fn label(&self, method: &Method) -> &'static str {
        if self.are_all {
            return self.extra_label(method.as_str());
        }
        if method == Method::GET {
            return "GET";
        }
        let method = method.as_str();
        known(method).unwrap_or_else(|| self.extra_label(method))
    }

    #[cold]
    fn extra_label(&self, method: &str) -> &'static str {
        let extra = self.extra.iter().find(|extra| **extra == method);
        extra.copied().unwrap_or(OTHER)
    }
}

/// Whether `text` is a token of RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_tchar)
}

#[inline]
fn known(method: &str) -> Option<&'static str> {
    Some(match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => return None,
    })
}

/// The one copy of a method in this process: labels of methods are compared by where they are. What is leaked is
/// bounded by what the program is configured with.
pub(crate) fn label_of(method: &str) -> &'static str {
    static METHODS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    if let Some(known) = known(method) {
        return known;
    }
    if method == OTHER {
        return OTHER;
    }
    let mut methods = METHODS.lock();
    if let Some(known) = methods.get(method) {
        return known;
    }
    let method: &'static str = String::leak(method.to_owned());
    methods.insert(method);
    method
}
