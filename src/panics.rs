//! Contains everything that user code can throw at this crate: panics, payloads that panic when they are dropped, loggers
//! that panic.
//!
//! Nothing reachable from `call`, `poll` or `Drop` may panic. So all hooks, predicates, labels and collectors run through
//! here, and all their values are dropped through here.

use std::{
    any::Any,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use log::Level;

/// Runs user code and catches its panic.
#[inline]
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Panicked::new)
}

/// Drops a user's value and ignores its panic.
#[inline]
pub(crate) fn discard<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        leak(payload);
    }
}

/// A user's value, or none, that may panic when it is dropped. Even while another panic unwinds it does not abort.
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

/// Leaks the payload of a panic: dropping it may panic, with a payload that panics again.
#[cold]
fn leak(payload: Box<dyn Any + Send>) {
    mem::forget(payload);
}

/// The message of a panic that was caught.
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

/// Ends a registration by a panic, since its signature has no error. The registry catches and logs it; the panic hook does
/// not see it.
#[cold]
pub(crate) fn give_up(message: String) -> ! {
    resume_unwind(Box::new(message))
}

/// Logs, even if the logger panics, as one does whose pipe is closed.
#[cold]
pub(crate) fn report(level: Level, message: fmt::Arguments<'_>) {
    discard(catch(|| log::log!(target: "hr_prometheus", level, "{message}")));
}

/// Logs only the first message, whichever thread it comes from.
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
