//! Every configuration under `tests/config` gives exactly the messages that stand beside it.
//!
//! `NAME.cfg` is read as the server would read it; what it comes to, with every warning and error, stands in
//! `NAME.expected`. `RINGKEEPER_BLESS=1 cargo test -p ringkeeper --test config_examples` records anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use ringkeeper_server::config::{Sources, load};
use ringkeeper_server::member::MemberSettings;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// What a configuration comes to, in words.
fn outcome(file: &Path) -> String {
    let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
    let mut text = String::new();
    match load(&sources) {
        Ok(loaded) => {
            let config = loaded.config;
            let what = match MemberSettings::new(&config) {
                Ok(None) => "standalone".to_owned(),
                Ok(Some(member)) => format!("one of {} servers", member.ensemble.members().len()),
                Err(not_yet) => not_yet.to_string(),
            };
            writeln!(text, "usable: {what}").expect("a String");
            writeln!(text, "clients: {:?}", config.clients.listen).expect("a String");
            writeln!(text, "id: {:?}, role: {}", config.quorum.my_id, config.quorum.role).expect("a String");
            loaded.warnings.iter().for_each(|warning| writeln!(text, "warning: {warning}").expect("a String"));
        }
        Err(errors) => {
            text.push_str("refused\n");
            errors.0.iter().for_each(|error| writeln!(text, "error: {error}").expect("a String"));
        }
    }
    text.replace(&format!("{}/", examples().display()), "")
}

#[test]
fn every_example_gives_the_recorded_messages() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(examples())
        .expect("the examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "cfg"))
        .collect();
    names.sort();
    assert!(names.len() >= 22, "examples are missing: {names:?}");
    for file in names {
        let (outcome, recorded) = (outcome(&file), file.with_extension("expected"));
        if std::env::var_os("RINGKEEPER_BLESS").is_some() {
            std::fs::write(&recorded, &outcome).expect("recorded");
        }
        let expected = std::fs::read_to_string(&recorded).expect("a recorded outcome");
        assert_eq!(outcome, expected, "{}", file.display());
    }
}
