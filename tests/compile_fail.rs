//! What the compiler says to those who make one of the likely mistakes.

#[test]
fn the_compiler_names_the_fix() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
