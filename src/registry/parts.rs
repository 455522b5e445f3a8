//! The parts of a registry, one for each registration, and the refusal of calls from within one.

use std::{cell::RefCell, iter, mem, ptr, sync::Arc};

use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;

use crate::{
    error::Error,
    exposition::mark::new_part,
    panics::discard,
    registry::names::{MonitorNames, noted_by},
};

/// Everything that is registered. Each registration has a separate part, so no lock is held meanwhile, and a panic leaves
/// nothing behind.
pub(crate) struct Parts {
    /// The template of parts: it has the prefix and the labels of the registry, and no families.
    template: Mutex<Registry>,
    /// The original registry, and one part for each registration since. Shared with renders, which hold no lock:
    /// others can register while a collector is slow.
    all: RwLock<Vec<Arc<Registry>>>,
    /// The names of the registered monitors' families, in order of registration.
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

    /// Registers into a new part.
    pub(crate) fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> Result<T, Error> {
        let _in_use = self.enter("cannot register in a registry")?;
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

    /// The names of the monitors' families.
    #[cfg(feature = "live")]
    pub(crate) fn names(&self) -> Vec<MonitorNames> {
        self.names.lock().clone()
    }

    /// Encodes all parts.
    pub(crate) fn encode<T>(
        &self,
        encode: impl FnOnce(&mut dyn Iterator<Item = &Registry>) -> T,
    ) -> Result<T, Error> {
        let _in_use = self.enter("cannot encode a registry")?;
        let parts = self.all.read().clone();
        Ok(encode(&mut parts.iter().map(Arc::as_ref)))
    }

    /// Refuses a call that would deadlock or recurse without end.
    pub(crate) fn check_free(&self, refused: &str) -> Result<(), Error> {
        if IN_USE.with_borrow(|in_use| in_use.contains(&self.address())) {
            return Err(Error::new(format!(
                "{refused} during a registration or a scrape of the same registry; do it before or after"
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

/// A part that is being filled. Its content may panic when it is dropped, even while the registration unwinds.
struct Unfinished(Registry);

impl Drop for Unfinished {
    fn drop(&mut self) {
        discard(mem::take(&mut self.0));
    }
}

thread_local! {
/// The addresses of the registries in which this thread is registering or encoding.
    static IN_USE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Marks a registry in which this thread is registering or encoding.
struct InUse<'a>(&'a Parts);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        IN_USE.with_borrow_mut(|in_use| in_use.retain(|address| *address != self.0.address()));
    }
}
