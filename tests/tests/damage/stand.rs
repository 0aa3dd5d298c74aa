//! A server on an image that consists of two files, and the places of its parts.

use client::{ConnectOptions, Connection, Operations, four_letter_word};
use proto::request::{CreateMode, CreateRequest, Request};
use proto::{OpCode, Zxid};
use ringkeeper_tests::{Builder, Server, until};
use snapshot::base::Base;
use snapshot::{DataDir, ImageRef};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The exit code where the image in use is damaged or cannot be read.
pub(crate) const EXIT_UNREADABLE: i32 = 74;
/// So that an image has some hundred segments.
pub(crate) const DATA_BYTES: usize = 3_000;
pub(crate) const ZNODES: usize = 1_500;
/// What is changed before the second image.
pub(crate) const CHANGED: std::ops::Range<usize> = 100..160;
/// Requests that are on their way together.
const DEPTH: usize = 64;

pub(crate) fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &ConnectOptions::default()).expect("it serves")
}

/// A figure of `mntr`, without its prefix.
pub(crate) fn figure(server: &Server, key: &str) -> f64 {
    let text = four_letter_word(server.address(), "mntr", PATIENCE).expect("an answer");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_ringkeeper_{key}\t")));
    line.unwrap_or_else(|| panic!("mntr has no {key}:\n{text}")).parse().expect("a number")
}

pub(crate) fn path_of(number: usize) -> String {
    format!("/d/{number:05}")
}

pub(crate) fn data_of(number: usize, version: usize) -> Vec<u8> {
    let mut data = format!("znode {number} version {version} ").into_bytes();
    data.resize(DATA_BYTES, b'x');
    data
}

/// Creates these znodes below `/d`, which is there.
pub(crate) fn fill(conn: &mut Connection, numbers: std::ops::Range<usize>) {
    let acl = client::AclList::open();
    for first in numbers.clone().step_by(DEPTH) {
        let batch = first..(first + DEPTH).min(numbers.end);
        for number in batch.clone() {
            let (path, data) = (path_of(number), data_of(number, 0));
            let create = CreateRequest { path: &path, data: Some(&data), acl: acl.as_vec(), flags: 0, ttl_ms: None };
            conn.queue(&Request::Create(OpCode::Create, create));
        }
        conn.flush().expect("sent");
        batch.for_each(|_| drop(conn.recv_reply().expect("a reply").ok().expect("created")));
    }
}

/// A stopped server whose image points into the one before: of the znodes below `/d`, [`CHANGED`] lie in the newer file, most others in
/// the older one.
pub(crate) fn image_in_two_files() -> Builder {
    let mut server = Server::builder().in_memory().start();
    let mut conn = connect(&server);
    conn.create("/d", b"", CreateMode::Persistent).expect("created");
    fill(&mut conn, 0..ZNODES);
    server.take_image();
    for number in CHANGED {
        conn.set(&path_of(number), &data_of(number, 1), 0).expect("set");
    }
    server.take_image();
    conn.close().expect("closed");
    assert!(server.sigterm().success());
    let builder = server.own_builder().clone();
    assert_eq!(open(&builder).files().len(), 2, "the image carries over");
    builder
}

/// Starts it, and waits until the scrub has read all: whatever is damaged from here on is for the readers to find.
pub(crate) fn start_and_scrub(builder: &Builder) -> Server {
    let server = builder.clone().start();
    until("the scrub", || figure(&server, "images_scrubbed_count") >= 1.0);
    server
}

/// The newest image of a directory, beside the server.
pub(crate) fn open(builder: &Builder) -> Base {
    Base::open(&builder.data_dir(), &ImageRef::at(newest_zxid(builder))).expect("an image of today's format")
}

/// The zxid of the newest image.
pub(crate) fn newest_zxid(builder: &Builder) -> Zxid {
    DataDir::new(builder.data_dir()).images().expect("listed").first().expect("an image").zxid
}

/// A place in a file of the image.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    /// The segment around it.
    pub(crate) extent: std::ops::Range<u64>,
}

impl Place {
    /// Where these bytes lie in the segment of this znode.
    pub(crate) fn of(builder: &Builder, path: &str, bytes: &[u8]) -> Place {
        let base = open(builder);
        let extent = base.extent(path).expect("it lies in a segment");
        let file = base.files()[extent.file].path.clone();
        let mut segment = vec![0; usize::try_from(extent.bytes).expect("some KiB")];
        File::open(&file).expect("opened").read_exact_at(&mut segment, extent.offset).expect("read");
        let at = segment.windows(bytes.len()).position(|window| window == bytes).expect("they are there");
        Place { file, offset: extent.offset + at as u64, extent: extent.offset..extent.offset + extent.bytes }
    }

    /// Changes a bit of the byte there, also in the page cache; again, and it is as it was.
    pub(crate) fn flip(&self) {
        let file = OpenOptions::new().read(true).write(true).open(&self.file).expect("opened");
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.offset).expect("read");
        file.write_all_at(&[byte[0] ^ 0x10], self.offset).expect("written");
    }

    /// That the server ended in order for this place: with its code, and with the words that an operator needs.
    pub(crate) fn assert_named(&self, server: &mut Server, case: &str) {
        until("the server's end", || server.ended().is_some());
        let (status, log) = (server.ended().expect("it has ended"), server.log());
        assert_eq!(status.code(), Some(EXIT_UNREADABLE), "{case}: {status}\n{log}");
        let line =
            log.lines().rfind(|line| line.starts_with("ringkeeper: ")).unwrap_or_else(|| panic!("{case}: {log}"));
        let zxid = newest_zxid(server.own_builder()).to_string();
        for part in
            [self.file.to_str().expect("text"), "is damaged", &zxid, "restore it from a backup", "The server stops"]
        {
            assert!(line.contains(part), "{case}: {part:?} is missing in: {line}");
        }
        let offset = line.split("at offset ").nth(1).and_then(|rest| rest.split(',').next());
        let offset: u64 = offset.and_then(|offset| offset.parse().ok()).unwrap_or_else(|| panic!("{case}: {line}"));
        assert!(self.extent.contains(&offset), "{case}: {self:?}: {line}");
        assert!(!log.contains("panicked at"), "{case}: a bad disk is told as a bug of ours: {log}");
    }
}
