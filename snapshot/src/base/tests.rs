//! What needs the inside of the crate: keys that collide, and what the parts of a look-up cost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use proto::{StatPersisted, Zxid};
use rkyv::util::AlignedVec;

use super::place::collisions::KEY_MASK;
use super::record::{ArchivedNodeRow, Block, NodeRow, access};
use super::resident;
use super::*;
use crate::ImageRef;
use crate::image::ImageTotals;

/// Publishes these changes; `true`: it is there. Gives the new image.
fn publish(
    dir: &Path,
    zxid: u64,
    changes: &[(String, bool)],
    count: u64,
    base: Option<&Base>,
    options: BaseOptions,
) -> Base {
    let mut changes: Vec<_> = changes.iter().map(|(path, is_there)| (path.as_str(), *is_there)).collect();
    changes.sort_by(|(a, _), (b, _)| Place::of_node(a).cmp(&Place::of_node(b)));
    let mut plan = CarryPlan::new(base);
    changes.iter().for_each(|(path, _)| plan.touch_node(path));
    let mut writer = BaseWriter::create(dir, Zxid(zxid), options, plan).unwrap();
    for (path, is_there) in changes {
        let data = Some([b'x'; 100].as_slice());
        let node = NodeEntry { path, data, stat: StatPersisted::default(), acl_id: 0, content_crc: 0, child_count: 0 };
        writer.node(if is_there { NodeChange::Put(node) } else { NodeChange::Gone(path) }).unwrap();
    }
    let totals = ImageTotals { zxid: Zxid(zxid), node_count: count, ..ImageTotals::default() };
    let tables = BaseTables { acls: vec![(0, &[])], ..BaseTables::default() };
    writer.finish(&tables, totals).unwrap();
    Base::open(dir, &ImageRef::at(Zxid(zxid))).unwrap()
}

/// `cachestat` and `mincore`. A kernel before 6.5 has the second alone.
#[test]
fn both_ways_of_counting_pages_agree() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<_> = (0..2_000).map(|number| (format!("/n{number}"), true)).collect();
    let base = publish(dir.path(), 1, &all, 2_000, None, BaseOptions::default());
    let file = &base.mapped()[0];
    let bytes = file.footer().file_bytes;
    // Little of it is left then; all where the file system keeps nothing elsewhere, as tmpfs.
    resident::drop_range(file, 0, bytes);
    let there = resident::mapped_pages(file, file.map()).unwrap();
    assert!(resident::cached_pages(file, 0, bytes).is_none_or(|cached| cached == there), "{there} by mincore");
    assert_eq!(resident::of_range(file, 0, bytes).unwrap().is_whole(), there == bytes.div_ceil(4096));
    // Each page is touched: it is there, whatever the disk.
    let sum: u64 = file.map().iter().map(|byte| u64::from(*byte)).sum();
    assert!(sum > 0 && resident::of_range(file, 0, bytes).unwrap().is_whole());
    let pages = bytes.div_ceil(4096);
    assert_eq!(resident::mapped_pages(file, file.map()).unwrap(), pages);
    assert!(resident::cached_pages(file, 0, bytes).is_none_or(|there| there == pages));
    // A part of it: the pages that the part touches.
    let part = resident::of_range(file, 4096 + 100, 8192).unwrap();
    assert_eq!((part.there, part.pages), (3, 3));
    assert_eq!(resident::mapped_pages(file, &file.map()[4096..4096 + 8192]).unwrap(), 2);
    assert!(resident::cached_pages(file, 4096, 8192).is_none_or(|there| there == 2));
    assert!(resident::of_range(file, bytes, 1).is_err());
}

/// With one key, or two, or four, the parents' paths alone tell the directories apart: within a segment and over the cuts.
#[test]
fn paths_whose_keys_collide_are_told_apart() {
    for mask in [0, 1 << 63, 3 << 62] {
        KEY_MASK.with(|key_mask| key_mask.set(mask));
        let dir = tempfile::tempdir().unwrap();
        let options = BaseOptions { segment_bytes: 1500, ..BaseOptions::default() };
        let paths: Vec<String> = (0..30).flat_map(|a| (0..20).map(move |b| format!("/d{a}/c{b}"))).collect();
        let all: Vec<_> = paths.iter().map(|path| (path.clone(), true)).collect();
        let base = publish(dir.path(), 1, &all, 600, None, options);
        // Gone, changed, and new, in a part of the directories.
        let gone = |number: usize| number % 7 == 3 && number < 300;
        let mut changes: Vec<_> = (0..600).filter(|&n| gone(n)).map(|n| (paths[n].clone(), false)).collect();
        changes.extend([("/d3/new".to_owned(), true), ("/d9".to_owned(), true), ("/d5/c4".to_owned(), true)]);
        let left = (0..600).filter(|&n| !gone(n)).count() as u64 + 2;
        let base = publish(dir.path(), 2, &changes, left, Some(&base), options);
        for (number, path) in paths.iter().enumerate() {
            assert_eq!(base.find(path).unwrap().is_some(), !gone(number), "{path} with {mask:#x}");
        }
        for directory in 0..30 {
            let parent = format!("/d{directory}");
            let mut expected: Vec<_> = (0..20).filter(|c| !gone(directory * 20 + c)).map(|c| format!("c{c}")).collect();
            expected.extend((directory == 3).then(|| "new".to_owned()));
            expected.sort();
            let found: Vec<_> = base.children(&parent).unwrap().map(|node| node.unwrap().name().to_owned()).collect();
            assert_eq!(found, expected, "{parent} with {mask:#x}");
        }
        assert_eq!(base.children("/none").unwrap().count(), 0);
        assert!(base.find("/d9").unwrap().is_some() && base.find("/d8").unwrap().is_none());
        assert!(base.files().len() == 2 || mask == 0, "something was carried over");
    }
}

/// Prints what a look-up costs, and its parts. Run it alone:
/// `cargo test --profile ci -p ringkeeper-snapshot --lib -- --ignored --nocapture what_a_look_up_costs`.
#[test]
#[ignore = "measures"]
fn what_a_look_up_costs() {
    const NODES: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..NODES).map(|n| (format!("/app/{:03}/node-{n:07}", n % 997), true)).collect();
    let started = cpu_ns();
    publish(dir.path(), 1, &paths, NODES, None, BaseOptions::default());
    println!("sorted and written with {:.0} ns each", (cpu_ns() - started) / NODES as f64);
    let started = Instant::now();
    let base = Base::open(dir.path(), &ImageRef::at(Zxid(1))).unwrap();
    println!("opened in {:?}; {base}; {:?}", started.elapsed(), base.files());
    // A walk that meets each once, in no order of the file.
    let scattered = || (0..NODES).map(|n| paths[usize::try_from(n * 7_919_317 % NODES).unwrap()].0.as_str());
    let measure = |what: &str, each: &mut dyn FnMut(&str) -> usize| {
        for round in 0..3 {
            let started = cpu_ns();
            let sum: usize = scattered().map(&mut *each).sum();
            let ns = (cpu_ns() - started) / NODES as f64;
            println!("{what}, round {round}: {ns:.0} ns ({})", black_box(sum));
        }
    };
    // The path itself lies somewhere in memory, too.
    measure("the loop and a hash of the path", &mut |path| usize::from(super::place::path_hash(path) == 0));
    measure("find", &mut |path| usize::from(base.find(path).unwrap().is_some()));
    measure("find, with data", &mut |path| base.find(path).unwrap().unwrap().data().unwrap().unwrap().len());
    measure("find of what is not there", &mut |path| usize::from(base.find(&path[1..]).unwrap().is_some()));
    parts_of_a_look_up(&base);
    measure("the first child", &mut |path| usize::from(base.children(&path[..8]).unwrap().next().is_some()));
    // A few directories, which the processor has in its cache.
    let parents: Vec<_> = (0..1_000).map(|n| format!("/app/{:03}", n % 5)).collect();
    let listed: usize = parents.iter().map(|parent| base.children(parent).unwrap().count()).sum();
    let (mut one_by_one, mut seen) = (0, 0);
    for round in 0..5 {
        let started = cpu_ns();
        for parent in &parents {
            one_by_one += base.children(parent).unwrap().map(|node| node.unwrap().path().len()).sum::<usize>();
        }
        println!("children, round {round}: {:.1} ns each", (cpu_ns() - started) / listed as f64);
        let started = cpu_ns();
        for parent in &parents {
            base.children(parent).unwrap().visit(|node| seen += node.path().len()).unwrap();
        }
        println!("    visited: {:.1} ns each", (cpu_ns() - started) / listed as f64);
    }
    assert_eq!(one_by_one, seen);
    let started = Instant::now();
    verify::verify(dir.path(), &base.image()).unwrap_err();
    println!("verify up to the first parent that is not there: {:?}", started.elapsed());
}

/// Processor time of this thread in ns, which other processes do not change much.
fn cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the structure that it is given.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// A segment's records, their salt, and a place among them.
type Parts<'b> = (&'b [u8], u32, u16);

fn open<'b>(&(records, salt, place): &Parts<'b>) -> Block<'b> {
    Block::open(records, salt, place, AlignedVec::new()).unwrap()
}

/// On records that are in the processor's cache.
fn parts_of_a_look_up(base: &Base) {
    let nodes: Vec<Parts<'_>> = base.nodes().take(100).map(|node| node.unwrap().parts()).collect();
    let rounds = 20_000;
    let measure = |what: &str, each: &dyn Fn(&Parts<'_>) -> usize| {
        let started = cpu_ns();
        let sum: usize = (0..rounds).map(|_| nodes.iter().map(each).sum::<usize>()).sum();
        let ns = (cpu_ns() - started) / f64::from(rounds) / nodes.len() as f64;
        println!("{what}: {ns:.1} ns ({})", black_box(sum));
    };
    measure("a record's checksum and bounds", &|parts| open(parts).archive().len());
    measure("the same and its data's checksum", &|parts| open(parts).data().unwrap().unwrap().len());
    measure("the same as the first and rkyv's check", &|parts| {
        access::<NodeRow>(open(parts).archive()).unwrap().path.len()
    });
    measure("the same as the first and no check by rkyv", &|parts| {
        let block = open(parts);
        // SAFETY: the archives have just been written, and checked by the walk that gave them.
        unsafe { rkyv::access_unchecked::<ArchivedNodeRow>(block.archive()) }.path.len()
    });
}
