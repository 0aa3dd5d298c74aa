//! `rkctl snapshot verify`: every byte that counts, and that the znodes add up to what the snapshot says.
//!
//! Owns what is compared beside the formats' own checks: digest, counts, quotas, content CRCs, parents. Must never hold more than a znode
//! in memory, and of an image of format 1, whose znodes stand in any order, the paths of those that have children. It fails with the first fault, and names file, offset and znode; `tests/tests/inspection/snapshots.rs` would catch a mistake.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::ProgressBar;
use proto::Zxid;
use proto::path::split;
use proto::txn::DIGEST_VERSION;
use serde_json::{Value, json};
use snapshot::base::{Base, Checked, verify_watched};
use snapshot::version_2::Trailer;

use super::source::{Kind, Place, Source};
use super::tally::Tally;
use super::znode::Znode;
use crate::failure::Failure;
use crate::log::source::Go;
use crate::log::verify::progress_bar;
use crate::units::show_bytes;

/// Verifies all that the paths name, and says what was found. Exit code 1 if there was a fault, after the others were verified too.
///
/// # Errors
/// A path that cannot be looked into.
pub(crate) fn run(paths: &[PathBuf], json: bool) -> Result<ExitCode, Failure> {
    let mut is_damaged = false;
    for path in paths {
        let places = Place::all_in(path)?;
        if places.is_empty() {
            return Err(Failure::NoSnapshot(path.clone()));
        }
        for place in places {
            match verify(&place) {
                Ok(verified) if json => println!("{}", verified.to_json()),
                Ok(verified) => println!("{}", verified.words()),
                // A running server has purged it.
                Err(_) if path.is_dir() && !place.file().exists() => {}
                Err(failure) => {
                    is_damaged = true;
                    if json { println!("{}", failure.to_json()) } else { eprintln!("rkctl: {failure}") }
                }
            }
        }
    }
    Ok(ExitCode::from(u8::from(is_damaged)))
}

/// A snapshot that is well.
#[derive(Debug)]
pub(crate) enum Verified {
    /// All of it was read.
    Whole(Whole),
    /// An image that points into files that are gone: of use only for what points into it, and verified with that.
    Parts {
        /// Its file.
        file: PathBuf,
        /// The zxid in its name.
        zxid: Zxid,
    },
}

/// What a snapshot that is well holds.
#[derive(Debug)]
pub(crate) struct Whole {
    file: PathBuf,
    format: &'static str,
    zxid: Zxid,
    znodes: u64,
    digest: u64,
    /// Of a snapshot of ZooKeeper's.
    recorded: Option<Recorded>,
    /// The older files that parts of it lie in, with the bytes of these.
    carried: Vec<(PathBuf, u64)>,
}

/// What a snapshot of ZooKeeper's says of its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    /// Nothing that can be compared.
    Nothing,
    /// The same.
    Same,
    /// Another, as it happens where txns are applied while it is written: then only the log makes it whole. Nothing in the file tells it from other
    /// reasons: ZooKeeper sets its last zxid and the digest one after the other, and reads both while txns are applied.
    Other(u64),
}

impl Verified {
    /// For people.
    pub(crate) fn words(&self) -> String {
        match self {
            Verified::Whole(whole) => whole.words(),
            Verified::Parts { file, .. } => format!(
                "{}: what newer images use of it is verified with them; files that the rest points into are gone",
                file.display()
            ),
        }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Verified::Whole(whole) => whole.to_json(),
            Verified::Parts { file, zxid } => {
                json!({ "ok": true, "file": file, "zxid": zxid.to_string(), "parts_only": true })
            }
        }
    }
}

impl Whole {
    fn words(&self) -> String {
        let carried = match self.carried.len() {
            0 => String::new(),
            files => {
                let bytes = self.carried.iter().map(|(_, bytes)| bytes).sum();
                format!(", {} of it in {files} older {}", show_bytes(bytes), if files == 1 { "file" } else { "files" })
            }
        };
        let digest = match self.recorded {
            None | Some(Recorded::Same) => String::new(),
            Some(Recorded::Nothing) => "; it has no digest to compare with".to_owned(),
            Some(Recorded::Other(recorded)) => format!(
                "; the digest of its znodes is {:#x} and not {recorded:#x}, as where txns are applied while it is written: the log makes it whole",
                self.digest
            ),
        };
        let Whole { znodes, zxid, .. } = self;
        format!("{}: ok, {znodes} znodes at zxid {zxid}{carried}{digest}", self.file.display())
    }

    fn to_json(&self) -> Value {
        let carried = self.carried.iter().map(|(file, bytes)| json!({ "file": file, "bytes": bytes }));
        json!({
            "ok": true,
            "file": self.file,
            "format": self.format,
            "zxid": self.zxid.to_string(),
            "znodes": self.znodes,
            "digest": format!("{:#x}", self.digest),
            "digest_recorded": match self.recorded {
                None | Some(Recorded::Same) => Some(format!("{:#x}", self.digest)),
                Some(Recorded::Other(recorded)) => Some(format!("{recorded:#x}")),
                Some(Recorded::Nothing) => None,
            },
            "carried": carried.collect::<Vec<_>>(),
        })
    }
}

/// Verifies an image or a snapshot.
///
/// # Errors
/// The first fault.
pub(crate) fn verify(place: &Place) -> Result<Verified, Failure> {
    // A running server may purge such a file meanwhile.
    let outcome = verify_whole(place);
    let is_part = || place.missing_files().is_ok_and(|missing| !missing.is_empty());
    if outcome.is_err() && is_part() {
        return Ok(Verified::Parts { file: place.file(), zxid: place.zxid() });
    }
    outcome
}

/// As [`verify`], where the files that it points into must be there.
///
/// # Errors
/// The first fault.
pub(crate) fn verify_whole(place: &Place) -> Result<Verified, Failure> {
    let source = place.open()?;
    let mut tally = Tally::default();
    let progress = progress_bar(bytes_of(&source));
    let outcome = match &source.kind {
        Kind::Mapped(base) => verify_mapped(&source, base, &mut tally, &progress).map(|()| None),
        Kind::Whole(_) => verify_version_1(&source, &mut tally, &progress).map(|()| None),
        Kind::ZooKeeper(_) => verify_zookeepers(&source, &mut tally, &progress).map(Some),
    };
    progress.finish_and_clear();
    let recorded = outcome?;
    Ok(Verified::Whole(Whole {
        format: source.format(),
        zxid: source.zxid(),
        znodes: tally.znodes,
        digest: tally.digest,
        recorded,
        carried: source.carried().iter().map(|file| (file.path.clone(), file.live_bytes)).collect(),
        file: source.file,
    }))
}

fn bytes_of(source: &Source) -> u64 {
    match &source.kind {
        Kind::Mapped(base) => base.live_bytes(),
        Kind::Whole(image) => image.file_bytes(),
        Kind::ZooKeeper(file) => file.path.metadata().map_or(0, |metadata| metadata.len()),
    }
}

fn contradiction(source: &Source, what: Option<String>) -> Result<(), Failure> {
    match what {
        Some(what) => Err(Failure::Contradiction { file: source.file.clone(), zxid: source.zxid(), what }),
        None => Ok(()),
    }
}

fn verify_mapped(source: &Source, base: &Base, tally: &mut Tally, progress: &ProgressBar) -> Result<(), Failure> {
    let mut last = String::new();
    let checked = verify_watched(base, |checked| match checked {
        Checked::Segment { bytes } => progress.inc(bytes),
        Checked::Node(node) => {
            // It was found good just now; what changes under the feet of the check is met there again.
            tally.add_mapped(&Znode::mapped(&node).facts, &node, node.data().unwrap_or_default().as_deref());
            last.clear();
            last.push_str(node.path());
        }
    });
    checked.map_err(|error| source.locate(error.into(), Some(last)))?;
    contradiction(source, tally.contradiction(base.totals()))?;
    contradiction(source, tally.contradiction_of_tables(base))
}

fn verify_version_1(source: &Source, tally: &mut Tally, progress: &ProgressBar) -> Result<(), Failure> {
    let acls = source.tables()?.acls;
    let mut without_acl = None;
    // What is left of it in the end is not there.
    let mut parents = source.child_counts()?;
    source.scan(&mut |znode| {
        let data = znode.data()?;
        tally.add(&znode.facts, data.as_deref());
        parents.remove(znode.facts.path);
        if acls.get(znode.facts.acl).is_none() && without_acl.is_none() {
            without_acl = Some(format!("the znode {} names an ACL that is not there", znode.facts.path));
        }
        progress.inc((znode.facts.path.len() + znode.facts.data_len) as u64);
        Ok(Go::On)
    })?;
    let missing = parents.into_iter().min();
    let missing = missing.map(|(path, children)| format!("the parent {path} of {children} znodes is not there"));
    contradiction(source, missing)?;
    let totals = source.totals();
    contradiction(source, totals.and_then(|totals| tally.contradiction(totals)).or(without_acl))
}

fn verify_zookeepers(source: &Source, tally: &mut Tally, progress: &ProgressBar) -> Result<Recorded, Failure> {
    let mut ancestors = Ancestors::default();
    let mut orphan = None;
    let trailer = source.scan(&mut |znode| {
        let data = znode.data()?;
        tally.add(&znode.facts, data.as_deref());
        if !ancestors.take(znode.facts.path) && orphan.is_none() {
            orphan = Some(format!("the znode {} does not come after its parent", znode.facts.path));
        }
        progress.inc((znode.facts.path.len() + znode.facts.data_len + NODE_BYTES) as u64);
        Ok(Go::On)
    })?;
    contradiction(source, orphan)?;
    Ok(recorded(&trailer, tally.digest))
}

fn recorded(trailer: &Trailer, computed: u64) -> Recorded {
    match trailer.digest.filter(|digest| digest.version == DIGEST_VERSION) {
        None => Recorded::Nothing,
        Some(digest) if digest.digest == computed => Recorded::Same,
        Some(digest) => Recorded::Other(digest.digest),
    }
}

/// The znodes from the root to the last one: ZooKeeper writes a subtree as a whole before the next.
#[derive(Debug, Default)]
struct Ancestors(Vec<Box<str>>);

impl Ancestors {
    /// Takes the next znode; false if its parent is none of them.
    fn take(&mut self, path: &str) -> bool {
        let parent = split(path).map(|(parent, _)| parent);
        while self.0.last().is_some_and(|last| Some(&**last) != parent) {
            self.0.pop();
        }
        let follows = parent.is_none() || !self.0.is_empty();
        self.0.push(path.into());
        follows
    }
}

/// Bytes of a znode in a snapshot of ZooKeeper's beside path and data.
const NODE_BYTES: usize = 76;

#[cfg(test)]
mod tests {
    use super::super::images;
    use super::*;
    use snapshot::dirs::DataDir;
    use snapshot::image::ImageTotals;

    fn verified(change: impl Fn(&mut ImageTotals)) -> Result<Verified, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let znodes: [images::Row<'_>; 4] =
            [("/", None, 0), ("/a", Some(b"1"), 2), ("/zookeeper/x", Some(b"2"), 3), ("/zookeeper", None, 0)];
        verify(&images::write(dir.path(), Zxid(5), 1, &znodes, change))
    }

    #[test]
    fn totals_and_digest_are_summed_up_anew() {
        let Verified::Whole(whole) = verified(|_| ()).unwrap() else { panic!("it is one file") };
        assert_eq!((whole.znodes, whole.format, whole.zxid), (4, "image 2", Zxid(5)));
        type Change = fn(&mut ImageTotals);
        let wrong: [(Change, &str); 2] = [
            (|totals| totals.tree_digest ^= 1, "the digest of its znodes is"),
            (|totals| totals.data_bytes += 1, "it has 27 bytes of paths and data, and 28 are recorded"),
        ];
        for (change, words) in wrong {
            let failure = verified(change).unwrap_err();
            assert!(matches!(failure, Failure::Contradiction { zxid: Zxid(5), .. }), "{failure}");
            assert!(failure.to_string().contains(words), "{failure}");
        }
    }

    /// The committed image has all its znodes but the root below one that is not there; its checksums and counts hold.
    #[test]
    fn a_znode_of_format_1_whose_parent_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/fixtures/image-v1.bin");
        std::fs::copy(fixture, DataDir::new(dir.path()).image(Zxid(0x2_0000_0003))).unwrap();
        let failure = verify(&Place::base_of(dir.path()).unwrap()).unwrap_err();
        assert!(failure.to_string().contains("the parent /sample of 59 znodes is not there"), "{failure}");
    }

    /// The committed image has checksums that hold, and content CRCs and a digest that no tree has.
    #[test]
    fn a_znode_of_format_2_whose_content_crc_is_not_that_of_its_content_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/fixtures");
        for (name, zxid) in [("image-v2-old.bin", Zxid(0x2_0000_0003)), ("image-v2.bin", Zxid(0x2_0000_0008))] {
            std::fs::copy(fixtures.join(name), DataDir::new(dir.path()).image(zxid)).unwrap();
        }
        let newest = Place::base_of(dir.path()).unwrap();
        assert_eq!((newest.zxid(), newest.open().unwrap().carried().len()), (Zxid(0x2_0000_0008), 1));
        let failure = verify(&newest).unwrap_err();
        assert!(failure.to_string().contains("the CRC of path and data is not the recorded one"), "{failure}");
        // Without the older file it is of no use for itself.
        std::fs::remove_file(DataDir::new(dir.path()).image(Zxid(0x2_0000_0003))).unwrap();
        assert!(matches!(verify(&newest), Ok(Verified::Parts { zxid: Zxid(0x2_0000_0008), .. })));
        assert!(verify_whole(&newest).is_err());
    }

    #[test]
    fn a_subtree_is_written_as_a_whole() {
        let follow = |paths: &[&str]| {
            let mut ancestors = Ancestors::default();
            paths.iter().all(|path| ancestors.take(path))
        };
        assert!(follow(&["/", "/a", "/a/b", "/a/b/c", "/a/d", "/e"]));
        assert!(!follow(&["/", "/a/b"]), "the parent is missing");
        assert!(!follow(&["/", "/a", "/e", "/a/b"]), "the parent's subtree had ended");
    }
}
