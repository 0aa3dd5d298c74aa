//! Bytes that go bad under a running server, and while it is stopped.

use crate::stand::{CHANGED, Place, ZNODES, connect, data_of, image_in_two_files, path_of, start_and_scrub};
use client::{ClientError, Connection, Operations};
use proto::request::CreateMode;
use snapshot::DataDir;

/// What a client asks; whether the answer is one that an undamaged image could give.
type Question = fn(&mut Connection, usize) -> Result<(), ClientError>;

fn reads_the_data(conn: &mut Connection, number: usize) -> Result<(), ClientError> {
    let (data, _) = conn.get(&path_of(number), false)?;
    panic!("served: {}", String::from_utf8_lossy(&data[..40]));
}

fn asks_whether_it_is_there(conn: &mut Connection, number: usize) -> Result<(), ClientError> {
    let found = conn.exists(&path_of(number), false)?;
    panic!("answered: {found:?}");
}

fn lists(conn: &mut Connection, _number: usize) -> Result<(), ClientError> {
    let names = conn.children("/d", false)?;
    panic!("listed: {} names", names.len());
}

fn changes_it(conn: &mut Connection, number: usize) -> Result<(), ClientError> {
    let stat = conn.set(&path_of(number), b"new", -1)?;
    panic!("changed: {stat:?}");
}

fn makes_a_child_of_it(conn: &mut Connection, number: usize) -> Result<(), ClientError> {
    let created = conn.create(&format!("{}/child", path_of(number)), b"", CreateMode::Persistent)?;
    panic!("created: {created}");
}

#[test]
fn a_byte_that_goes_bad_under_a_running_server_is_never_served_and_ends_it_with_its_place() {
    let builder = image_in_two_files();
    // One in the newer file, one in the older one.
    let (newer, older) = (CHANGED.start + 7, CHANGED.end + 900);
    let files = [(newer, 1), (older, 0)].map(|(number, version)| {
        let data = Place::of(&builder, &path_of(number), &data_of(number, version));
        let record = Place::of(&builder, &path_of(number), path_of(number).as_bytes());
        (number, Place { offset: data.offset + 1_000, ..data }, record)
    });
    assert_ne!(files[0].1.file, files[1].1.file);
    for (number, data, record) in files {
        let cases: [(&str, &Place, Question); 5] = [
            ("getData, data", &data, reads_the_data),
            ("exists, record", &record, asks_whether_it_is_there),
            ("getChildren, record", &record, lists),
            ("setData, record", &record, changes_it),
            ("create, the parent's record", &record, makes_a_child_of_it),
        ];
        for (case, place, question) in cases {
            let mut server = start_and_scrub(&builder);
            let mut conn = connect(&server);
            let mut other = connect(&server);
            place.flip();
            // What is whole is served as ever, in the same segment too.
            for whole in [number - 1, number + 1] {
                let version = usize::from(CHANGED.contains(&whole));
                assert_eq!(other.get(&path_of(whole), false).expect("whole").0, data_of(whole, version), "{case}");
            }
            let answer = question(&mut conn, number);
            assert!(answer.as_ref().is_err_and(|error| !matches!(error, ClientError::Server(_))), "{case}: {answer:?}");
            place.assert_named(&mut server, case);
            place.flip();
        }
    }
    // None of these ends has harmed anything.
    let server = start_and_scrub(&builder);
    let mut conn = connect(&server);
    for number in 0..ZNODES {
        let data = conn.get(&path_of(number), false).expect("there").0;
        assert_eq!(data, data_of(number, usize::from(CHANGED.contains(&number))));
    }
}

#[test]
fn the_scrub_finds_what_no_client_touches_in_either_file() {
    let builder = image_in_two_files();
    let (newer, older) = (CHANGED.start + 7, CHANGED.end + 900);
    for (number, version) in [(newer, 1), (older, 0)] {
        let data = Place::of(&builder, &path_of(number), &data_of(number, version));
        for place in [data.clone(), Place { offset: data.extent.end - 1, ..data }] {
            place.flip();
            // A start reads no data.
            let mut server = builder.clone().start();
            place.assert_named(&mut server, "scrub");
            place.flip();
        }
    }
    drop(start_and_scrub(&builder));
}

#[test]
fn damage_that_the_image_thread_meets_ends_the_server_and_is_not_copied_into_the_next_image() {
    let builder = image_in_two_files();
    let number = CHANGED.end + 900;
    let data = Place::of(&builder, &path_of(number), &data_of(number, 0));
    let mut server = start_and_scrub(&builder);
    let mut conn = connect(&server);
    data.flip();
    // The segment has to be written anew, for a neighbour of the damage.
    let neighbour = (number - 40..number + 40).find(|&other| {
        other != number && Place::of(&builder, &path_of(other), &data_of(other, 0)).extent == data.extent
    });
    let neighbour = neighbour.expect("names that follow each other lie together");
    conn.set(&path_of(neighbour), b"new", -1).expect("it is whole");
    server.ask_for_image();
    data.assert_named(&mut server, "image");
    assert_eq!(DataDir::new(builder.data_dir()).images().expect("listed").len(), 2, "an image was made of damage");
}
