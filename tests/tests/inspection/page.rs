//! `docs/inspection.md`: each command of the page runs, and prints what the page shows, but for the figures.

use crate::damage::damaged;
use crate::{path, rkctl, server, write_a_bit_of_everything, write_image};
use ringkeeper_tests::top;
use std::path::Path;

/// A command of the page, and the first line of what it is to print.
struct Example {
    words: Vec<String>,
    first_line: String,
}

fn examples() -> Vec<Example> {
    let page = std::fs::read_to_string(top().join("docs/inspection.md")).unwrap();
    let mut lines = page.lines();
    let mut examples = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(command) = line.strip_prefix("$ rkctl ") {
            let words = command.split_whitespace().map(str::to_owned).collect();
            examples.push(Example { words, first_line: lines.next().unwrap_or_default().to_owned() });
        }
    }
    examples
}

/// The words of a line that hold no figure; of JSON its keys.
fn shape(line: &str) -> Vec<String> {
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(line) {
        return object.keys().cloned().collect();
    }
    let has_no_figure = |word: &&str| !word.chars().any(|letter| letter.is_ascii_digit());
    line.split_whitespace().filter(has_no_figure).map(str::to_owned).collect()
}

fn run(example: &Example, dir: &Path, backup: &Path) {
    let place =
        |word: &String| word.replace("/var/lib/ringkeeper", path(dir)).replace("/backup/ringkeeper", path(backup));
    let words: Vec<String> = example.words.iter().map(place).collect();
    let output = rkctl(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let printed = String::from_utf8_lossy(&output.stdout).replace(path(dir), "/var/lib/ringkeeper");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rkctl {}: {printed}{said}", words.join(" "));
    let first = printed.lines().next().unwrap_or_default();
    assert_eq!(shape(first), shape(&example.first_line), "rkctl {}:\n{printed}", words.join(" "));
}

#[test]
fn each_example_of_the_page_prints_what_the_page_shows() {
    let server = server();
    write_a_bit_of_everything(&server);
    write_image(&server);
    let backup = server.data_dir().with_file_name("backup");
    let examples = examples();
    let follows = |example: &&Example| example.words.iter().any(|word| word == "--follow");
    let repairs = |example: &&Example| example.words.first().is_some_and(|word| word == "repair");
    let others = examples.iter().filter(|example| !follows(example) && !repairs(example));
    assert!(others.clone().count() >= 7, "has the form of the page changed?");
    for example in others {
        run(example, &server.data_dir(), &backup);
    }
    assert_eq!(examples.iter().filter(follows).count(), 1);
    let repair = examples.iter().find(repairs).expect("the page shows a repair");
    let (damaged, _, _) = damaged();
    run(repair, &damaged.data_dir(), &backup);
}

#[test]
fn every_command_has_an_example_in_its_help() {
    for command in
        [&["log", "ls"][..], &["log", "dump"], &["log", "stats"], &["log", "verify"], &["verify"], &["repair"]]
    {
        let help = String::from_utf8(rkctl(&[command, &["--help"]].concat()).stdout).unwrap();
        assert!(help.contains(&format!("  rkctl {}", command.join(" "))), "{help}");
    }
}
