//! The reference page `docs/configuration.md`, written from the table of keys.
//!
//! The test `the_reference_page_is_up_to_date` compares; `RINGKEEPER_BLESS=1 cargo test -p ringkeeper reference`
//! writes the page anew.

use std::fmt::Write;

use crate::docker::{VARIABLES, Variable};

use super::keys::{ALIASES, CHAPTERS, Effect, KeySpec};

/// The page's text.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    for chapter in CHAPTERS {
        push(&mut page, format_args!("\n## {}\n\n| key | allowed | default | effective | meaning |\n", chapter.title));
        page.push_str("|---|---|---|---|---|\n");
        chapter.keys.iter().for_each(|spec| push_row(&mut page, spec));
    }
    page.push_str(DOCKER);
    VARIABLES.iter().for_each(|variable| push_variable(&mut page, variable));
    page.push_str("\n## Other spellings\n\n| also written | key |\n|---|---|\n");
    ALIASES.iter().for_each(|(alias, name)| push(&mut page, format_args!("| `{alias}` | `{name}` |\n")));
    page
}

fn push_row(page: &mut String, spec: &KeySpec) {
    let default = if spec.default.is_empty() { "–".to_owned() } else { format!("`{}`", spec.default) };
    let effective = match spec.effect {
        Effect::Now => "yes".to_owned(),
        Effect::Later => "later".to_owned(),
        Effect::LaterMind(what) => format!("later; until then {what}"),
        Effect::Ensemble => "yes, in ensembles".to_owned(),
        Effect::EnsembleLater(until_then) => format!("with ensembles, later; until then {until_then}"),
        Effect::EnsembleRefused => "with ensembles, later; until then it ends a member's start".to_owned(),
        Effect::Never(reason) => format!("no: {reason}"),
    };
    let name = match spec.name.strip_suffix('*') {
        Some(stem) => format!("{stem}…"),
        None => spec.name.to_owned(),
    };
    let (allowed, doc) = (spec.kind.allowed(), spec.doc.replace('|', "\\|"));
    push(page, format_args!("| `{name}` | {allowed} | {default} | {effective} | {doc} |\n"));
}

fn push_variable(page: &mut String, variable: &Variable) {
    let default = if variable.default.is_empty() { "–".to_owned() } else { format!("`{}`", variable.default) };
    let meaning = if variable.key.is_empty() { variable.doc.to_owned() } else { format!("`{}`", variable.key) };
    push(page, format_args!("| `{}` | {default} | {meaning} |\n", variable.name));
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    let written = page.write_fmt(text);
    assert!(written.is_ok(), "writing to a String does not fail");
}

const DOCKER: &str = "
## In a container

`ringkeeper --docker` takes its configuration from the environment, as the official ZooKeeper image (`docker.io/library/zookeeper`, 3.9.4) does; `tools/docker`
has an image that starts so.

- Where `<ZOO_CONF_DIR>/zoo.cfg` is absent, it is made of the variables below, line for line as the official image makes it, and written there. Where it is
  there, it holds, and a warning names the variables that are without effect. `<ZOO_DATA_DIR>/myid` is written from `ZOO_MY_ID` where it is absent.
- Nothing is written before the server serves; a bad value is an error that names the variable. A file that cannot be written, in a read-only
  container for instance, is a warning, and the server runs all the same.
- Docker's own seccomp profile blocks io_uring: run with `--security-opt seccomp=unconfined`, or with a profile that allows `io_uring_setup`,
  `io_uring_enter` and `io_uring_register`.
- The image has the server alone: `zkServer.sh status`, `zkCli.sh` and `nc` are not in it. A health check from within can ask by bash:
  `exec 3<>/dev/tcp/127.0.0.1/2181 && echo srvr >&3 && grep -q Mode: <&3`.
- A variable that is empty counts as one that is not set. An unknown `ZOO_` variable is a warning.
- `-D`, `SERVER_JVMFLAGS`, `JVMFLAGS` and `RINGKEEPER_LOG` hold as always. `ringkeeper --docker --check-config` only checks.
- The images of others (Bitnami, Confluent) have other variables, which are not read.

| variable | without it | what it sets |
|---|---|---|
";

const HEAD: &str = "\
# Configuration

This page is generated from the table of keys in `server/src/config/keys`; a test compares the two.

`ringkeeper path/to/zoo.cfg` takes a ZooKeeper configuration as it is. `ringkeeper --check-config path/to/zoo.cfg`
reads it, reports everything it has to say, and ends with 0 (usable) or 2 (errors), without touching anything.
Without a file the server listens on 127.0.0.1:2181, keeps its data in `./ringkeeper-data` and ticks every 2000 ms.

- The file has the syntax of Java properties: `key=value`, `#` and `!` for comments, `\\` at the end of a line to go on,
  `\\uXXXX` for characters. Where a key stands twice, the last line holds.
- Each key may be written with or without `zookeeper.` in front, in the file and on the command line:
  `-D zookeeper.snapCount=50000`, `-DsnapCount=50000` and a line `snapCount=50000` say the same. The command line wins
  over the file (in ZooKeeper the file wins), and a warning names the line that lost.
- A bad value is an error that names file, line, value and what is allowed; all errors are shown at once. ZooKeeper
  takes many a typing error silently for the default.
- An unknown key is a warning. A key whose function comes later is accepted with the warning \"accepted, not yet
  effective\" where its value differs from the default; one that concerns ensembles, by a member of one.
- `<dataDir>/myid` is read where it exists.
- A single `server.` line is a standalone server, as in ZooKeeper. More of them describe an ensemble
  (docs/ensemble.md).
";
