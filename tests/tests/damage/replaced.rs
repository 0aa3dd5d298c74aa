//! Images come and go while everybody reads: every answer is right, and the files that nobody needs any more go.

use crate::stand::{connect, data_of, figure, fill, path_of};
use client::{Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::{Core, Server};
use snapshot::base::verify;
use snapshot::{DataDir, ImageRef};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const ZNODES: usize = 1_000;
/// Of every so many znodes one is never changed.
const STEADY: usize = 3;
const IMAGES: usize = 25;
/// Kept, as the least.
const RETAINED: usize = 3;
const READERS: usize = 3;

/// The version that the data of a znode are of.
fn version_of(number: usize, data: &[u8]) -> usize {
    let text = std::str::from_utf8(data).expect("text");
    let version = text.strip_prefix(&format!("znode {number} version ")).and_then(|rest| rest.split(' ').next());
    let version = version.and_then(|version| version.parse().ok()).expect("its own data");
    assert!(data == data_of(number, version), "{number}: {text}");
    version
}

/// Reads until it is told to stop, and returns how often. `written` is the newest round that has been acknowledged of every znode.
fn read(mut conn: Connection, reader: usize, written: &AtomicUsize, is_over: &AtomicBool) -> usize {
    let (mut seen, mut reads) = (vec![0; ZNODES], 0);
    let mut number = reader * 37;
    while !is_over.load(Ordering::Relaxed) {
        number = (number + 389) % ZNODES;
        let least = if number.is_multiple_of(STEADY) { 0 } else { written.load(Ordering::Acquire) };
        let version = version_of(number, &conn.get(&path_of(number), false).expect("there").0);
        assert!(version >= least.max(seen[number]), "{number}: {version} after {least} and {}", seen[number]);
        assert!(version == 0 || !number.is_multiple_of(STEADY), "{number} was never changed");
        seen[number] = version;
        if reads % 100 == 0 {
            assert_eq!(conn.children("/d", false).expect("listed").len(), ZNODES);
        }
        reads += 1;
    }
    reads
}

#[test]
fn every_answer_is_right_while_images_are_taken_and_old_ones_purged() {
    for core in Core::BOTH {
        let server = Server::builder()
            .in_memory()
            .core(core)
            .set("autopurge.purgeInterval", "1")
            .set("autopurge.snapRetainCount", &RETAINED.to_string())
            .shards(2)
            .start();
        let mut conn = connect(&server);
        conn.create("/d", b"", CreateMode::Persistent).expect("created");
        fill(&mut conn, 0..ZNODES);
        server.take_image();
        let (written, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (written, is_over) = (&written, &is_over);
            let readers: Vec<_> = (0..READERS)
                .map(|reader| {
                    let conn = connect(&server);
                    scope.spawn(move || read(conn, reader, written, is_over))
                })
                .collect();
            for round in 1..=IMAGES {
                // All that change, or a few neighbours: files are left behind whole, and carried over from.
                let numbers = if round % 2 == 0 { 0..ZNODES } else { round * 20..round * 20 + 20 };
                let acknowledged = numbers.len() == ZNODES;
                for number in numbers.filter(|number| !number.is_multiple_of(STEADY)) {
                    conn.set(&path_of(number), &data_of(number, round), -1).expect("set");
                }
                if acknowledged {
                    written.store(round, Ordering::Release);
                }
                server.take_image();
            }
            is_over.store(true, Ordering::Relaxed);
            for reader in readers {
                let reads = reader.join().expect("all was right");
                assert!(reads > IMAGES, "{reads} reads while {IMAGES} images were taken");
            }
        });
        let images = DataDir::new(server.data_dir()).images().expect("listed");
        for image in images.iter().take(RETAINED) {
            let totals =
                verify(&server.data_dir(), &ImageRef::at(image.zxid)).expect("whole, with the files it points into");
            assert!(totals.node_count >= ZNODES as u64);
        }
        let left = images.len();
        println!("{core:?}: {IMAGES} images more, {left} files are left");
        // Those, and what they point into: a file of which little is in use is soon left behind.
        assert!(left < IMAGES / 2, "{left} files are left");
        assert_eq!(figure(&server, "images_failed_count"), 0.0);
    }
}
