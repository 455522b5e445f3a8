//! What the process itself says: its memory, its descriptors, its panics, and what is logged.

use std::{fs, mem, panic, sync::Mutex, thread::sleep, time::Duration};

use peak_alloc::PeakAlloc;

use crate::application::{Bomb, Staged};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Panics that nobody staged.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to listen.
pub fn begin() {
    log::set_logger(&Lines).expect("the first logger");
    log::set_max_level(log::LevelFilter::Warn);
    panic::set_hook(Box::new(|info| {
        if !info.payload().is::<Staged>() && !info.payload().is::<Bomb>() {
            eprintln!("{info}");
            PANICS
                .lock()
                .expect("no panic")
                .push(info.to_string().replace('\n', " "));
        }
    }));
}

/// What the crate has logged.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("hr_prometheus")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{}: {}", record.level(), record.args());
            LINES.lock().expect("no panic").push(line);
        }
    }

    fn flush(&self) {}
}

pub fn panics() -> Vec<String> {
    mem::take(&mut *PANICS.lock().expect("no panic"))
}

pub fn lines() -> Vec<String> {
    mem::take(&mut *LINES.lock().expect("no panic"))
}

/// The least of what is there over a moment: others may be scraping.
pub fn measure() -> (usize, Option<usize>) {
    let moments = (0..20).map(|_| {
        sleep(Duration::from_millis(10));
        (HEAP.current_usage(), descriptors())
    });
    let moments: Vec<_> = moments.collect();
    let heap = moments.iter().map(|(heap, _)| *heap).min();
    let descriptors = moments.iter().filter_map(|(_, descriptors)| *descriptors).min();
    (heap.unwrap_or_default(), descriptors)
}

/// How many descriptors this process has, where the system says so.
fn descriptors() -> Option<usize> {
    fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}
