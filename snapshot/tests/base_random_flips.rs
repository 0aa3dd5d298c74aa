//! Random flips in a large image of several files: each is named with file, offset and zxid, or lies where nothing is read; and no answer is
//! ever wrong.
//!
//! Every byte of a small image is tried in `base_flips.rs`. Here flips are made in batches, one in a segment at the most, in a mapped image:
//! all of it is asked, with every answer right or damage in a segment with a flip; then the scrub has to stop at each of them, and at nothing
//! else, one after the other, as each is undone. What is read when an image is opened is flipped alone, and the image must not open.
//!
//! A fixed small sample here; `cargo xtask long corruption` asks for many in 100 MiB: `RK_FLIPS` of them, in `RK_FLIP_IMAGE_MIB`, from
//! `RK_FLIP_SEED` (`fresh` takes another one each time, and says it). They are shared out among the processors, each with files of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_bytes.rs"]
mod base_bytes;
#[path = "common/base_model.rs"]
mod base_model;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::{AddAssign, Range};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use base_bytes::{FOOTER_BYTES, HEADER_BYTES, segments};
use base_model::{Model, Random, open};
use proto::Zxid;
use ringkeeper_snapshot::base::{Base, BaseOptions, Run, Scrub, verify};
use ringkeeper_snapshot::{DataDir, Error, ImageRef, Result};

/// The images, each of which carries over from those before.
const ZXIDS: [Zxid; 3] = [Zxid(0x3_0000_0005), Zxid(0x3_0000_0017), Zxid(0x4_0000_0002)];
const NEWEST: Zxid = ZXIDS[2];
const DIRS: usize = 40;

/// Files of so many bytes in all, and what is in them.
fn write_images(dir: &Path, mib: usize, random: &mut Random) -> Model {
    let mut model = Model::new();
    (0..DIRS).for_each(|number| model.put(&format!("/dir{number}"), None, None));
    let mut bytes = 0;
    let mut paths = Vec::new();
    // Two later images write a fifth of it again each.
    while bytes < (mib << 20) * 5 / 7 {
        let number = random.below(DIRS);
        let path = format!("/dir{number}/{:08x}", random.next() >> 32);
        let data: Vec<u8> = (0..random.below(800)).flat_map(|_| random.next().to_le_bytes()).collect();
        let entry = match random.below(10) {
            0 => Some((Run::Ephemerals, i64::try_from(random.below(9)).unwrap())),
            1 => Some((Run::Ttls, i64::try_from(random.below(1_000)).unwrap())),
            2 => Some((Run::Containers, 0)),
            _ => None,
        };
        bytes += data.len();
        model.put(&path, Some(data), entry);
        paths.push((number, path));
    }
    model.publish(dir, ZXIDS[0], BaseOptions::default(), None);
    for (fifth, pair) in ZXIDS.windows(2).enumerate() {
        let before = open(dir, pair[0]);
        for (_, path) in paths.iter().filter(|(number, _)| number % 5 == fifth) {
            let (data, entry) = (model.nodes[path].data.clone(), model.nodes[path].entry);
            model.put(path, data, entry);
        }
        model.publish(dir, pair[1], BaseOptions::default(), Some(&before));
    }
    model
}

/// What a byte of the files is for.
enum Use {
    /// This segment of the newest image.
    Segment(usize),
    /// It is read when the image is opened.
    Opening,
    /// Segments and parts that only an older image uses.
    Nothing,
}

/// The files of the newest image, in a directory of one's own.
struct Files {
    dir: PathBuf,
    base: Arc<Base>,
    open: Vec<File>,
    /// By file and place there.
    segments: Vec<(usize, Range<usize>)>,
}

/// A changed bit.
struct Flip {
    file: usize,
    at: usize,
    mask: u8,
}

impl Files {
    fn new(dir: PathBuf) -> Files {
        let base = Arc::new(open(&dir, NEWEST));
        let open = |file: &Path| File::options().read(true).write(true).open(file).unwrap();
        let mut segments = segments(&fs::read(&base.files()[0].path).unwrap());
        segments.sort_by_key(|(file, range)| (*file, range.start));
        Files { open: base.files().iter().map(|file| open(&file.path)).collect(), dir, base, segments }
    }

    fn bytes(&self, file: usize) -> usize {
        usize::try_from(self.base.files()[file].file_bytes).unwrap()
    }

    /// Any bit of any file.
    fn any(&self, random: &mut Random) -> Flip {
        let mut at = random.below((0..self.open.len()).map(|file| self.bytes(file)).sum());
        let mut file = 0;
        while at >= self.bytes(file) {
            at -= self.bytes(file);
            file += 1;
        }
        Flip { file, at, mask: 1 << random.below(8) }
    }

    fn use_of(&self, flip: &Flip) -> Use {
        let place = (flip.file, flip.at);
        let after = self.segments.partition_point(|(file, range)| (*file, range.start) <= place);
        let around = after.checked_sub(1).filter(|&number| {
            let (file, range) = &self.segments[number];
            *file == flip.file && range.contains(&flip.at)
        });
        let in_blocks = flip.at < HEADER_BYTES || flip.at >= self.bytes(flip.file) - FOOTER_BYTES;
        match around {
            Some(number) => Use::Segment(number),
            None if flip.file == 0 || in_blocks => Use::Opening,
            None => Use::Nothing,
        }
    }

    /// Makes a flip, or undoes it: also in the mapping, which shows what is in the file.
    fn apply(&self, flip: &Flip) {
        let mut byte = [0];
        self.open[flip.file].read_exact_at(&mut byte, flip.at as u64).unwrap();
        self.open[flip.file].write_all_at(&[byte[0] ^ flip.mask], flip.at as u64).unwrap();
    }

    /// The segment that the error names, with file, offset and zxid.
    fn segment_named(&self, error: &Error) -> usize {
        let Error::Damaged { file, offset, zxid, segment, .. } = error else { panic!("{error}") };
        assert!(*zxid == Some(NEWEST) && segment.is_some(), "{error}");
        let number = self.base.files().iter().position(|known| known.path == *file);
        let place = Flip { file: number.unwrap(), at: usize::try_from(*offset).unwrap(), mask: 0 };
        match self.use_of(&place) {
            Use::Segment(segment) => segment,
            _ => panic!("{error}: that is in no segment"),
        }
    }

    /// Asks for everything; each answer is right, or names a segment with one of the flips. How many were damage.
    fn ask_all(&self, model: &Model, flips: &BTreeMap<usize, Flip>) -> usize {
        let mut damaged = 0;
        let mut is_damage = |error: Error| {
            let segment = self.segment_named(&error);
            assert!(flips.contains_key(&segment), "{error}: nothing was flipped there");
            damaged += 1;
        };
        for (path, node) in &model.nodes {
            let asked = self.base.find(path).and_then(|found| {
                let found = found.unwrap_or_else(|| panic!("{path} is not found"));
                assert_eq!((found.path(), found.stat(), found.acl_id()), (path.as_str(), node.stat, node.acl_id));
                assert_eq!((found.content_crc(), found.child_count()), (node.content_crc, model.child_count(path)));
                assert!(found.data()? == node.data, "the data of {path}");
                Ok(())
            });
            asked.unwrap_or_else(&mut is_damage);
        }
        for number in 0..DIRS {
            let parent = format!("/dir{number}/");
            let mut expected = model.nodes.range(parent.clone()..).take_while(|(path, _)| path.starts_with(&parent));
            let listed = self.base.children(&parent[..parent.len() - 1]).and_then(|mut children| {
                children.try_for_each(|child| {
                    assert_eq!(Some(child?.path()), expected.next().map(|(path, _)| path.as_str()));
                    Ok(())
                })?;
                assert!(expected.next().is_none(), "{parent}: a child is not listed");
                Ok(())
            });
            listed.unwrap_or_else(&mut is_damage);
        }
        for run in [Run::Ephemerals, Run::Ttls, Run::Containers] {
            let mut expected: Vec<(i64, String)> = model.entries(run).collect();
            expected.sort();
            let entries = match run {
                Run::Ephemerals => self.base.ephemerals(),
                Run::Ttls => self.base.ttls(),
                _ => self.base.containers(),
            };
            let walked: Result<Vec<(i64, Box<str>)>> = entries.collect();
            match walked {
                Ok(found) => {
                    let found = found.iter().map(|(key, path)| (*key, &**path));
                    assert!(found.eq(expected.iter().map(|(key, path)| (*key, path.as_str()))));
                }
                Err(error) => is_damage(error),
            }
        }
        damaged
    }

    /// The scrub stops at each flip, and at nothing else; it goes on when that flip is undone.
    fn scrub(&self, mut flips: BTreeMap<usize, Flip>) {
        let mut scrub = Scrub::new(Arc::clone(&self.base));
        while let Err(error) = scrub.step(u64::MAX) {
            let segment = self.segment_named(&error);
            let flip = flips.remove(&segment).unwrap_or_else(|| panic!("{error}: nothing was flipped there"));
            self.apply(&flip);
        }
        assert!(scrub.progress().is_done());
        let missed: Vec<_> = flips.values().map(|flip| (flip.file, flip.at)).collect();
        assert!(missed.is_empty(), "the scrub has passed the flips at {missed:?}");
    }

    /// The image does not open, and the error names the flipped file and the zxid in its name.
    fn refuse_to_open(&self, flip: &Flip) {
        self.apply(flip);
        let error = Base::open(&self.dir, &ImageRef::at(NEWEST)).expect_err("what is read at opening is checked");
        let Error::Damaged { file, zxid, .. } = &error else { panic!("{error}") };
        let known = &self.base.files()[flip.file];
        assert_eq!((file, *zxid), (&known.path, Some(known.zxid)), "{error}");
        self.apply(flip);
    }
}

/// What became of the flips.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    in_segments: usize,
    at_opening: usize,
    unread: usize,
    /// Of questions, not of flips.
    damaged_answers: usize,
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Found) {
        self.in_segments += other.in_segments;
        self.at_opening += other.at_opening;
        self.unread += other.unread;
        self.damaged_answers += other.damaged_answers;
    }
}

/// One batch of at most so many flips.
fn batch(files: &Files, model: &Model, random: &mut Random, flips_max: usize) -> Found {
    let (mut found, mut flips, mut unread) = (Found::default(), BTreeMap::new(), Vec::new());
    // So that few of them would meet in a segment; the batch ends at the first that does.
    for _ in 0..flips_max.min(files.segments.len() / 4 + 1) {
        let flip = files.any(random);
        match files.use_of(&flip) {
            Use::Segment(number) if flips.contains_key(&number) => break,
            Use::Segment(number) => {
                files.apply(&flip);
                flips.insert(number, flip);
            }
            Use::Opening => {
                files.refuse_to_open(&flip);
                found.at_opening += 1;
            }
            Use::Nothing => {
                files.apply(&flip);
                unread.push(flip);
            }
        }
    }
    (found.in_segments, found.unread) = (flips.len(), unread.len());
    found.damaged_answers = files.ask_all(model, &flips);
    files.scrub(flips);
    // With these alone the image opens, and all of it holds.
    if !unread.is_empty() {
        open(&files.dir, NEWEST);
    }
    unread.iter().for_each(|flip| files.apply(flip));
    found
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn random_flips_in_an_image_of_several_files_are_named_and_nothing_wrong_is_answered() {
    let seed = match std::env::var("RK_FLIP_SEED") {
        Ok(text) if text == "fresh" => RandomState::new().hash_one(std::process::id()) | 1,
        _ => setting("RK_FLIP_SEED", 1) as u64,
    };
    let (flips, mib) = (setting("RK_FLIPS", 1_500), setting("RK_FLIP_IMAGE_MIB", 12));
    println!("RK_FLIP_SEED={seed} RK_FLIPS={flips} RK_FLIP_IMAGE_MIB={mib}");
    let dir = tempfile::tempdir().unwrap();
    let model = write_images(dir.path(), mib, &mut Random(seed));
    let base = open(dir.path(), NEWEST);
    let bytes: u64 = base.files().iter().map(|file| file.file_bytes).sum();
    println!("{} files with {bytes} bytes, {} znodes", base.files().len(), model.nodes.len());
    assert!(base.files().len() == ZXIDS.len() && bytes >= (mib as u64) << 20, "{base}: {bytes} bytes");
    let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
    let begun = Instant::now();
    let found = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let (model, own) = (&model, dir.path().join(format!("thread-{thread}")));
                fs::create_dir(&own).unwrap();
                for zxid in ZXIDS {
                    fs::copy(DataDir::new(dir.path()).image(zxid), DataDir::new(&own).image(zxid)).unwrap();
                }
                scope.spawn(move || flip_at_random(own, model, seed ^ (thread as u64) << 32, flips.div_ceil(threads)))
            })
            .collect();
        let mut all = Found::default();
        threads.into_iter().for_each(|thread| all += thread.join().unwrap());
        all
    });
    println!(
        "{} flips named in segments, {} when the image is opened, {} lay where nothing is read; {} answers were damage, none was wrong; {} s",
        found.in_segments,
        found.at_opening,
        found.unread,
        found.damaged_answers,
        begun.elapsed().as_secs()
    );
    assert!(found.in_segments * 5 > flips * 2, "{found:?}: most of the files are in use");
}

/// So many flips in files of one's own.
fn flip_at_random(dir: PathBuf, model: &Model, seed: u64, flips: usize) -> Found {
    let (files, mut random, mut found) = (Files::new(dir), Random(seed), Found::default());
    let (begun, mut said) = (Instant::now(), Instant::now());
    loop {
        let done = found.in_segments + found.at_opening + found.unread;
        if said.elapsed().as_secs() >= 10 {
            said = Instant::now();
            println!("{done} of {flips} flips in {} s", begun.elapsed().as_secs());
        }
        if done >= flips {
            break;
        }
        found += batch(&files, model, &mut random, flips - done);
    }
    // All are undone.
    verify(&files.dir, &ImageRef::at(NEWEST)).unwrap();
    found
}
