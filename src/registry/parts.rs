//! The parts of a registry, one for each registration, and what is refused from within them.

use std::{cell::RefCell, iter, mem, ptr, sync::Arc};

use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;

use crate::{
    error::Error,
    exposition::mark::new_part,
    panics::discard,
    registry::names::{MonitorNames, noted_by},
};

/// What is registered, each registration in a part of its own: no lock is held meanwhile, and a panic leaves nothing
/// behind.
pub(crate) struct Parts {
    /// Makes parts: has the prefix and the labels of the registry, and no families.
    template: Mutex<Registry>,
    /// The registry as it was given, and one part for each registration since. Shared with renders, which hold no lock:
    /// a collector may take its time, and meanwhile others register.
    all: RwLock<Vec<Arc<Registry>>>,
    /// Of the monitors that were registered, in this order.
    names: Mutex<Vec<MonitorNames>>,
}

impl Parts {
    pub(crate) fn new(mut root: Registry) -> Self {
        Self {
            template: Mutex::new(mem::take(root.sub_registry_with_labels(iter::empty()))),
            all: RwLock::new(vec![Arc::new(root)]),
            names: Mutex::default(),
        }
    }

    /// Registers into a part of its own.
    pub(crate) fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> Result<T, Error> {
        let _in_use = self.enter("nothing can be registered in a registry")?;
        let mut part = Unfinished(self.new_part());
        let (value, names) = noted_by(|| register(&mut part.0));
        self.names.lock().extend(names);
        self.all.write().push(Arc::new(mem::take(&mut part.0)));
        Ok(value)
    }

    /// A registry with the prefix and the labels of this one, which is in no scrape.
    pub(crate) fn new_part(&self) -> Registry {
        new_part(&mut self.template.lock())
    }

    /// What the families of monitors are called.
    #[cfg(feature = "live")]
    pub(crate) fn names(&self) -> Vec<MonitorNames> {
        self.names.lock().clone()
    }

    /// Encodes all parts.
    pub(crate) fn encode<T>(
        &self,
        encode: impl FnOnce(&mut dyn Iterator<Item = &Registry>) -> T,
    ) -> Result<T, Error> {
        let _in_use = self.enter("a registry cannot be encoded")?;
        let parts = self.all.read().clone();
        Ok(encode(&mut parts.iter().map(Arc::as_ref)))
    }

    /// Refuses what would dead-lock or recurse without end, rather than do it.
    pub(crate) fn check_free(&self, refused: &str) -> Result<(), Error> {
        if IN_USE.with_borrow(|in_use| in_use.contains(&self.address())) {
            return Err(Error::new(format!(
                "{refused} from within a registration or a scrape of itself; do it before or after"
            )));
        }
        Ok(())
    }

    fn enter(&self, refused: &str) -> Result<InUse<'_>, Error> {
        self.check_free(refused)?;
        IN_USE.with_borrow_mut(|in_use| in_use.push(self.address()));
        Ok(InUse(self))
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

/// A part that is being filled. What it holds may panic when it is dropped, even while the registration unwinds.
struct Unfinished(Registry);

impl Drop for Unfinished {
    fn drop(&mut self) {
        discard(mem::take(&mut self.0));
    }
}

thread_local! {
    /// Where the registries are in which this thread is registering or encoding at this moment.
    static IN_USE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// This thread's mark on a registry that it is registering in or encoding.
struct InUse<'a>(&'a Parts);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        IN_USE.with_borrow_mut(|in_use| in_use.retain(|address| *address != self.0.address()));
    }
}
