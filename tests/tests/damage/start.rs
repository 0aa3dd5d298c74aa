//! What a start reads of an image: headers, footers, the directory, the small tables. Damaged, cut short, gone, or newer, it is refused there.

use crate::stand::{connect, image_in_two_files, newest_zxid, open};
use ringkeeper_tests::Builder;
use snapshot::DataDir;
use snapshot::control::CONTROL_BYTES;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a footer, and in it: what stands before the places of the parts, and bytes of one of them (`snapshot/src/base/layout.rs`).
const FOOTER_BYTES: usize = 384;
const BEFORE_PARTS: usize = 16 + 11 * 8;
const PART_BYTES: usize = 24;
/// The parts that are never empty here, by their number.
const FILES: usize = 0;
const DIRECTORY: usize = 1;
const ACLS: usize = 3;

/// Where a part of an image file begins.
fn part(bytes: &[u8], number: usize) -> usize {
    let at = bytes.len() - FOOTER_BYTES + BEFORE_PARTS + number * PART_BYTES;
    let offset = bytes[at..at + 8].try_into().expect("8 bytes");
    usize::try_from(u64::from_le_bytes(offset)).expect("a small file")
}

/// The start ends with the exit code of a refusal, names the file, and says all of this.
fn assert_refused(builder: &Builder, case: &str, file: &Path, parts: &[&str]) {
    let refusal = builder.clone().try_start().expect_err(case);
    // Its log goes on from earlier starts.
    let line = refusal.lines().rfind(|line| line.starts_with("ringkeeper: ")).unwrap_or_else(|| panic!("{refusal}"));
    assert!(refusal.starts_with("exit status: 1,"), "{case}: {refusal}");
    for part in [&[file.to_str().expect("text")], parts].concat() {
        assert!(line.contains(part), "{case}: {part:?} is missing in: {line}");
    }
}

/// The files of the image: the newest, and the one it points into.
fn files(builder: &Builder) -> [PathBuf; 2] {
    let base = open(builder);
    [0, 1].map(|number| base.files()[number].path.clone())
}

#[test]
fn what_a_start_reads_is_refused_when_it_is_damaged() {
    let builder = image_in_two_files();
    let [newer, older] = files(&builder);
    let bytes = std::fs::read(&newer).expect("read");
    let older_len = std::fs::metadata(&older).expect("there").len();
    let cases = [
        ("header", &newer, 30, 0),
        ("table of files", &newer, part(&bytes, FILES) + 5, part(&bytes, FILES)),
        ("directory", &newer, part(&bytes, DIRECTORY) + 1_000, part(&bytes, DIRECTORY)),
        ("table of ACLs", &newer, part(&bytes, ACLS) + 3, part(&bytes, ACLS)),
        ("footer", &newer, bytes.len() - 100, bytes.len() - FOOTER_BYTES),
        ("older file's header", &older, 40, 0),
        ("older file's footer", &older, usize::try_from(older_len).expect("small") - 50, 0),
    ];
    for (case, file, at, named) in cases {
        let open = OpenOptions::new().read(true).write(true).open(file).expect("opened");
        let mut byte = [0];
        open.read_exact_at(&mut byte, at as u64).expect("read");
        open.write_all_at(&[byte[0] ^ 1], at as u64).expect("written");
        let named =
            if named == 0 { "is damaged at offset ".to_owned() } else { format!("is damaged at offset {named}") };
        assert_refused(&builder, case, file, &[&named, "restore it from a backup"]);
        open.write_all_at(&byte, at as u64).expect("written");
    }
    for file in [&newer, &older] {
        let bytes = std::fs::read(file).expect("read");
        std::fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
        assert_refused(&builder, "cut in half", file, &["is damaged", "restore it from a backup"]);
        std::fs::remove_file(file).expect("removed");
        assert_refused(&builder, "gone", file, &["No such file"]);
        std::fs::write(file, &bytes).expect("written");
    }
    let server = builder.clone().start();
    connect(&server).close().expect("it serves");
}

/// Makes a block one that a newer version could have written.
type Forge = fn(Vec<u8>) -> Vec<u8>;

/// A block whose version is at byte 8, with the next version and its checksum in its last four bytes.
fn made_newer(mut block: Vec<u8>) -> Vec<u8> {
    let body = block.len() - 4;
    block[8] += 1;
    let crc = crc32c::crc32c(&block[..body]);
    block[body..].copy_from_slice(&crc.to_le_bytes());
    block
}

/// The same of a log segment, whose checksum is at byte 12 and begins its block.
fn made_newer_segment(mut block: Vec<u8>) -> Vec<u8> {
    block[8] += 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..]);
    block[12..16].copy_from_slice(&crc.to_le_bytes());
    block
}

#[test]
fn what_a_newer_version_has_written_is_refused_with_what_to_do() {
    let builder = image_in_two_files();
    let data = DataDir::new(builder.data_dir());
    let segment =
        std::fs::read_dir(builder.data_dir().join("log")).expect("a log").map(|entry| entry.expect("an entry").path());
    let segment = segment.filter(|path| path.to_string_lossy().contains("segment-")).min().expect("a segment");
    let cases: [(PathBuf, usize, Forge, &str); 3] = [
        (data.image(newest_zxid(&builder)), 128, made_newer, "format version 3, this program reads up to 2"),
        (data.control(), CONTROL_BYTES, made_newer, "format version 3, this program reads up to 2"),
        (segment, 4096, made_newer_segment, "format version 2, this program reads up to 1"),
    ];
    for (path, block_bytes, newer, words) in cases {
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
        let mut block = vec![0; block_bytes];
        file.read_exact_at(&mut block, 0).expect("read");
        file.write_all_at(&newer(block.clone()), 0).expect("written");
        let name = Path::new(path.file_name().expect("a name"));
        assert_refused(&builder, words, name, &[words, "start the newer version"]);
        file.write_all_at(&block, 0).expect("written");
    }
    let server = builder.clone().start();
    connect(&server).close().expect("it serves");
}
