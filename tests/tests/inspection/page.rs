//! `docs/inspection.md`: each command of the page runs, and prints what the page shows, but for the figures.

use crate::damage::damaged;
use crate::zookeeper::zookeepers;
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

/// The directories that the page speaks of, and those that stand for them.
struct Places<'p>([(&'static str, &'p Path); 3]);

impl<'p> Places<'p> {
    fn new(dir: &'p Path, backup: &'p Path, zookeeper: &'p Path) -> Places<'p> {
        Places([("/var/lib/ringkeeper", dir), ("/backup/ringkeeper", backup), ("/var/lib/zookeeper", zookeeper)])
    }

    fn here(&self, word: &str) -> String {
        self.0.iter().fold(word.to_owned(), |word, (shown, here)| word.replace(shown, path(here)))
    }

    fn shown(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, here)| text.replace(path(here), shown))
    }
}

fn run(example: &Example, places: &Places<'_>) {
    let place = |word: &String| places.here(word);
    let words: Vec<String> = example.words.iter().map(place).collect();
    let output = rkctl(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let printed = places.shown(&String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    println!("$ rkctl {}\n{printed}", example.words.join(" "));
    assert!(output.status.success(), "rkctl {}: {printed}{said}", words.join(" "));
    let first = printed.lines().next().unwrap_or_default();
    assert_eq!(shape(first), shape(&example.first_line), "rkctl {}:\n{printed}", words.join(" "));
}

#[test]
fn each_example_of_the_page_prints_what_the_page_shows() {
    let server = server();
    write_a_bit_of_everything(&server);
    write_image(&server);
    let (dir, backup) = (server.data_dir(), server.data_dir().with_file_name("backup"));
    let (zookeeper, _) = zookeepers("3.9.5", &["snapshot.0", "snapshot.1b", "log.1"]);
    let places = Places::new(&dir, &backup, zookeeper.path());
    let examples = examples();
    let follows = |example: &&Example| example.words.iter().any(|word| word == "--follow");
    let repairs = |example: &&Example| example.words.first().is_some_and(|word| word == "repair");
    let others = examples.iter().filter(|example| !follows(example) && !repairs(example));
    assert!(others.clone().count() >= 15, "has the form of the page changed?");
    for example in others {
        run(example, &places);
    }
    assert_eq!(examples.iter().filter(follows).count(), 1);
    let repair = examples.iter().find(repairs).expect("the page shows a repair");
    let (damaged, _, _) = damaged();
    let damaged = damaged.data_dir();
    run(repair, &Places::new(&damaged, &backup, zookeeper.path()));
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let commands = [
        &["log", "ls"][..],
        &["log", "dump"],
        &["log", "stats"],
        &["log", "verify"],
        &["snapshot", "ls"],
        &["snapshot", "dump"],
        &["snapshot", "stats"],
        &["snapshot", "verify"],
        &["snapshot", "diff"],
        &["verify"],
        &["repair"],
    ];
    for command in commands {
        let help = String::from_utf8(rkctl(&[command, &["--help"]].concat()).stdout).unwrap();
        assert!(help.contains(&format!("  rkctl {}", command.join(" "))), "{help}");
    }
}
