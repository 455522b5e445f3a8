//! What code of users can do to us, and the one place that knows: a panic, a payload that panics when it is dropped,
//! a logger that panics.
//!
//! Nothing reachable from `call`, `poll` or `Drop` may panic, so hooks, predicates, labels, collectors and their values
//! run, and are dropped, through here.

use std::{
    any::Any,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use log::Level;

/// Runs code of a user; a panic ends here.
#[inline]
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Panicked::new)
}

/// Drops a value of a user; a panic ends here, unseen.
#[inline]
pub(crate) fn discard<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        leak(payload);
    }
}

/// A value of a user, or none, that is discarded when it is dropped: also by a panic that unwinds, where a second one
/// would abort.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct DiscardOnDrop<T>(Option<T>);

impl<T> DiscardOnDrop<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    #[inline]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    #[inline]
    pub(crate) fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }

    pub(crate) fn as_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Default for DiscardOnDrop<T> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T> Drop for DiscardOnDrop<T> {
    #[inline]
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            discard(self.take());
        }
    }
}

/// What a panic carries may panic when it is dropped, and what that carries again.
#[cold]
fn leak(payload: Box<dyn Any + Send>) {
    mem::forget(payload);
}

/// A panic that was caught: its message.
#[derive(Debug)]
pub(crate) struct Panicked(String);

impl Panicked {
    #[cold]
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message").to_owned();
        discard(payload);
        Self(message)
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ends a registration that cannot go on, where only a panic can; it is caught by the registry, and not reported
/// before that.
#[cold]
pub(crate) fn give_up(message: String) -> ! {
    resume_unwind(Box::new(message))
}

/// Logs, also where the logger panics, such as one whose pipe is closed.
#[cold]
pub(crate) fn report(level: Level, message: fmt::Arguments<'_>) {
    discard(catch(|| log::log!(target: "hr_prometheus", level, "{message}")));
}

/// Something that is logged the first time it happens, whoever it happens to.
#[derive(Debug, Default)]
pub(crate) struct LogOnce(AtomicBool);

impl LogOnce {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[cold]
    pub(crate) fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        if !self.0.swap(true, Relaxed) {
            report(level, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::{DiscardOnDrop, catch, discard};

    /// Panics when it is dropped, with another of its kind as often as it says.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Self(self.0 - 1));
            }
        }
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_is_caught() {
        for depth in 1..4 {
            let caught = catch(|| panic_any(Bomb(depth)));
            assert_eq!(
                caught.map_err(|panicked| panicked.to_string()),
                Err::<(), _>("no message".to_owned())
            );
        }
    }

    #[test]
    fn a_value_that_panics_when_it_is_dropped_is_discarded() {
        for depth in 1..4 {
            discard(Bomb(depth));
        }
    }

    #[test]
    fn a_value_that_panics_when_a_panic_drops_it_does_not_abort() {
        let caught = catch(|| {
            let _value = DiscardOnDrop::new(Bomb(1));
            panic!("the first");
        });
        assert_eq!(
            caught.map_err(|panicked| panicked.to_string()),
            Err::<(), _>("the first".to_owned())
        );
    }

    #[test]
    fn a_message_is_kept_whether_it_is_written_or_formatted() {
        let message = |code: fn()| catch(code).unwrap_err().to_string();
        assert_eq!(message(|| panic!("written")), "written");
        assert_eq!(
            message(|| panic!("{}", std::hint::black_box("formatted"))),
            "formatted"
        );
    }
}
