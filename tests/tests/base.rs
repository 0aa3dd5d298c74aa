//! The tree on its image: served from where it lies, changed above it, carried over into the next one; cold parts and damage.

use client::{ConnectOptions, Connection, Operations, four_letter_word};
use proto::request::CreateMode;
use ringkeeper_tests::{Server, until};
use rustix::fs::{Advice, fadvise};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// So that an image has hundreds of segments.
const DATA_BYTES: usize = 2_000;

fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &ConnectOptions::default()).expect("it serves")
}

/// A figure of `mntr`, without its prefix.
fn figure(server: &Server, key: &str) -> f64 {
    let text = four_letter_word(server.address(), "mntr", PATIENCE).expect("an answer");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_ringkeeper_{key}\t")));
    line.unwrap_or_else(|| panic!("mntr has no {key}:\n{text}")).parse().expect("a number")
}

/// The published images, oldest first.
fn images(server: &Server) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(server.data_dir()).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_image = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("image.") && !name.ends_with(".tmp"))
    };
    let mut images: Vec<PathBuf> = paths.filter(is_image).collect();
    images.sort();
    images
}

fn data_of(number: usize, version: usize) -> Vec<u8> {
    let mut data = format!("{number}/{version}/").into_bytes();
    data.resize(DATA_BYTES, b'x');
    data
}

/// A server whose image has this many znodes below `/d`.
fn with_image(znodes: usize) -> Server {
    let server = Server::builder().set("snapCount", &(znodes / 2).to_string()).shards(1).start();
    let mut conn = connect(&server);
    conn.create("/d", b"", CreateMode::Persistent).expect("created");
    for number in 0..znodes {
        conn.create(&format!("/d/{number:05}"), &data_of(number, 0), CreateMode::Persistent).expect("created");
    }
    until("an image of most of it", || images(&server).len() >= 2);
    server
}

#[test]
fn what_lies_in_the_image_and_what_changed_above_it_make_one_tree_over_restarts_and_images() {
    const ZNODES: usize = 3_000;
    let mut server = with_image(ZNODES);
    let mut expected: BTreeMap<String, Vec<u8>> =
        (0..ZNODES).map(|number| (format!("{number:05}"), data_of(number, 0))).collect();
    for round in 1..=3_usize {
        let mut conn = connect(&server);
        // Neighbours by number lie apart by hash and together by name: both kinds of change.
        for number in (round..ZNODES).step_by(97) {
            let (name, data) = (format!("{number:05}"), data_of(number, round));
            if expected.contains_key(&name) {
                conn.set(&format!("/d/{name}"), &data, -1).expect("set");
                expected.insert(name, data);
            }
        }
        for number in round * 100..round * 100 + 20 {
            let name = format!("{number:05}");
            if expected.remove(&name).is_some() {
                conn.delete(&format!("/d/{name}"), -1).expect("deleted");
            }
        }
        let (name, data) = (format!("new-{round}"), data_of(0, round));
        conn.create(&format!("/d/{name}"), &data, CreateMode::Persistent).expect("created");
        expected.insert(name, data);
        if round == 2 {
            assert!(server.sigterm().success());
        }
        server.restart();
        assert!(server.log().contains("image opened"), "{}", server.log());
        let mut conn = connect(&server);
        let mut names = conn.children("/d", false).expect("listed");
        names.sort();
        assert!(names.iter().eq(expected.keys()), "the names after restart {round}");
        for (name, data) in &expected {
            assert_eq!(conn.get(&format!("/d/{name}"), false).expect("there").0, *data, "{name} after restart {round}");
        }
    }
}

#[test]
fn what_is_not_in_memory_is_read_in_before_it_is_needed() {
    const ZNODES: usize = 4_000;
    let mut server = with_image(ZNODES);
    server.kill9();
    server.restart();
    // The scrub leaves a small image in memory.
    until("the scrub", || figure(&server, "images_scrubbed_count") >= 1.0);
    for image in images(&server) {
        let file = File::open(image).expect("an image");
        fadvise(&file, 0, None, Advice::DontNeed).expect("the kernel may forget it");
    }
    let mut conn = connect(&server);
    for number in (0..ZNODES).rev() {
        assert_eq!(conn.get(&format!("/d/{number:05}"), false).expect("there").0, data_of(number, 0));
    }
    assert_eq!(conn.children("/d", false).expect("listed").len(), ZNODES);
    assert!(figure(&server, "cold_wait_count") >= 1.0, "nothing was waited for");
}

#[test]
fn the_scrub_reads_all_of_an_image_and_ends_the_server_at_damage_that_nobody_has_met() {
    let mut server = with_image(2_000);
    until("the scrub", || figure(&server, "images_scrubbed_count") >= 1.0);
    assert!(server.sigterm().success());
    let newest = images(&server).pop().expect("an image");
    let file = OpenOptions::new().read(true).write(true).open(&newest).expect("an image");
    // Among the segments, which begin the file; the start reads what ends it.
    let offset = file.metadata().expect("a file").len() / 3;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    file.write_all_at(&[byte[0] ^ 0x40], offset).expect("written");
    let builder = server.own_builder().clone();
    drop(server);
    let log = match builder.try_start() {
        // A reserved znode lies there, which is looked at before anybody is served.
        Err(log) => log,
        Ok(mut server) => {
            until("the end", || server.ended().is_some());
            server.log()
        }
    };
    let name = newest.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(log.contains("is damaged") && log.contains(name) && log.contains("offset"), "{log}");
}
