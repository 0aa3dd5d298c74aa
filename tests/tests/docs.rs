//! `docs/architecture.md` names the tests that guard each law: they must exist under those names.

use ringkeeper_tests::top;
use std::collections::BTreeSet;

/// How many laws the design has.
const LAWS: usize = 13;

/// What stands between backquotes in a line and names a test: file and function.
fn named_tests(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|quoted| {
        let (file, function) = quoted.split_once("::")?;
        (file.ends_with(".rs") || file.ends_with(".py")).then_some((file, function))
    })
}

fn page() -> String {
    std::fs::read_to_string(top().join("docs/architecture.md")).unwrap()
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let page = page();
    let named: BTreeSet<_> = page.lines().flat_map(named_tests).collect();
    assert!(named.len() > LAWS, "the page names {} tests: has its form changed?", named.len());
    for (file, function) in named {
        let source = std::fs::read_to_string(top().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let keyword = if file.ends_with(".py") { "def" } else { "fn" };
        assert!(source.contains(&format!("{keyword} {function}(")), "{file} has no test {function}");
    }
}

#[test]
fn every_law_has_a_row_with_a_test() {
    let page = page();
    for law in 1..=LAWS {
        let start = format!("| {law} |");
        let row = page.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("law {law} has no row"));
        assert!(named_tests(row).next().is_some(), "law {law} has no test");
    }
}
