//! What cannot be read: the file of the image is cut short under the server, or the disk fails. Whoever meets it first, the file is
//! named, and the exit code is that of an image that cannot be read.
//!
//! What a request will touch is read in beside the mapping, so a failing disk shows there as an error. What is not looked at beforehand (the
//! ephemerals of all sessions), and what goes between the look and the use, is a fault on a mapped page.

use crate::stand::{EXIT_UNREADABLE, PATIENCE, ZNODES, fill, open, path_of, start_and_scrub};
use client::{ConnectOptions, Connection, Operations, four_letter_word};
use proto::connect::ConnectResponse;
use proto::request::CreateMode;
use ringkeeper_tests::{Builder, Core, LoopDisk, Server, until};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::PathBuf;

const EPHEMERALS: usize = 100;

/// A stopped server whose image holds znodes and, behind them in the file, the ephemerals of this session.
struct Stand {
    builder: Builder,
    session: ConnectResponse,
    image: PathBuf,
    image_bytes: u64,
}

impl Stand {
    fn new(builder: Builder) -> Stand {
        Stand::of_session(builder, &ConnectOptions::default())
    }

    fn of_session(builder: Builder, options: &ConnectOptions) -> Stand {
        let mut server = builder.start();
        let mut conn = Connection::open(server.address(), options).expect("it serves");
        let session = conn.handshake(options).expect("a session");
        conn.create("/d", b"", CreateMode::Persistent).expect("created");
        fill(&mut conn, 0..ZNODES);
        for number in 0..EPHEMERALS {
            // Long names, so that what a start reads of the file's end is far from the first of them.
            let path = format!("/e{number}-{}", "x".repeat(5_000));
            conn.create(&path, b"", CreateMode::Ephemeral).expect("created");
        }
        server.take_image();
        assert!(server.sigterm().success());
        let builder = server.own_builder().clone();
        let image = open(&builder).files()[0].path.clone();
        let image_bytes = image.metadata().expect("told").len();
        let stand = Stand { builder, session, image, image_bytes };
        stand.forget();
        stand
    }

    /// Nothing of the image stays in the page cache but what a server has touched.
    fn forget(&self) {
        let file = File::open(&self.image).expect("opened");
        file.sync_all().expect("synced");
        fadvise(&file, 0, None, Advice::DontNeed).expect("the kernel may forget it");
    }

    /// A znode from the middle of the file or behind it.
    fn far_znode(&self) -> String {
        let base = open(&self.builder);
        let is_far = |path: &String| base.extent(path).is_some_and(|extent| extent.offset > self.image_bytes / 2);
        (0..ZNODES).map(path_of).find(is_far).expect("half of them lie there")
    }

    /// That the server has ended, with the name of the file.
    fn assert_named(&self, server: &mut Server, case: &str, words: &[&str]) {
        until("the server's end", || server.ended().is_some());
        let (status, log) = (server.ended().expect("it has ended"), server.log());
        assert_eq!(status.code(), Some(EXIT_UNREADABLE), "{case}: {status}\n{log}");
        let image = self.image.to_str().expect("text");
        let line = log.lines().rfind(|line| line.contains("The server stops") && line.contains(image));
        let line = line.unwrap_or_else(|| panic!("{case}: {log}"));
        assert!(words.iter().any(|&words| line.contains(words)), "{case}: {words:?} is missing in {line}");
    }
}

/// Asks for what lies behind the middle of the file; gets no answer.
type Question = fn(&Server, &mut Connection, &str);

const FAULT: &str = "cannot be read at offset ";
const READ: &str = "cannot read ";
/// How it shows, and who asks. Between the look and the use a page can go, so what is read in beforehand can be a fault too.
const QUESTIONS: [(&str, Question, &[&str]); 3] = [
    ("getData", |_, conn, path| drop(conn.get(path, false).expect_err("cut off")), &[READ, FAULT]),
    ("getEphemerals", |_, conn, _| drop(conn.ephemerals("/").expect_err("cut off")), &[READ, FAULT]),
    // What it has said before may be an answer.
    ("dump", |server, _, _| drop(four_letter_word(server.address(), "dump", PATIENCE)), &[FAULT]),
];

#[test]
fn a_file_that_is_cut_short_under_the_server_is_named_and_is_no_bare_crash() {
    let stand = Stand::new(Server::builder().in_memory());
    let whole = std::fs::read(&stand.image).expect("read");
    for (case, question, words) in QUESTIONS {
        let mut server = start_and_scrub(&stand.builder);
        let options = ConnectOptions::renewing(&stand.session);
        let mut conn = Connection::connect(server.address(), &options).expect("the session lives");
        let path = stand.far_znode();
        let file = File::options().write(true).open(&stand.image).expect("opened");
        file.set_len(stand.image_bytes / 2).expect("cut");
        question(&server, &mut conn, &path);
        stand.assert_named(&mut server, case, words);
        std::fs::write(&stand.image, &whole).expect("written");
    }
    drop(start_and_scrub(&stand.builder));
}

/// Nobody asks for anything. That it is an error and no fault shows that the end was made ready for before it was made: its own look would have
/// met the mapped page.
#[test]
fn what_the_end_of_a_session_will_touch_is_read_in_before_its_time_and_what_cannot_be_read_is_an_error() {
    let try_with = |core| {
        // It is looked ahead between one and three seconds before the end.
        let builder = Server::builder().in_memory().core(core).set("tickTime", "2000");
        let stand = Stand::of_session(builder, &ConnectOptions { timeout_ms: 12_000, ..ConnectOptions::default() });
        let whole = std::fs::read(&stand.image).expect("read");
        let mut server = start_and_scrub(&stand.builder);
        let file = File::options().write(true).open(&stand.image).expect("opened");
        file.set_len(stand.image_bytes / 2).expect("cut");
        // Nobody comes for the session, whose time has begun anew with the start.
        stand.assert_named(&mut server, "the end of a session", &[READ]);
        std::fs::write(&stand.image, &whole).expect("written");
        let server = stand.builder.clone().start();
        let options = ConnectOptions::renewing(&stand.session);
        let mut conn = Connection::connect(server.address(), &options).expect("its end was not made");
        assert_eq!(conn.ephemerals("/").expect("listed").len(), EPHEMERALS);
    };
    std::thread::scope(|scope| {
        for core in Core::BOTH {
            scope.spawn(move || try_with(core));
        }
    });
}

#[test]
fn a_disk_that_fails_under_the_server_is_named_and_is_no_bare_crash() {
    for (case, question, words) in QUESTIONS {
        let Some(disk) = LoopDisk::mount(64) else { return };
        let log = tempfile::Builder::new().prefix("rk-log-").tempdir().expect("a directory");
        let text = |path: PathBuf| path.to_str().expect("a temporary path is text").to_owned();
        let builder = Server::builder()
            .set("dataDir", &text(disk.path().join("data")))
            .set("dataLogDir", &text(log.path().to_owned()));
        let stand = Stand::new(builder);
        let mut server = start_and_scrub(&stand.builder);
        let options = ConnectOptions::renewing(&stand.session);
        let mut conn = Connection::connect(server.address(), &options).expect("the session lives");
        let path = stand.far_znode();
        stand.forget();
        disk.lose(&stand.image, stand.image_bytes / 2);
        question(&server, &mut conn, &path);
        stand.assert_named(&mut server, case, words);
        drop(server);
    }
}
