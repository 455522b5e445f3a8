use std::{borrow::Cow, fmt, io};

/// What went wrong with an option or a registry, in words that name the fix.
///
/// One opaque type for the whole crate: its [`Display`](fmt::Display) is made for people. It converts into
/// [`io::Error`], so that `?` works in an actix-web `main`.
///
/// ```
/// use hr_prometheus::{HrPrometheus, MetricsRegistry};
///
/// # fn main() -> std::io::Result<()> {
/// let metrics = HrPrometheus::default().register_in(&MetricsRegistry::new())?;
/// # let _ = metrics;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Error {
    message: Cow<'static, str>,
}

impl Error {
    pub(crate) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
