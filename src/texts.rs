//! The argument of options that take one text or several.

/// Accepts one text or several: `"/health"`, `["/health", "/ready"]`, a slice, a `Vec<String>`, any iterator of texts.
///
/// Options such as [`HrPrometheus::exclude_routes`](crate::HrPrometheus::exclude_routes) take it. The compiler infers `K`.
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

/// Marks one text: a type could be both a text and an iterator of texts.
#[allow(unnameable_types, reason = "the compiler infers it")]
#[derive(Debug)]
pub struct One;

/// Marks several texts.
#[allow(unnameable_types, reason = "the compiler infers it")]
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
