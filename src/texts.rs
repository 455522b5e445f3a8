//! What options take that are told texts.

/// One text or several: `"/health"`, `["/health", "/ready"]`, a slice, a `Vec<String>`, any iterator of texts.
///
/// Options such as [`HrPrometheus::exclude_routes`](crate::HrPrometheus::exclude_routes) take it. The compiler finds `K`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a text nor an iterator of texts",
    label = "neither a text nor several",
    note = "write `\"one\"`, `[\"one\", \"two\"]` or a `Vec<String>`"
)]
pub trait Texts<K> {
    /// Calls `each` with each text, in order.
    #[doc(hidden)]
    fn for_each_text(self, each: impl FnMut(&str));
}

/// Tells a text from several: a type could be both.
#[allow(unnameable_types, reason = "the compiler finds it")]
#[derive(Debug)]
pub struct One;

/// The other of the two.
#[allow(unnameable_types, reason = "the compiler finds it")]
#[derive(Debug)]
pub struct Many;

impl<T: AsRef<str>> Texts<One> for T {
    fn for_each_text(self, mut each: impl FnMut(&str)) {
        each(self.as_ref());
    }
}

impl<T: IntoIterator<Item: AsRef<str>>> Texts<Many> for T {
    fn for_each_text(self, mut each: impl FnMut(&str)) {
        self.into_iter().for_each(|text| each(text.as_ref()));
    }
}
