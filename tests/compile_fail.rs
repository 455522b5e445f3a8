//! What the compiler says to those who make one of the likely mistakes.

// Each compiler has its own words; these are those of the one that `.ci/run` uses.
#[rustversion::attr(not(stable(1.95)), ignore = "pins the words of Rust 1.95")]
#[test]
fn the_compiler_names_the_fix() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
