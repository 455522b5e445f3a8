//! Shapes: the texts and parameters that a route consumes of a path, and the owners of such paths.

use std::{
    hash::{BuildHasher as _, Hasher},
    iter, mem,
};

use actix_web::dev::{Path, ResourcePath};
use foldhash::{HashMap, fast::FixedState};

use crate::{
    panics::catch,
    route::pattern::{Pattern, Piece},
};

/// The matched part of a path.
#[derive(Clone, Copy)]
pub(crate) struct Consumed<'a, T> {
    info: &'a Path<T>,
    text: &'a [u8],
    /// Whether the path goes on.
    pub(crate) has_rest: bool,
}

impl<'a, T: ResourcePath> Consumed<'a, T> {
    #[inline]
    pub(crate) fn of(info: &'a Path<T>) -> Self {
        Self::of_path(info, info.as_str())
    }

    /// The same; `path` is that of `info`.
    #[inline]
    pub(crate) fn of_path(info: &'a Path<T>, path: &'a str) -> Self {
        // Panics where a middleware replaced the path and left the position within a character.
        let rest = catch(|| info.unprocessed().len()).unwrap_or(0);
        Self {
            info,
            text: &path.as_bytes()[..path.len() - rest],
            has_rest: rest > 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.info.is_empty()
    }

    /// Calls `each` with the parameters, each with the text before it, until one is refused, and returns the text
    /// after the last. `None` if one was refused, or a value is not part of the path, which a middleware can bring about.
    #[inline]
    fn walk(&self, mut each: impl FnMut(&'a [u8], &'a str) -> bool) -> Option<&'a [u8]> {
        let mut end = 0;
        for (name, value) in self.info.iter() {
            let start = value.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
            if !each(self.text.get(end..start)?, name) {
                return None;
            }
            end = start + value.len();
        }
        self.text.get(end..)
    }

    fn hash(&self) -> Option<u64> {
        let mut hasher = FixedState::default().build_hasher();
        let after = self.walk(|before, _| {
            hasher.write(before);
            true
        })?;
        write_after(&mut hasher, after);
        Some(hasher.finish())
    }
}

/// The texts that a route, a scope or a mount consumes, with the names of the parameters between them. It does not tell
/// a tail from another parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// The name of each parameter, and the text before it.
    params: Vec<(String, String)>,
    /// The text after the last.
    after: String,
}

impl Shape {
    pub(crate) fn of(pattern: &Pattern) -> Self {
        Self::default().and(pattern)
    }

    /// The shape of `pattern` within a scope of this one.
    #[must_use]
    pub(crate) fn and(&self, pattern: &Pattern) -> Self {
        let mut shape = self.clone();
        for piece in pattern.pieces() {
            match piece {
                Piece::Text(text) => shape.after.push_str(text),
                Piece::Param(param) => {
                    let before = mem::take(&mut shape.after);
                    shape.params.push((param.name.clone(), before));
                }
            }
        }
        shape
    }

    /// Whether a path was consumed by something of this shape.
    #[inline]
    pub(crate) fn fits<T: ResourcePath>(&self, consumed: &Consumed<'_, T>) -> bool {
        if self.params.len() != consumed.info.segment_count() {
            return false;
        }
        let mut params = self.params.iter();
        let after = consumed.walk(|before, name| {
            let known = params.next();
            known.is_some_and(|(known, text)| text.as_bytes() == before && known == name)
        });
        after == Some(self.after.as_bytes())
    }

    fn has_texts_of(&self, other: &Self) -> bool {
        let texts_before = |shape: &Self| {
            shape
                .params
                .iter()
                .map(|(_, before)| before.clone())
                .collect::<Vec<_>>()
        };
        self.after == other.after && texts_before(self) == texts_before(other)
    }

    fn hash(&self) -> u64 {
        let texts_before = self.params.iter().map(|(_, before)| before.as_bytes());
        hash(texts_before, self.after.as_bytes())
    }
}

#[inline]
fn hash<'a>(texts_before: impl Iterator<Item = &'a [u8]>, after: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    texts_before.for_each(|before| hasher.write(before));
    write_after(&mut hasher, after);
    hasher.finish()
}

/// Most paths end with a parameter or have none.
#[inline]
fn write_after(hasher: &mut impl Hasher, after: &[u8]) {
    if !after.is_empty() {
        hasher.write(after);
    }
}

/// The owner of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Routes with one label: the first of them.
    Route(usize),
    /// Scopes alone, so that no route served the request.
    NoRoute,
    /// Routes with several labels.
    Routes,
    /// Routes and scopes, so that no route need have served the request.
    Shared,
}

/// The owners of all shapes, for paths that end with them and for those that go on.
///
/// Not a map: a path is found as it lies, without writing down its shape.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    all: Vec<Owned>,
    /// The indices of all, each behind the place that its hash points to, as near as possible. As many places as a power
    /// of two, most of them free.
    places: Vec<u32>,
}

/// No index of an owner.
const FREE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Owned {
    shape: Shape,
    has_rest: bool,
    owner: Owner,
    /// Whether another shape differs in the names of its parameters alone.
    has_twin: bool,
}

impl Owners {
    pub(crate) fn new(all: HashMap<(Shape, bool), Owner>) -> Self {
        let mut owners = Self {
            places: vec![FREE; (8 * all.len()).next_power_of_two()],
            all: Vec::with_capacity(all.len()),
        };
        for ((shape, has_rest), owner) in all {
            owners.add(Owned {
                shape,
                has_rest,
                owner,
                has_twin: false,
            });
        }
        owners
    }

    fn add(&mut self, mut new: Owned) {
        let mut place = self.first(new.shape.hash(), new.has_rest);
        while let Some(known) = self.all.get_mut(self.places[place] as usize) {
            if known.has_rest == new.has_rest && known.shape.has_texts_of(&new.shape) {
                known.has_twin = true;
                new.has_twin = true;
            }
            place = self.next(place);
        }
        self.places[place] = u32::try_from(self.all.len()).unwrap_or(FREE);
        self.all.push(new);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are as good")]
    #[inline]
    fn first(&self, hash: u64, has_rest: bool) -> usize {
        (hash as usize ^ usize::from(has_rest)) & self.places.len().wrapping_sub(1)
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        (place + 1) & self.places.len().wrapping_sub(1)
    }

    /// The owner at a place, if it is not free.
    #[inline]
    fn at(&self, place: usize) -> Option<&Owned> {
        self.all.get(*self.places.get(place)? as usize)
    }

    /// `None` for a path that nothing of the table has consumed, such as one which a middleware replaced after it was
    /// routed.
    #[inline]
    pub(crate) fn owner<T: ResourcePath>(&self, consumed: &Consumed<'_, T>) -> Option<Owner> {
        let &Consumed { info, text, has_rest } = consumed;
        if info.is_empty() {
            let is = |shape: &Shape| shape.params.is_empty() && is_same(shape.after.as_bytes(), text);
            let known = self.find(hash(iter::empty(), text), has_rest, is)?;
            return Some(known.owner);
        }
        self.owner_with_params(info, text, has_rest)
    }

    #[inline(never)]
    fn owner_with_params<T: ResourcePath>(
        &self,
        info: &Path<T>,
        text: &[u8],
        has_rest: bool,
    ) -> Option<Owner> {
        // With one parameter, as most paths have, its name matters only where there is a twin.
        if info.segment_count() > 1 {
            return self.owner_with_several(&Consumed { info, text, has_rest });
        }
        let value = &info[0];
        let start = value.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        let (before, after) = (text.get(..start)?, text.get(start.wrapping_add(value.len())..)?);
        let known = self.find(hash(iter::once(before), after), has_rest, |shape| {
            match &*shape.params {
                [(_, text)] => is_same(text.as_bytes(), before) && is_same(shape.after.as_bytes(), after),
                _ => false,
            }
        })?;
        if known.has_twin {
            return self.owner_with_several(&Consumed { info, text, has_rest });
        }
        Some(known.owner)
    }

    #[inline(never)]
    fn owner_with_several<T: ResourcePath>(&self, consumed: &Consumed<'_, T>) -> Option<Owner> {
        let known = self.find(consumed.hash()?, consumed.has_rest, |shape| shape.fits(consumed))?;
        Some(known.owner)
    }

    #[inline]
    fn find(&self, hash: u64, has_rest: bool, is: impl Fn(&Shape) -> bool) -> Option<&Owned> {
        let place = self.first(hash, has_rest);
        let known = self.at(place)?;
        if known.has_rest == has_rest && is(&known.shape) {
            return Some(known);
        }
        self.find_behind(place, has_rest, is)
    }

    /// Looks behind a place that the hash of another shape points to as well.
    #[cold]
    fn find_behind(&self, place: usize, has_rest: bool, is: impl Fn(&Shape) -> bool) -> Option<&Owned> {
        let mut place = place;
        loop {
            place = self.next(place);
            let known = self.at(place)?;
            if known.has_rest == has_rest && is(&known.shape) {
                return Some(known);
            }
        }
    }

    /// The owner of this shape.
    pub(crate) fn owner_of(&self, shape: &Shape, has_rest: bool) -> Option<Owner> {
        let known = self.find(shape.hash(), has_rest, |known| known == shape)?;
        Some(known.owner)
    }
}

/// Equality, without a call for texts of eight to 16 bytes, as most texts of routes are, and for none.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (
        a.first_chunk::<8>(),
        b.first_chunk(),
        a.last_chunk::<8>(),
        b.last_chunk(),
    ) {
        (Some(first), Some(other_first), Some(last), Some(other_last)) if a.len() <= 16 => {
            first == other_first && last == other_last
        }
        _ => a.is_empty() || a == b,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::dev::{Path, ResourceDef};

    use super::{Consumed, Owner, Owners, Pattern, Shape, is_same};

    const PATTERNS: [&str; 8] = [
        "/a",
        "/a/{x}",
        "/a/{y}",
        "/a/{x}/b",
        "/a/{x}/{y}",
        "/a/{x}/b/{y}",
        "/a/{y}/b/{x}",
        "/{x}/b",
    ];

    /// Owners of these patterns, and of what is below `/a`.
    fn owners() -> Owners {
        let shape = |pattern: &str| Shape::of(&Pattern::parse(pattern));
        let whole = PATTERNS
            .iter()
            .enumerate()
            .map(|(route, pattern)| ((shape(pattern), false), Owner::Route(route)));
        Owners::new(whole.chain([((shape("/a"), true), Owner::NoRoute)]).collect())
    }

    fn owner(matcher: &ResourceDef, path: &str) -> Option<Owner> {
        let mut info = Path::new(path);
        assert!(matcher.capture_match_info(&mut info), "{path}");
        owners().owner(&Consumed::of(&info))
    }

    #[test]
    fn a_path_is_told_by_its_texts_and_the_names_of_its_parameters() {
        for (route, pattern) in PATTERNS.into_iter().enumerate() {
            let path = pattern.replace("{x}", "{y}").replace("{y}", "value");
            let found = owner(&ResourceDef::new(pattern), &path);
            assert_eq!(found, Some(Owner::Route(route)), "{pattern}");
        }
    }

    #[test]
    fn what_no_route_consumes_has_no_owner() {
        for (pattern, path) in [
            ("/b", "/b"),
            ("/a/{z}", "/a/1"),
            ("/a/{x}/c", "/a/1/c"),
            ("/c/{x}/{y}", "/c/1/2"),
        ] {
            assert_eq!(owner(&ResourceDef::new(pattern), path), None, "{pattern}");
        }
    }

    #[test]
    fn a_path_that_goes_on_has_an_owner_of_its_own() {
        assert_eq!(owner(&ResourceDef::prefix("/a"), "/a/1"), Some(Owner::NoRoute));
        assert_eq!(owner(&ResourceDef::prefix("/a/{x}"), "/a/1/2"), None);
    }

    #[test]
    fn texts_of_any_length_differ_by_any_byte() {
        for length in 0..40 {
            let text = vec![b'a'; length];
            assert!(is_same(&text, &text.clone()), "{length}");
            assert!(!is_same(&text, &vec![b'a'; length + 1]), "{length}");
            for index in 0..length {
                let mut other = text.clone();
                other[index] = b'b';
                assert!(!is_same(&text, &other), "{index} of {length}");
            }
        }
    }

    #[test]
    fn a_path_that_was_replaced_has_no_owner() {
        let mut info = Path::new("/a/value");
        assert!(ResourceDef::new("/a/{x}").capture_match_info(&mut info));
        info.add_static("x", "elsewhere");
        assert_eq!(owners().owner(&Consumed::of(&info)), None);
    }
}
