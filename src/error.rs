use std::{borrow::Cow, fmt, io};

/// Says what is wrong with an option or a registry, and how to fix it.
///
/// The only error type of this crate. It is opaque: print it. It converts into [`io::Error`], so `?` works in an actix-web
/// `main`:
///
/// ```
/// use hr_prometheus::{HrPrometheus, MetricsRegistry};
///
/// # fn main() -> std::io::Result<()> {
/// let metrics = HrPrometheus::default().register_in(&MetricsRegistry::new())?;
/// # drop(metrics); Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The first mistake in the options so far, kept until they are used.
///
/// An option that returned a `Result` could not be chained in `App::wrap`, where the compiler would suggest deleting it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mistakes(Option<Error>);

impl Mistakes {
    /// The mistakes of a builder.
    pub(crate) fn of(checked: Result<(), Error>) -> Self {
        Self(checked.err())
    }

    /// Returns the value of an option; keeps the error if it is the first.
    pub(crate) fn note<T>(&mut self, option: &str, value: Result<T, Error>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.0
                    .get_or_insert_with(|| Error::new(format!("{option}: {error}")));
                None
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.0.clone().map_or(Ok(()), Err)
    }
}
