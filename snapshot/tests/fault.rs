//! A fault on a mapped image is named and ends the process; a fault elsewhere does what it did before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_model.rs"]
mod base_model;
#[path = "common/sanitizer.rs"]
mod sanitizer;

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use base_model::{Model, open};
use proto::Zxid;
use ringkeeper_snapshot::base::BaseOptions;
use ringkeeper_snapshot::{DataDir, fault};

const DIR: &str = "RINGKEEPER_FAULT_TEST_DIR";
const SIGBUS: i32 = 7;

fn run_child(test: &str, dir: &Path) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--ignored", "--nocapture"]).env(DIR, dir).output().unwrap()
}

/// The directory that the parent gives; `None`: run by hand.
fn given() -> Option<std::path::PathBuf> {
    std::env::var_os(DIR).map(Into::into)
}

#[test]
fn a_file_cut_short_under_the_mapping_is_named_and_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    for number in 0..20 {
        model.put(&format!("/n{number}"), Some(vec![1; 20_000]), None);
    }
    model.publish(dir.path(), Zxid(5), BaseOptions::default(), None);
    let output = run_child("child_that_reads_an_image_that_is_cut_short", dir.path());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(fault::FAULT_EXIT_CODE), "{:?}: {text}", output.status);
    let image = DataDir::new(dir.path()).image(Zxid(5));
    for part in [image.to_str().unwrap(), "at offset ", "cut short", "restore the file"] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    let offset: u64 = text.split("at offset ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!((4096..400_000).contains(&offset), "{offset}");
}

#[test]
fn a_fault_in_no_image_keeps_its_default_action() {
    let dir = tempfile::tempdir().unwrap();
    let output = run_child("child_that_reads_something_else_that_is_cut_short", dir.path());
    // The sanitizer has an action of its own, which is kept as well.
    assert!(sanitizer::is_on() || output.status.signal() == Some(SIGBUS), "{:?}", output.status);
    assert_ne!(output.status.code(), Some(fault::FAULT_EXIT_CODE));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("a mapped page"));
}

#[test]
#[ignore = "ends its process; run by the test above"]
fn child_that_reads_an_image_that_is_cut_short() {
    let Some(dir) = given() else { return };
    fault::install().unwrap();
    let base = open(&dir, Zxid(5));
    File::options().write(true).open(&base.files()[0].path).unwrap().set_len(4096).unwrap();
    let read: usize = base.nodes().map(|node| node.unwrap().data().unwrap().map_or(0, |data| data.len())).sum();
    panic!("{read} bytes were read of a file that is not there");
}

#[test]
#[ignore = "ends its process; run by the test above"]
fn child_that_reads_something_else_that_is_cut_short() {
    let Some(dir) = given() else { return };
    fault::install().unwrap();
    let path = dir.join("other");
    std::fs::write(&path, vec![1; 20_000]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: the mapping is private to this process, whose end this is about.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    file.set_len(0).unwrap();
    let read: usize = map.iter().map(|&byte| usize::from(byte)).sum();
    panic!("{read} was read of a file that is not there");
}
