//! Runs this program again, for one measurement that needs a process of its own.

use std::{
    env,
    ffi::OsString,
    process::{Command, Output, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// The first argument of a process that measures.
pub const WORD: &str = "measure";

/// After which a measurement is given up.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs one measurement of a table, and gives back the numbers that it prints.
pub fn measure(table: &str, arguments: &[&str]) -> Vec<f64> {
    let output = run(&[], table, arguments);
    let numbers = String::from_utf8_lossy(&output.stdout);
    let numbers = numbers
        .split_whitespace()
        .map(|number| number.parse().expect("a number"));
    numbers.collect()
}

/// Runs one measurement of a table below other programs, such as valgrind.
pub fn run(below: &[&str], table: &str, arguments: &[&str]) -> Output {
    let this = env::current_exe().expect("the path of this program");
    let mut words = below.iter().map(OsString::from).chain([this.into_os_string()]);
    let mut child = Command::new(words.next().expect("at least this program"))
        .args(words)
        .args([WORD, table])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{below:?} cannot be run: {error}"));

    // What it prints is short, and waits in the pipes.
    let began = Instant::now();
    while child.try_wait().expect("its state").is_none() {
        if began.elapsed() > LIMIT {
            child.kill().expect("a child can be killed");
            child.wait().expect("its end");
            panic!("{table} {arguments:?} took more than {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("what it printed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{table} {arguments:?} failed\n{complaint}"
    );
    output
}

/// Does `job` for each of `inputs`, as many at a time as there are cores: for what is counted, not for what is timed.
pub fn on_all_cores<T: Sync, R: Send>(inputs: &[T], job: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(inputs.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                loop {
                    let input = next.lock().unwrap().next();
                    let Some((index, input)) = input else { break };
                    let result = job(input);
                    done.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
