//! The names of monitors' families, noted while they are registered: a builder renames them and their labels,
//! and the registry may put a prefix before them.

use std::cell::RefCell;

/// The families of one monitor.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "live"), expect(dead_code, reason = "the live page reads it"))]
pub(crate) struct MonitorNames {
    pub(crate) families: Vec<FamilyNames>,
}

/// One family, as in the scrape.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "live"), expect(dead_code, reason = "the live page reads it"))]
pub(crate) struct FamilyNames {
    /// Its role, in the words of the live page.
    pub(crate) role: &'static str,
    pub(crate) name: String,
    /// The name and the role of each label.
    pub(crate) labels: Vec<(String, &'static str)>,
}

thread_local! {
/// For the registration that is running on this thread.
    static NOTED: RefCell<Option<Vec<MonitorNames>>> = const { RefCell::new(None) };
}

/// Notes the names of a monitor, if it is being registered in a registry of this crate.
pub(crate) fn note(names: MonitorNames) {
    NOTED.with_borrow_mut(|noted| noted.as_mut().map(|noted| noted.push(names)));
}

/// Registers, and returns what was noted meanwhile.
pub(crate) fn noted_by<T>(register: impl FnOnce() -> T) -> (T, Vec<MonitorNames>) {
    // Another registry may be registered in from within this registration.
    let outer = NOTED.replace(Some(Vec::new()));
    let value = register();
    (value, NOTED.replace(outer).unwrap_or_default())
}
