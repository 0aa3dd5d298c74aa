//! Random flips in a large log: each is named with file, offset and zxid, and no wrong record comes out before it.
//!
//! A fixed small sample here; `cargo xtask long corruption` asks for many in 100 MiB: `RK_FLIPS` of them, in `RK_FLIP_LOG_MIB`, from `RK_FLIP_SEED`
//! (`fresh` takes another one each time, and says it).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    io,
    sync::Arc,
};

use common::{Part, open, parts};
use ringkeeper_wal::{Error, Options, ReadDisk, inspect, sim_disk::SimDisk};

/// Files in memory, one byte of which reads as another.
#[derive(Debug, Clone)]
struct Flipped {
    files: Arc<BTreeMap<String, Vec<u8>>>,
    file: usize,
    at: u64,
    mask: u8,
}

impl Flipped {
    fn name(&self, file: usize) -> &str {
        self.files.keys().nth(file).unwrap()
    }
}

impl ReadDisk for Flipped {
    type File = usize;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn open_read(&self, name: &str) -> io::Result<usize> {
        self.files.keys().position(|known| known == name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_bytes(&self, file: &usize) -> io::Result<u64> {
        Ok(self.files[self.name(*file)].len() as u64)
    }

    fn read_at(&self, file: &usize, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = &self.files[self.name(*file)];
        let rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
        let got = rest.len().min(into.len());
        into[..got].copy_from_slice(&rest[..got]);
        let place = self.at.checked_sub(offset).and_then(|place| usize::try_from(place).ok());
        if let Some(byte) = place.and_then(|place| into.get_mut(place)).filter(|_| *file == self.file) {
            *byte ^= self.mask;
        }
        Ok(got)
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn options() -> Options {
    Options { segment_bytes: 8 << 20, group_bytes: 256 << 10, max_record_bytes: 64 << 10, salt: 1, ..Options::new() }
}

/// A log of so many segments of 8 MiB, sealed. Records of up to 64 KiB, most of them small, in groups of one to twenty.
fn write_log(segments: usize, random: &mut Random) -> SimDisk {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), options()).unwrap();
    let mut data = Vec::new();
    while log.segment_count() < segments || log.position().offset < (8 << 20) - (600 << 10) {
        for _ in 0..=random.below(20) {
            let bytes = 1 << random.below(17);
            data.clear();
            data.extend((0..bytes / 8).flat_map(|_| random.next().to_le_bytes()));
            if log.append(log.last_appended_zxid() + 1, &data).unwrap() == ringkeeper_wal::Gathered::Full {
                break;
            }
        }
        log.commit().unwrap();
    }
    log.seal().unwrap();
    disk
}

/// What the log says without damage: a running checksum after each record, and the parts of each file (begin of a header or group, the last
/// zxid before it) with its end.
struct Truth {
    sums: Vec<u32>,
    parts: Vec<(Vec<Part>, u64)>,
}

fn sum(before: u32, zxid: u64, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(before, &zxid.to_le_bytes()), data)
}

fn truth(disk: &Flipped) -> Truth {
    let mut sums = vec![0];
    let parts = parts(disk, |group| {
        for (zxid, data) in group.records() {
            sums.push(sum(*sums.last().unwrap(), zxid, data));
        }
    });
    Truth { sums, parts: parts.into_values().collect() }
}

/// Reads all that comes: how many records and their checksum, and how it ended.
fn read(disk: &Flipped) -> (usize, u32, Result<(), Error>) {
    let (mut count, mut all) = (0, 0);
    let result =
        inspect(disk, &options()).and_then(|history| history.reader(disk.clone(), 0)).and_then(|mut reader| {
            while let Some((zxid, data)) = reader.next_record()? {
                count += 1;
                all = sum(all, zxid, data);
            }
            Ok(())
        });
    (count, all, result)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn random_flips_are_named_and_no_wrong_record_comes_out() {
    let seed = match std::env::var("RK_FLIP_SEED") {
        Ok(text) if text == "fresh" => RandomState::new().hash_one(std::process::id()),
        _ => setting("RK_FLIP_SEED", 1),
    };
    let (flips, mib) = (setting("RK_FLIPS", 300), setting("RK_FLIP_LOG_MIB", 16));
    println!("RK_FLIP_SEED={seed} RK_FLIPS={flips} RK_FLIP_LOG_MIB={mib}");
    let mut random = Random(seed);
    let mut files = write_log(usize::try_from(mib.div_ceil(8)).unwrap(), &mut random).files();
    files.retain(|name, _| name.starts_with("segment"));
    let mut disk = Flipped { files: Arc::new(files), file: 0, at: 0, mask: 0 };
    let truth = truth(&disk);
    let (count, all, result) = read(&disk);
    result.unwrap();
    assert_eq!((count + 1, Some(&all)), (truth.sums.len(), truth.sums.last()));
    let (mut named, mut unread) = (0, 0);
    for _ in 0..flips {
        disk.file = usize::try_from(random.below(disk.files.len() as u64)).unwrap();
        disk.at = random.below(8 << 20);
        disk.mask = 1 << random.below(8);
        let (count, all, result) = read(&disk);
        assert_eq!(truth.sums[count], all, "{disk:?}: a record that was not written", disk = (disk.file, disk.at));
        let (places, end) = &truth.parts[disk.file];
        let is_last = disk.file + 1 == truth.parts.len();
        if disk.at < end - if is_last { 4096 } else { 0 } {
            let (begin, before) = places.iter().rev().find(|(begin, _)| *begin <= disk.at).unwrap();
            let error = result.expect_err("damage is never skipped");
            let Error::Damage { file, offset, after_zxid, .. } = &error else { panic!("{error}") };
            let expected = (disk.name(disk.file), begin, before);
            assert_eq!((file.as_str(), offset, after_zxid), expected, "byte {}: {error}", disk.at);
            named += 1;
        } else {
            result.unwrap();
            assert_eq!(count + 1, truth.sums.len());
            unread += 1;
        }
    }
    println!("{named} flips were named, {unread} lay where nothing is read, none was missed");
    assert!(named * 10 > flips * 9, "{named} of {flips}");
}
