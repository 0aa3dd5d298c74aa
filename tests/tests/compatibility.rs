//! `docs/compatibility.md` tells, row by row, what of ZooKeeper's behaviour is there: it must stay complete and true.
//!
//! Complete: its rows are those of the inventory (`tests/reference/parity-rows.txt`, and `shared/parity.md` where that lies beside the
//! repository). True: a row that is done names tests that exist; a key of the configuration or of `mntr` has the state that its own page gives it.

use ringkeeper_tests::top;
use std::collections::{BTreeMap, BTreeSet};

/// A row's section and name.
type Name = (String, String);

/// What the page says of a row.
struct Row {
    state: String,
    words: String,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of a line of a table. A `|` within a cell is written `\|`.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inner.replace("\\|", "\u{0}").split(" | ").map(|cell| cell.replace('\u{0}', "\\|")).collect())
}

/// The tables below "Row by row".
fn rows() -> BTreeMap<Name, Row> {
    let page = read("docs/compatibility.md");
    let (_, tables) = page.split_once("## Row by row").expect("the page has a part \"Row by row\"");
    let (mut section, mut rows) = (String::new(), BTreeMap::new());
    for line in tables.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            section = title.split(' ').next().unwrap().to_owned();
        }
        let Some(cells) = cells(line).filter(|cells| cells[0] != "row") else { continue };
        let [name, state, words] =
            <[String; 3]>::try_from(cells).unwrap_or_else(|cells| panic!("three cells: {cells:?}"));
        let former = rows.insert((section.clone(), name.clone()), Row { state, words });
        assert!(former.is_none(), "{section} {name} stands there twice");
    }
    rows
}

fn inventory() -> BTreeSet<Name> {
    let name = |line: &str| line.split_once('\t').map(|(section, row)| (section.to_owned(), row.to_owned()));
    read("tests/reference/parity-rows.txt").lines().filter_map(name).collect()
}

/// The first column of the inventory's tables in `shared/parity.md`, of the sections that concern servers and their clients. Packets,
/// two tables side by side in 5.2, are one row of ours.
fn rows_of_the_source(source: &str) -> BTreeSet<Name> {
    const TABLES: [&str; 11] = ["1.1", "1.2", "1.3", "1.4", "1.4b", "1.6", "2", "3", "4", "5.1", "5.2"];
    let (mut section, mut header, mut rows) = (String::new(), true, BTreeSet::new());
    for (line, next) in source.lines().zip(source.lines().skip(1).chain([""])) {
        if let Some(title) = line.strip_prefix("### ").or_else(|| line.strip_prefix("## ")) {
            section = title.split(' ').next().unwrap().trim_end_matches('.').to_owned();
            header = true;
        } else if line.starts_with("|---") {
            header = false;
        } else if next.starts_with("|---") {
            // The head of a table right behind another one.
            header = true;
        } else if let Some(cells) = cells(line).filter(|_| !header && TABLES.contains(&section.as_str())) {
            if section == "5.2" && cells.len() > 3 {
                continue;
            }
            rows.insert((section.clone(), cells[0].clone()));
        }
    }
    rows
}

#[test]
fn the_page_has_the_rows_of_the_inventory_and_no_others() {
    let (page, inventory) = (rows().into_keys().collect::<BTreeSet<_>>(), inventory());
    assert!(inventory.len() > 200, "{} rows: has the file's form changed?", inventory.len());
    assert_eq!(page.difference(&inventory).collect::<Vec<_>>(), Vec::<&Name>::new(), "not in the inventory");
    assert_eq!(inventory.difference(&page).collect::<Vec<_>>(), Vec::<&Name>::new(), "missing on the page");
}

#[test]
fn the_inventory_has_the_rows_of_its_source_where_that_is_at_hand() {
    let Ok(source) = std::fs::read_to_string(top().join("../shared/parity.md")) else {
        println!("shared/parity.md does not lie beside the repository: only the committed list was compared");
        return;
    };
    let (source, inventory) = (rows_of_the_source(&source), inventory());
    assert!(source.len() > 120, "{} rows: has the source's form changed?", source.len());
    let missing: Vec<_> = source.difference(&inventory).collect();
    assert!(missing.is_empty(), "in shared/parity.md, not in tests/reference/parity-rows.txt: {missing:?}");
}

/// What stands between backquotes and names a test: file, or `rkdiff`, and name.
fn named_tests(words: &str) -> Vec<(&str, &str)> {
    words.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::")).collect()
}

/// Whether the file has a test of that name, in the way in which files of its kind name theirs.
fn has_test(file: &str, name: &str) -> bool {
    if file == "rkdiff" {
        let generator = ["generate.rs", "generate/operations.rs"];
        return generator.iter().any(|part| {
            let source = read(&format!("tests/differential/src/{part}"));
            // Whole words: `Create` is not `Create2`.
            source.split(|c: char| !c.is_alphanumeric() && c != ':').any(|word| word == format!("OpCode::{name}"))
        });
    }
    let Ok(source) = std::fs::read_to_string(top().join(file)) else { return false };
    match file.rsplit_once('.').map(|(_, ending)| ending) {
        Some("rs") => source.contains(&format!("fn {name}(")),
        Some("py") => source.contains(&format!("def {name}(")),
        _ => source.contains(&format!("\"{name}\"")) || source.contains(&format!("\"{name}\" +")),
    }
}

#[test]
fn every_row_says_what_holds_it_or_why_it_is_not_there() {
    let mut wrong = Vec::new();
    for ((section, name), Row { state, words }) in &rows() {
        let tests = named_tests(words);
        let good = match state.as_str() {
            "done" => !tests.is_empty(),
            "later" | "different" => words.len() > 3,
            _ => false,
        };
        if !good {
            wrong.push(format!("{section} {name}: {state}: {words}"));
        }
        let missing = tests.into_iter().filter(|(file, test)| !has_test(file, test));
        wrong.extend(missing.map(|(file, test)| format!("{section} {name}: there is no {file}::{test}")));
    }
    assert!(wrong.is_empty(), "docs/compatibility.md:\n{}", wrong.join("\n"));
}

/// The column "effective" of the keys in `docs/configuration.md`, as states of this page.
fn states_of_keys() -> BTreeMap<String, &'static str> {
    let page = read("docs/configuration.md");
    let row = |line: &str| {
        let cells = cells(line).filter(|cells| cells.len() == 5)?;
        let effective = cells[3].as_str();
        let state = match effective.split([':', ';']).next()? {
            "yes" | "yes, in ensembles" => "done",
            "no" => "different",
            "later" | "with ensembles, later" => "later",
            _ => return None,
        };
        Some((cells[0].clone(), state))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn keys_of_the_configuration_have_the_state_that_their_table_gives() {
    let keys = states_of_keys();
    assert!(keys.len() > 150, "{} keys: has the page's form changed?", keys.len());
    for ((section, name), row) in rows() {
        if section == "7.6" {
            let known = keys.get(&name).unwrap_or_else(|| panic!("docs/configuration.md does not know {name}"));
            assert_eq!(row.state, *known, "{name}: docs/configuration.md says otherwise");
        }
    }
}

#[test]
fn a_key_of_mntr_is_done_only_if_it_is_not_left_out() {
    let page = read("docs/four-letter-words.md");
    let (_, table) = page.split_once("## Figures of `mntr` that are left out").expect("the table of what is left out");
    let left_out: BTreeSet<String> = table.lines().filter_map(cells).map(|cells| cells[0].clone()).collect();
    let alone = read("tests/reference/words-3.9.5/mntr.txt");
    let leader = read("tests/reference/words-ensemble-3.9.5/leader/mntr.txt");
    for ((section, name), row) in rows() {
        let Some(key) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).filter(|_| section == "7.3")
        else {
            continue;
        };
        assert!(!(row.state == "done" && left_out.contains(&name)), "{key} is called done, and is left out");
        let shown = |line: &str| {
            line.strip_prefix("zk_").is_some_and(|line| line.starts_with(key) || line.contains(&format!("_{key}\t")))
        };
        let mut real = alone.lines().chain(leader.lines());
        assert!(row.state != "done" || real.any(shown), "{key} is called done, and 3.9.5 does not show it");
    }
}
