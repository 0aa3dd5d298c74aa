//! Scripts with recorded output: a line says what happens, and indented below it stands what comes of that.
//!
//! Record anew with `RINGKEEPER_BLESS=1 cargo test -p ringkeeper-zab`, and read the difference. Empty lines and those that begin with `#` mean nothing.

use proto::{Epoch, Zxid};
use ringkeeper_zab::ensemble::Ensemble;
use std::path::Path;

/// Plays all scripts of `tests/scripts/DIRECTORY`, each on a stage of its own, with `play` for each line. It says what comes of it.
pub(crate) fn check<S>(directory: &str, stage: impl Fn() -> S, play: impl Fn(&mut S, &str) -> Vec<String>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(directory);
    let mut paths: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", directory.display());
    let mut wrong = Vec::new();
    for path in paths {
        println!("{}", path.display());
        let recorded = std::fs::read_to_string(&path).unwrap();
        let said = run(&recorded, stage(), &play);
        if std::env::var_os("RINGKEEPER_BLESS").is_some() {
            std::fs::write(&path, &said).unwrap();
        } else if said != recorded {
            wrong.push(format!("{}:\n{}", path.display(), difference(&recorded, &said)));
        }
    }
    assert!(wrong.is_empty(), "not what was recorded (RINGKEEPER_BLESS=1 records anew):\n{}", wrong.join("\n"));
}

/// The script with what is said now in the place of what was recorded.
fn run<S>(script: &str, mut stage: S, play: impl Fn(&mut S, &str) -> Vec<String>) -> String {
    let mut said = String::new();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        said += line;
        said.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            for word in play(&mut stage, line) {
                said += &format!("  {word}\n");
            }
        }
    }
    said
}

fn difference(recorded: &str, said: &str) -> String {
    let same = recorded.lines().zip(said.lines()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str| text.lines().skip(same.saturating_sub(3)).take(12).collect::<Vec<_>>().join("\n");
    format!("line {}\nrecorded:\n{}\nsaid:\n{}\n", same + 1, rest(recorded), rest(said))
}

/// `1 2 3 o4 group.1=1:2 weight.3=0`: voters, observers, and lines of a configuration as they are.
pub(crate) fn ensemble(words: &str) -> Ensemble {
    let mut text = String::new();
    for word in words.split_whitespace() {
        let (id, role) = word.strip_prefix('o').map_or((word, "participant"), |id| (id, "observer"));
        match word.contains('=') {
            true => text += &format!("{word}\n"),
            false => text += &format!("server.{id}=zk{id}:2888:3888:{role}\n"),
        }
    }
    Ensemble::parse(&format!("{text}version=0")).unwrap()
}

/// `1.5`: epoch and counter.
pub(crate) fn zxid(text: &str) -> Zxid {
    let (epoch, counter) = text.split_once('.').unwrap_or_else(|| panic!("{text} is no zxid"));
    Zxid::new(Epoch(epoch.parse().unwrap()), counter.parse().unwrap())
}
