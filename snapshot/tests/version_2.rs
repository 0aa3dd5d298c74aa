//! ZooKeeper's own files as 3.9.5 and 3.8.0 wrote them (`fixtures/version-2`, captured by `tests/reference/version_2.py`): read, compared with
//! what the server said over the wire, damaged at every byte, cut at every length, and written again.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

use proto::txn::{DIGEST_VERSION, TxnRecord};
use proto::{Acl, AclVec, Reader, SessionId, Stat, StatPersisted, Zxid};
use ringkeeper_snapshot::version_2::{
    AclNumber, Compression, Entry, Error, Fault, LogEnd, LogReader, LogWriter, Node, SnapshotDigest, SnapshotReader,
    SnapshotWriter, Trailer, Version2,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const VERSIONS: [&str; 2] = ["3.9.5", "3.8.0"];
/// The last txn of the script.
const NEWEST: Zxid = Zxid(0x1b);

/// Thousands of small files are rewritten, which takes a disk a minute.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn fixture(version: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-2").join(version).join(name)
}

/// A snapshot, as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
struct Whole {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(AclNumber, Vec<Acl>)>,
    nodes: Vec<(String, Option<Vec<u8>>, AclNumber, StatPersisted)>,
    trailer: Trailer,
}

fn read(path: &Path, compression: Compression) -> Result<Whole, Error> {
    let mut reader = SnapshotReader::open(path, compression)?;
    let mut whole = Whole::default();
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Session { id, timeout_ms } => whole.sessions.push((id, timeout_ms)),
            Entry::Acl { number, acl } => whole.acls.push((number, acl)),
            Entry::Node(Node { path, data, acl, stat }) => {
                whole.nodes.push((path.to_owned(), data.map(<[u8]>::to_vec), acl, stat));
            }
        }
    }
    whole.trailer = reader.trailer().expect("the end was reached");
    Ok(whole)
}

fn write(whole: &Whole, dir: &Path, compression: Compression) -> PathBuf {
    let files = Version2::new(dir, dir);
    std::fs::create_dir_all(files.snap_dir()).unwrap();
    let file = files.snapshot(NEWEST, compression);
    let acls: Vec<(AclNumber, &[Acl])> = whole.acls.iter().map(|(number, acl)| (*number, acl.as_slice())).collect();
    let mut writer = SnapshotWriter::create(&file, &whole.sessions, &acls).unwrap();
    for (path, data, acl, stat) in &whole.nodes {
        writer.node(&Node { path, data: data.as_deref(), acl: *acl, stat: *stat }).unwrap();
    }
    writer.finish(&whole.trailer).unwrap();
    file.path
}

/// What a client sees of a znode.
type Seen = (Option<Vec<u8>>, Stat, Vec<Acl>);

/// The znodes of a snapshot as a client would see them.
fn seen(whole: &Whole) -> BTreeMap<String, Seen> {
    let acls: BTreeMap<AclNumber, Vec<Acl>> = whole.acls.iter().cloned().collect();
    let children = |path: &str| {
        let parent_of = |other: &str| {
            other.rsplit_once('/').map(|(parent, _)| if parent.is_empty() { "/" } else { parent }.to_owned())
        };
        whole.nodes.iter().filter(|(other, ..)| other != "/" && parent_of(other).as_deref() == Some(path)).count()
    };
    let see = |(path, data, acl, stat): &(String, Option<Vec<u8>>, AclNumber, StatPersisted)| {
        let acl = if *acl == AclNumber::OPEN { vec![Acl::open()] } else { acls[acl].clone() };
        let stat = stat.to_stat(data.as_ref().map_or(0, Vec::len), children(path));
        (path.clone(), (data.clone(), stat, acl))
    };
    whole.nodes.iter().map(see).collect()
}

/// What the server said over the wire: its open sessions and its znodes.
fn said(version: &str) -> (Vec<(SessionId, i32)>, BTreeMap<String, Seen>) {
    let (mut sessions, mut znodes) = (Vec::new(), BTreeMap::new());
    for line in std::fs::read_to_string(fixture(version, "tree.txt")).unwrap().lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["session", id, timeout_ms] => {
                let id = u64::from_str_radix(id, 16).unwrap().cast_signed();
                sessions.push((SessionId(id), timeout_ms.parse().unwrap()));
            }
            ["znode", path, data, acl] => {
                let (path, data, acl) = (String::from_utf8(unhex(path)).unwrap(), unhex(data), unhex(acl));
                let (mut data, mut acl) = (Reader::new(&data), Reader::new(&acl));
                let bytes = data.buffer().unwrap().map(<[u8]>::to_vec);
                let acl = AclVec::read(&mut acl).unwrap().to_vec().unwrap();
                znodes.insert(path, (bytes, Stat::read(&mut data).unwrap(), acl));
            }
            _ => panic!("{line}"),
        }
    }
    (sessions, znodes)
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn each_compression_of_each_version_has_what_the_server_said() {
    for version in VERSIONS {
        let (sessions, znodes) = said(version);
        assert!(znodes.len() > 15);
        for compression in Compression::ALL {
            let whole = read(&fixture(version, &format!("snapshot.1b{}", compression.suffix())), compression).unwrap();
            assert_eq!(whole.sessions, sessions);
            assert_eq!(seen(&whole), znodes);
            // A server that has applied no txn since its start writes a digest that says nothing.
            let digest = whole.trailer.digest.map(|digest| (digest.zxid, digest.version));
            assert_eq!(digest, (compression == Compression::None).then_some((NEWEST, DIGEST_VERSION)));
            assert_eq!(whole.trailer.last_zxid, (version == "3.9.5").then_some(NEWEST));
        }
        let first = read(&fixture(version, "snapshot.0"), Compression::None).unwrap();
        assert_eq!((first.sessions.len(), first.nodes.len(), first.trailer.digest), (0, 4, None));
    }
}

#[test]
fn what_is_read_is_written_again_to_the_byte() {
    let dir = in_memory();
    for version in VERSIONS {
        let java = fixture(version, "snapshot.1b");
        let whole = read(&java, Compression::None).unwrap();
        let written = write(&whole, dir.path(), Compression::None);
        assert_eq!(std::fs::read(written).unwrap(), std::fs::read(java).unwrap());
        for compression in [Compression::Gzip, Compression::Snappy] {
            assert_eq!(read(&write(&whole, dir.path(), compression), compression).unwrap(), whole);
        }
    }
    let left: Vec<_> = std::fs::read_dir(dir.path().join("version-2")).unwrap().collect();
    assert_eq!(left.len(), 3, "nothing but the snapshots: {left:?}");
}

#[test]
fn a_snapshot_that_is_given_up_leaves_nothing() {
    let dir = in_memory();
    let files = Version2::new(dir.path(), dir.path());
    std::fs::create_dir(files.snap_dir()).unwrap();
    drop(SnapshotWriter::create(&files.snapshot(NEWEST, Compression::Gzip), &[], &[]).unwrap());
    assert_eq!(std::fs::read_dir(files.snap_dir()).unwrap().count(), 0);
}

#[test]
fn every_flipped_byte_of_a_snapshot_is_found_or_means_nothing() {
    let dir = in_memory();
    for (version, compression) in
        VERSIONS.into_iter().flat_map(|version| Compression::ALL.map(|packed| (version, packed)))
    {
        let name = format!("snapshot.1b{}", compression.suffix());
        let (good, path) = (std::fs::read(fixture(version, &name)).unwrap(), dir.path().join(&name));
        let whole = read(&fixture(version, &name), compression).unwrap();
        let mut meaningless = Vec::new();
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                std::fs::write(&path, &bad).unwrap();
                match read(&path, compression) {
                    Ok(found) => {
                        assert_eq!(found, whole, "{version} {name}: byte {at} ^ {flip:#x} gives something else");
                        meaningless.push(at);
                    }
                    Err(error) => assert!(error.is_damage() && error.to_string().contains(&name), "{error}"),
                }
            }
        }
        meaningless.dedup();
        // gzip's header has the time and the like, and the same bytes can be packed in several ways.
        let most = if compression == Compression::None { 0 } else { good.len() / 20 };
        assert!(meaningless.len() <= most, "{version} {name}: nobody notices {meaningless:?}");
    }
}

#[test]
fn a_snapshot_that_is_cut_is_found_but_where_an_older_version_would_have_ended_it() {
    let dir = in_memory();
    for (version, compression) in
        VERSIONS.into_iter().flat_map(|version| Compression::ALL.map(|packed| (version, packed)))
    {
        let name = format!("snapshot.1b{}", compression.suffix());
        let (good, path) = (std::fs::read(fixture(version, &name)).unwrap(), dir.path().join(&name));
        // 3.8 ended a file before the last zxid, 3.5 before the digest.
        let [last_zxid, digest] = if version == "3.9.5" { [21, 33] } else { [0, 33] };
        let older = [good.len() - last_zxid, good.len() - last_zxid - digest];
        let whole = |cut: usize| compression == Compression::None && older.contains(&cut);
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert_eq!(read(&path, compression).is_ok(), whole(cut), "{version} {name}, {cut} of {} bytes", good.len());
        }
        std::fs::write(&path, [&good[..], b"more"].concat()).unwrap();
        assert!(read(&path, compression).is_err(), "{version} {name} with more behind it");
    }
}

#[test]
fn every_form_that_a_version_gave_the_end_is_read() {
    let dir = in_memory();
    let whole = read(&fixture("3.9.5", "snapshot.1b"), Compression::None).unwrap();
    let digest = whole.trailer.digest;
    for trailer in [
        Trailer::default(),
        Trailer { digest, last_zxid: None },
        Trailer { digest: None, last_zxid: Some(NEWEST) },
        Trailer { digest, last_zxid: Some(Zxid(0x20)) },
    ] {
        let written = Whole { trailer, ..whole.clone() };
        assert_eq!(read(&write(&written, dir.path(), Compression::None), Compression::None).unwrap(), written);
    }
    // The first digests, of version 1, were a string.
    let path = write(&Whole { trailer: Trailer::default(), ..whole.clone() }, dir.path(), Compression::None);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0x1b, 0, 0, 0, 1, 0, 0, 0, 4]);
    bytes.extend(b"12ab");
    let sum = adler2::adler32_slice(&bytes);
    bytes.extend(i64::from(sum).to_be_bytes());
    bytes.extend([0, 0, 0, 1, b'/']);
    std::fs::write(&path, bytes).unwrap();
    let expected = SnapshotDigest { zxid: NEWEST, version: 1, digest: 0x12ab };
    assert_eq!(read(&path, Compression::None).unwrap().trailer, Trailer { digest: Some(expected), last_zxid: None });
}

// ---- logs ---------------------------------------------------------------------------------------------------------------

/// Offset and payload.
type Record = (u64, Vec<u8>);

/// A log's records, and its end.
fn read_log(path: &Path) -> Result<(Vec<Record>, LogEnd), Error> {
    let mut reader = LogReader::open(path)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push((record.offset, record.payload.to_vec()));
    }
    Ok((records, reader.end().expect("the end was reached")))
}

#[test]
fn a_log_is_read_and_written_again_to_the_byte() {
    let dir = in_memory();
    for version in VERSIONS {
        let java = fixture(version, "log.1");
        let (records, end) = read_log(&java).unwrap();
        let bytes = std::fs::read(&java).unwrap();
        assert_eq!(end, LogEnd::Clean { offset: bytes.len() as u64 - 64 });
        assert_eq!(records.len(), 27);
        assert!(records.iter().all(|(_, payload)| TxnRecord::decode(payload).is_ok()));
        let path = dir.path().join("log.1");
        let mut writer = LogWriter::create(&path).unwrap();
        records.iter().for_each(|(_, payload)| writer.append(payload).unwrap());
        writer.finish(64).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_log_that_is_cut_anywhere_has_the_records_before_the_cut() {
    let dir = in_memory();
    let path = dir.path().join("log.1");
    let good = std::fs::read(fixture("3.9.5", "log.1")).unwrap();
    let (records, _) = read_log(&fixture("3.9.5", "log.1")).unwrap();
    for cut in 16..good.len() - 64 {
        // With and without the zeros that were there ahead of the write.
        for zeros in [0, 500] {
            std::fs::write(&path, [&good[..cut], &vec![0; zeros]].concat()).unwrap();
            let (found, end) = read_log(&path).unwrap();
            let whole = records.iter().filter(|(at, payload)| *at + payload.len() as u64 + 13 <= cut as u64).count();
            assert_eq!(found, records[..whole], "{cut} bytes");
            let offset = records[whole].0;
            // What is left of the record may be zeros only, as checksums begin with them.
            let torn = good[usize::try_from(offset).unwrap()..cut].iter().any(|byte| *byte != 0);
            assert_eq!(end, if torn { LogEnd::Torn { offset } } else { LogEnd::Clean { offset } }, "{cut} bytes");
        }
    }
    std::fs::write(&path, b"").unwrap();
    assert_eq!(read_log(&path).unwrap(), (Vec::new(), LogEnd::Empty));
    for cut in 1..16 {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(read_log(&path).unwrap_err().is_damage());
    }
}

#[test]
fn every_flipped_byte_of_a_log_is_damage_or_the_last_record_which_is_torn() {
    let dir = in_memory();
    let path = dir.path().join("log.1");
    let good = std::fs::read(fixture("3.9.5", "log.1")).unwrap();
    let (records, _) = read_log(&fixture("3.9.5", "log.1")).unwrap();
    let last = usize::try_from(records.last().unwrap().0).unwrap();
    // The database's id, bytes 8 to 15, is nobody's concern.
    for at in (0..8).chain(16..good.len()) {
        for flip in [0x01, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            std::fs::write(&path, &bad).unwrap();
            match read_log(&path) {
                Err(error) => assert!(at < last && error.is_damage(), "byte {at}: {error}"),
                Ok((found, end)) => {
                    assert!(at >= last, "byte {at} ^ {flip:#x} went unnoticed");
                    let whole = if at < good.len() - 64 { records.len() - 1 } else { records.len() };
                    assert_eq!(found, records[..whole], "byte {at}");
                    assert!(matches!(end, LogEnd::Torn { .. }), "byte {at}: {end:?}");
                }
            }
        }
    }
}

#[test]
fn a_damaged_record_is_told_with_the_one_behind_it() {
    let dir = in_memory();
    let path = dir.path().join("log.1");
    let mut bytes = std::fs::read(fixture("3.9.5", "log.1")).unwrap();
    let (records, _) = read_log(&fixture("3.9.5", "log.1")).unwrap();
    let (third, fourth) = (records[2].0, records[3].0);
    bytes[usize::try_from(third).unwrap() + 20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = read_log(&path).unwrap_err();
    let expected = Fault::BeforeRecord { later: fourth };
    assert!(matches!(&error, Error::Damaged { offset, what, .. } if *offset == third && *what == expected), "{error}");
}

#[test]
fn the_logs_of_a_directory_are_read_as_one() {
    let dir = in_memory();
    let files = Version2::new(dir.path(), dir.path());
    std::fs::create_dir(files.snap_dir()).unwrap();
    let (records, _) = read_log(&fixture("3.9.5", "log.1")).unwrap();
    let payloads: Vec<&[u8]> = records.iter().map(|(_, payload)| payload.as_slice()).collect();
    let put = |first: usize, payloads: &[&[u8]]| {
        let file = files.log(Zxid(first as u64));
        let mut writer = LogWriter::create(&file.path).unwrap();
        payloads.iter().for_each(|payload| writer.append(payload).unwrap());
        writer.finish(100).unwrap();
        file.path
    };
    let zxids_after = |after: u64| -> Result<Vec<u64>, Error> {
        let (mut txns, mut zxids) = (files.txns_after(Zxid(after))?, Vec::new());
        while let Some(txn) = txns.next_txn()? {
            zxids.push(txn.header.zxid.0);
        }
        Ok(zxids)
    };
    put(1, &payloads[..9]);
    let second = put(10, &payloads[9..19]);
    put(20, &payloads[19..]);
    assert_eq!(files.newest_zxid().unwrap(), Some(NEWEST));
    for after in [0, 1, 8, 9, 10, 19, 20, 26, 27, 30] {
        assert_eq!(zxids_after(after).unwrap(), (after + 1..=27).collect::<Vec<_>>(), "after {after}");
    }
    // The server stopped in the middle of a write, and began another file when it started again.
    let whole = std::fs::read(&second).unwrap();
    std::fs::write(&second, &whole[..whole.len() - 105]).unwrap();
    let mut txns = files.txns_after(Zxid(0)).unwrap();
    while txns.next_txn().unwrap().is_some() {}
    assert_eq!(txns.torn().len(), 1);
    assert_eq!((txns.gaps().0, txns.gaps().1.map(|gap| (gap.after.0, gap.before.0))), (1, Some((18, 20))));
    // An empty file is one that was just begun: then it is the last.
    std::fs::write(&second, &whole).unwrap();
    let begun = files.log(Zxid(28));
    std::fs::write(&begun.path, b"").unwrap();
    assert_eq!(zxids_after(0).unwrap().len(), 27);
    std::fs::write(&second, b"").unwrap();
    assert!(zxids_after(0).unwrap_err().is_damage());
}

/// As a server of 3.8.0 leaves them that was brought into step with txns that it had: in the middle of a file, at its end, in another one, and more than once.
#[test]
fn records_that_stand_in_the_logs_twice_count_once() {
    let (records, _) = read_log(&fixture("3.9.5", "log.1")).unwrap();
    let payloads: Vec<&[u8]> = records.iter().map(|(_, payload)| payload.as_slice()).collect();
    let read = |logs: &[&[&[u8]]], after: u64| -> Result<(Vec<u64>, u64), Error> {
        let dir = in_memory();
        let files = Version2::new(dir.path(), dir.path());
        std::fs::create_dir(files.snap_dir()).unwrap();
        let mut first = 1;
        for log in logs {
            // A file has the name of its first txn that is not in one before.
            let mut writer = LogWriter::create(&files.log(Zxid(first)).path).unwrap();
            log.iter().for_each(|payload| writer.append(payload).unwrap());
            writer.finish(100).unwrap();
            first += 9;
        }
        let (mut txns, mut zxids) = (files.txns_after(Zxid(after))?, Vec::new());
        while let Some(txn) = txns.next_txn()? {
            zxids.push(txn.header.zxid.0);
        }
        assert_eq!(txns.gaps().0, 0);
        Ok((zxids, txns.repeated()))
    };
    let twice =
        |at: std::ops::Range<usize>, end: usize| [&payloads[..at.end], &payloads[at], &payloads[end..]].concat();
    for (log, repeated) in [
        (twice(0..20, 20), 20),
        (twice(5..20, 20), 15),
        (twice(19..20, 20), 1),
        (twice(26..27, 27), 1),
        (twice(0..27, 27), 27),
        ([&payloads[..9], &payloads[3..12], &payloads[3..9], &payloads[5..]].concat(), 6 + 6 + 7),
    ] {
        assert_eq!(read(&[&log], 0).unwrap(), ((1..=27).collect(), repeated));
    }
    // A snapshot has the first of them.
    assert_eq!(read(&[&twice(0..20, 20)], 8).unwrap(), ((9..=27).collect(), 20));
    assert_eq!(read(&[&payloads[..9], &payloads[4..]], 0).unwrap(), ((1..=27).collect(), 5));
    // What is not the same is damage: another txn of that number, or one that was not there.
    let mut other = payloads[6].to_vec();
    *other.last_mut().unwrap() ^= 1;
    for odd in [
        [&payloads[..9], &[&other], &payloads[9..]].concat(),
        [&payloads[..5], &payloads[7..9], &payloads[5..]].concat(),
    ] {
        let error = read(&[&odd], 0).unwrap_err();
        assert!(matches!(error, Error::Damaged { what: Fault::Order { .. }, .. }), "{error}");
    }
}
