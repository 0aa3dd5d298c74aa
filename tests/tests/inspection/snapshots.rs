//! What `rkctl snapshot` tells of images: of a whole tree, of its figures, of what changed from one to the next, and of damage.

use crate::damage::flip;
use crate::{
    BINARY, connect, names, path, rkctl, rkctl_ok, rkctl_refused, server, write_a_bit_of_everything, write_image,
};
use client::{Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The lines that `rkctl` prints, each a JSON object.
pub(crate) fn objects(words: &[&str]) -> Vec<Value> {
    rkctl_ok(words).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// The published images, oldest first.
fn images(dir: &Path) -> Vec<PathBuf> {
    let is_image = |name: &String| name.starts_with("image.") && !name.ends_with(".tmp");
    names(dir).into_iter().filter(is_image).map(|name| dir.join(name)).collect()
}

/// A server that was stopped with an ephemeral's session open, all of it in an image.
fn with_image() -> (Server, Connection) {
    let server = server();
    write_a_bit_of_everything(&server);
    let mut client = connect(&server);
    client.create("/app/mine", b"e", CreateMode::Ephemeral).unwrap();
    write_image(&server);
    (server, client)
}

#[test]
fn an_image_tells_what_its_clients_saw() {
    let (mut server, client) = with_image();
    let dir = server.data_dir();
    let session = client.session_id().to_string();
    server.sigterm();

    let listed = objects(&["snapshot", "ls", "--json", path(&dir)]);
    let image = images(&dir).pop().unwrap();
    let newest = &listed[0];
    assert_eq!((&newest["file"], &newest["standing"]), (&json!(path(&image)), &json!("base")), "{listed:?}");
    assert_eq!(
        (&newest["format"], &newest["carried"], &newest["damage"]),
        (&json!("image 2"), &json!([]), &Value::Null)
    );

    let znodes = objects(&["snapshot", "dump", "--json", "--data", path(&dir)]);
    assert_eq!(znodes.len() as u64, newest["znodes"].as_u64().unwrap());
    let paths: Vec<&str> = znodes.iter().map(|znode| znode["path"].as_str().unwrap()).collect();
    // In the order of the tree.
    let expected = ["/", "/app", "/app/binary", "/app/config", "/app/mine", "/other", "/zookeeper"];
    assert_eq!(paths[..expected.len()], expected);
    let of = |wanted: &str| znodes.iter().find(|znode| znode["path"] == wanted).unwrap();
    assert_eq!((&of("/app/config")["data"], &of("/app/config")["version"]), (&json!({ "text": "v3" }), &json!(2)));
    assert_eq!(of("/app/binary")["data"]["base64"], "AJ+Slg==", "{BINARY:?}");
    assert_eq!((&of("/app")["num_children"], &of("/app")["cversion"]), (&json!(3), &json!(7)), "5 creates, 2 deletes");
    assert_eq!(of("/other")["acl"], json!([{ "perms": 1, "scheme": "world", "id": "anyone" }]));
    assert_eq!((&of("/app/mine")["ephemeral_owner"], &of("/app/mine")["kind"]), (&json!(session), &json!("ephemeral")));

    let below = |words: &[&str]| objects(&[&["snapshot", "dump", "--json"], words, &[path(&dir)]].concat());
    assert_eq!(below(&["--path", "/app"]).len(), 4);
    assert_eq!(
        below(&["--path", "/app", "--depth", "0"]),
        [{
            let mut app = of("/app").clone();
            app.as_object_mut().unwrap().remove("data");
            app
        }]
    );
    assert_eq!(below(&["--depth", "1"]).len(), 4, "the root, /app, /other, /zookeeper");
    assert!(
        rkctl_refused(&["snapshot", "dump", "--path", "/nowhere", path(&dir)]).contains("there is no znode /nowhere")
    );
    let lines = rkctl_ok(&["snapshot", "dump", "--data", path(&image)]);
    assert_eq!(lines.lines().count(), znodes.len() + 1);
    assert!(lines.contains(" /app/config \"v3\""), "{lines}");

    let stats = &objects(&["snapshot", "stats", "--json", path(&dir)])[0];
    let bytes: u64 = znodes.iter().map(|znode| znode["data_length"].as_u64().unwrap()).sum();
    assert_eq!((&stats["znodes"], &stats["data_bytes"]), (&json!(znodes.len()), &json!(bytes)));
    assert_eq!((&stats["ephemerals"], &stats["sessions"][0]["session"]), (&json!(1), &json!(session)), "{stats}");
    let app = stats["subtrees"].as_array().unwrap().iter().find(|subtree| subtree["path"] == "/app").unwrap();
    assert_eq!(app, &json!({ "path": "/app", "znodes": 4, "data_bytes": 2 + BINARY.len() + 1 }));
    assert_eq!(stats["by_children"][0]["children"], 3);
    assert_eq!(stats["by_version"][0], json!({ "path": "/app/config", "version": 2 }));
    assert_eq!(stats["acls"][1]["znodes"], 2, "/other and /zookeeper/config may be read: {stats}");

    let verified = &objects(&["snapshot", "verify", "--json", path(&image)])[0];
    assert_eq!(
        (&verified["znodes"], &verified["digest"]),
        (&stats["znodes"], &stats["digest"]),
        "it was summed up anew"
    );
}

#[test]
fn two_images_are_compared() {
    let (mut server, mut client) = with_image();
    let dir = server.data_dir();
    client.set("/app/config", b"v4!", -1).unwrap();
    client.delete("/app/binary", -1).unwrap();
    client.create("/app/new", b"n", CreateMode::Persistent).unwrap();
    client.close().unwrap();
    write_image(&server);
    server.sigterm();
    let images = images(&dir);
    let [.., former, latter] = &images[..] else { panic!("two images: {images:?}") };

    let lines = objects(&["snapshot", "diff", "--json", path(former), path(latter)]);
    let (summary, changes) = lines.split_last().unwrap();
    let of: BTreeMap<&str, &Value> =
        changes.iter().filter_map(|change| Some((change["path"].as_str()?, change))).collect();
    let kinds: Vec<(&str, &str)> =
        of.iter().map(|(path, change)| (*path, change["change"].as_str().unwrap())).collect();
    assert_eq!(
        kinds,
        [
            ("/app", "changed"),
            ("/app/binary", "removed"),
            ("/app/config", "changed"),
            ("/app/mine", "removed"),
            ("/app/new", "added")
        ]
    );
    assert_eq!(of["/app"]["what"], json!(["cversion", "children", "pzxid"]));
    assert_eq!(of["/app/config"]["what"], json!(["data", "version", "mzxid", "mtime"]));
    assert_eq!(
        (&of["/app/config"]["before"]["version"], &of["/app/config"]["after"]["version"]),
        (&json!(2), &json!(3))
    );
    let counted = &summary["summary"];
    assert_eq!(
        [&counted["added"], &counted["removed"], &counted["changed"], &counted["sessions"]],
        [&json!(1), &json!(2), &json!(2), &json!(1)],
        "the session ended"
    );
    let words = rkctl_ok(&["snapshot", "diff", "--path", "/app/config", path(former), path(latter)]);
    assert!(words.contains("~ /app/config: data 2 -> 3 bytes, version 2 -> 3"), "{words}");
    assert!(!words.contains("/app/new"), "{words}");
    let same = objects(&["snapshot", "diff", "--json", path(latter), path(&dir)]);
    assert_eq!(same.len(), 1, "{same:?}");
    assert_eq!((&same[0]["summary"]["same"], &same[0]["summary"]["changed"]), (&json!(same_count(latter)), &json!(0)));
}

fn same_count(image: &Path) -> u64 {
    objects(&["snapshot", "stats", "--json", path(image)])[0]["znodes"].as_u64().unwrap()
}

/// Data that fill a part of a segment, and that occur nowhere else.
fn large(number: usize) -> Vec<u8> {
    format!("{number:08}").repeat(2_500).into_bytes()
}

/// A server with three images, of which the second uses parts of the first, and the third parts of none but the second at most.
fn with_carried() -> (Server, [PathBuf; 2]) {
    let server = server();
    let mut client = connect(&server);
    for number in 0..20 {
        client.create(&format!("/z{number}"), &large(number), CreateMode::Persistent).unwrap();
        client.create(&format!("/z{number}/child"), &large(100 + number), CreateMode::Persistent).unwrap();
    }
    write_image(&server);
    client.set("/z3/child", b"small now", -1).unwrap();
    write_image(&server);
    let images = images(&server.data_dir());
    let [.., former, latter] = &images[..] else { panic!("two images: {images:?}") };
    let pair = [former.clone(), latter.clone()];
    (server, pair)
}

/// Where these bytes stand in a file.
fn place_of(file: &Path, bytes: &[u8]) -> u64 {
    let all = std::fs::read(file).unwrap();
    let found: Vec<usize> = (0..all.len() - bytes.len()).filter(|at| all[*at..].starts_with(bytes)).collect();
    assert_eq!(found.len(), 1, "{} has them once", file.display());
    found[0] as u64
}

#[test]
fn damage_in_a_carried_over_segment_is_named_with_its_file_offset_and_znode() {
    let (mut server, [former, latter]) = with_carried();
    let dir = server.data_dir();
    server.sigterm();
    let listed = objects(&["snapshot", "ls", "--json", path(&latter)]);
    assert_eq!(listed[0]["carried"][0]["file"], path(&former), "{listed:?}");
    rkctl_ok(&["verify", path(&dir)]);

    let at = place_of(&former, &large(107)) + 10_000;
    flip(&former, at);
    for words in [&["verify"][..], &["snapshot", "verify"], &["snapshot", "dump", "--data"], &["snapshot", "stats"]] {
        let output = rkctl(&[words, &[path(&dir)]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if words == ["snapshot", "stats"] {
            assert!(output.status.success(), "it reads no data: {said}");
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        for part in [&format!("{} is damaged at offset ", former.display()), "it is in the znode /z7/child"] {
            assert!(said.contains(part), "{words:?}: {said}");
        }
    }
    let told: Value = serde_json::from_slice(&rkctl(&["snapshot", "verify", "--json", path(&latter)]).stdout).unwrap();
    assert_eq!(
        (&told["ok"], &told["path"], &told["file"]),
        (&json!(false), &json!("/z7/child"), &json!(path(&former)))
    );
    // Each of a directory is verified, whatever the others are.
    let all = String::from_utf8(rkctl(&["snapshot", "verify", "--json", path(&dir)]).stdout).unwrap();
    let all: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.iter().filter(|told| told["path"] == "/z7/child").count(), 2, "both use it: {all:?}");
    let offset = told["offset"].as_u64().unwrap();
    assert!(offset < at && offset + 25_000 > at, "the record begins before the damage: {told}");
    flip(&former, at);
    rkctl_ok(&["verify", path(&dir)]);
}

#[test]
fn no_flipped_byte_of_an_image_is_verified() {
    let (mut server, client) = with_image();
    let dir = server.data_dir();
    server.sigterm();
    drop(client);
    let image = images(&dir).pop().unwrap();
    let len = std::fs::metadata(&image).unwrap().len();
    for at in (0..len).step_by(usize::try_from(len / 150).unwrap().max(1)) {
        flip(&image, at);
        let said = rkctl_refused(&["snapshot", "verify", path(&image)]);
        assert!(said.contains(path(&image)) && said.contains("damaged at offset"), "{at}: {said}");
        flip(&image, at);
    }
    rkctl_ok(&["snapshot", "verify", path(&image)]);
    // What cannot be opened is listed with its damage.
    flip(&image, 20);
    let listed = rkctl_refused(&["snapshot", "ls", path(&dir)]);
    assert!(listed.contains("DAMAGED") && listed.contains("is damaged at offset 0"), "{listed}");
}

#[test]
fn an_image_that_serves_only_newer_ones_is_no_damage() {
    let (mut server, [former, latter]) = with_carried();
    let dir = server.data_dir();
    let mut client = connect(&server);
    for number in 0..20 {
        client.set(&format!("/z{number}"), &large(200 + number), -1).unwrap();
        client.set(&format!("/z{number}/child"), &large(300 + number), -1).unwrap();
    }
    write_image(&server);
    server.sigterm();
    // As the purge of a server that keeps one image would.
    std::fs::remove_file(&former).unwrap();
    let listed = objects(&["snapshot", "ls", "--json", path(&dir)]);
    let standings: Vec<&str> = listed.iter().map(|row| row["standing"].as_str().unwrap()).collect();
    assert_eq!(standings[..2], ["base", "parts"], "{listed:?}");
    let said = rkctl_ok(&["verify", path(&dir)]);
    assert!(said.contains(&format!("{}: what newer images use of it", latter.display())), "{said}");
    // Of the base itself nothing may be missing.
    std::fs::remove_file(listed[0]["file"].as_str().unwrap()).unwrap();
    assert!(rkctl_refused(&["verify", path(&dir)]).contains("cannot open"));
}
