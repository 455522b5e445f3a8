//! Tables and numbers as Markdown has them.

/// Prints a table under a title.
pub fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("### {title}\n");
    println!("| {} |", head.join(" | "));
    println!("|{}", " --- |".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}

/// Without decimals, and with a comma after each three digits.
pub fn number(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let sign = if value < 0.0 && digits != "0" { "-" } else { "" };
    format!("{sign}{text}")
}

/// Several of them, with slashes between.
pub fn numbers(values: &[f64]) -> String {
    let numbers: Vec<_> = values.iter().map(|value| number(*value)).collect();
    numbers.join(" / ")
}

/// The middle one.
pub fn median<T: PartialOrd + Copy>(values: impl IntoIterator<Item = T>) -> T {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    values[values.len() / 2]
}
