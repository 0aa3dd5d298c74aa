//! The disk of the images fills up: the image is given up, reads and writes go on, and it is written once there is space. Needs root, as
//! [`crate::full`] does.

use crate::full::figure;
use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::{LoopDisk, Server, until};

const DISK_MIB: u64 = 160;
/// Too little for an image of all data.
const FREE_MIB: usize = 20;
const DATA_BYTES: usize = 400 << 10;
const ZNODES: usize = 100;

#[test]
fn an_image_without_space_is_given_up_and_written_once_there_is_some() {
    let Some(disk) = LoopDisk::mount(DISK_MIB) else { return };
    let log = tempfile::Builder::new().prefix("rk-log-").tempdir().unwrap();
    let mut server = Server::builder()
        .set("dataDir", disk.path().join("data").to_str().expect("a temporary path is text"))
        .set("dataLogDir", log.path().to_str().expect("a temporary path is text"))
        .set("snapCount", &ZNODES.to_string())
        .start();
    let space = rustix::fs::statvfs(disk.path()).unwrap();
    let free = usize::try_from(space.f_bfree * space.f_frsize).unwrap();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; free - (FREE_MIB << 20)]).unwrap();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    let data = vec![b'x'; DATA_BYTES];
    let mut made = 0;
    let mut create = |client: &mut Connection| {
        client.create(&format!("/{made:03}"), &data, CreateMode::Persistent).unwrap();
        made += 1;
    };
    (0..ZNODES).for_each(|_| create(&mut client));
    until("the image is given up", || server.log().contains("was not written"));
    assert!(figure(&server, "images_failed_count") >= 1.0);
    for _ in 0..10 {
        create(&mut client);
        assert_eq!(client.get("/000", false).unwrap().0.len(), DATA_BYTES);
    }
    assert!(!server.log().contains("image written"), "{}", server.log());
    std::fs::remove_file(ballast).unwrap();
    until("it is written without another write", || server.log().contains("image written"));
    server.restart();
    assert!(server.log().contains("image opened"), "{}", server.log());
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(client.children("/", false).unwrap().len(), ZNODES + 10 + 1);
}
