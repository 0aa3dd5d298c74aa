//! A damaged log that is cut before the damage opens again, with every record before it and none after; the plan says what is lost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::{Record, commit_one, open, read_all, small};
use ringkeeper_wal::{
    Error, Generation, Log, LogView, Options,
    repair::{Lost, RepairError, RepairPlan, plan},
    sim_disk::SimDisk,
};

/// Three full segments and the begin of a fourth, sealed.
fn sealed_log() -> (SimDisk, Vec<Record>) {
    let disk = SimDisk::new();
    let (mut log, mut records) = open(disk.clone(), small(1, 1)).unwrap();
    while log.segment_count() < 4 || log.position().offset < 4 * 4096 {
        let zxid = records.len() as u64 + 1;
        records.push(commit_one(&mut log, zxid, 3000));
    }
    log.seal().unwrap();
    (disk, records)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.files().into_keys().filter(|name| name.starts_with("segment")).collect()
}

fn flip(disk: &SimDisk, name: &str, at: usize) {
    let mut bytes = disk.files()[name].clone();
    bytes[at] ^= 2;
    disk.put_file(name, &bytes);
}

/// The plan for the first damage that a reader of everything meets.
fn planned(disk: &SimDisk, base_zxid: u64) -> Result<RepairPlan, RepairError> {
    let view = LogView::open(disk.clone(), Some(Generation(1))).unwrap();
    let fault = read_all(&mut view.reader(view.begins_after()).unwrap()).unwrap_err();
    assert!(fault.is_damage(), "{fault}");
    plan(&view, &fault, Generation(1), base_zxid)
}

/// The records after the base, read as recovery does.
fn recover(disk: &SimDisk, base_zxid: u64) -> Result<Vec<Record>, Error> {
    let (mut log, mut reader) = Log::open(disk.clone(), Options { replay_after: base_zxid, ..small(1, 7) })?;
    let records = read_all(&mut reader)?;
    let next = log.durable_zxid().max(base_zxid) + 1;
    commit_one(&mut log, next, 10);
    Ok(records)
}

#[test]
fn what_lies_before_the_damage_stays_wherever_it_is() {
    let (intact, records) = sealed_log();
    let last_zxid = records.len() as u64;
    let names = segments(&intact);
    for name in names.clone() {
        for at in (0..12).map(|block| block * 4096 + 77) {
            let disk = intact.deep_clone();
            flip(&disk, &name, at);
            let Err(fault) = recover(&disk.deep_clone(), 0) else { continue };
            let Error::Damage { after_zxid, .. } = fault else { panic!("{fault}") };
            let plan = planned(&disk, 0).unwrap();
            assert_eq!(plan.kept_zxid, after_zxid);
            // Behind the last segment's header nothing reads.
            let is_told = plan.lost == Lost::UpTo(last_zxid);
            let is_last = name == *names.last().unwrap() && at < 4096;
            assert!(is_told != is_last && (is_told || plan.lost == Lost::Unknown), "{plan:?} {at}");
            plan.carry_out(&mut disk.clone()).unwrap();
            let kept = usize::try_from(after_zxid).unwrap();
            assert!(recover(&disk, 0).unwrap() == records[..kept], "{name} at {at}");
            // What was written after it is read back.
            let (_, again) = open(disk, small(1, 8)).unwrap();
            assert_eq!(again.len(), kept + 1);
        }
    }
}

#[test]
fn what_the_base_image_holds_is_not_lost() {
    let (disk, records) = sealed_log();
    let names = segments(&disk);
    let view = LogView::open(disk.clone(), None).unwrap();
    let bases: Vec<u64> = view.segments().iter().map(|segment| segment.header.as_ref().unwrap().base_zxid).collect();
    let last_zxid = records.len() as u64;

    // All that is needed lies behind the damaged segment, whether its header reads or not.
    for at in [50, 4096 * 3 + 50] {
        let disk = disk.deep_clone();
        flip(&disk, &names[1], at);
        let plan = planned(&disk, bases[2]).unwrap();
        assert_eq!((&plan.removes[..], plan.lost), (&names[..2], Lost::Nothing));
        plan.carry_out(&mut disk.clone()).unwrap();
        assert_eq!(recover(&disk, bases[2]).unwrap().len() as u64, last_zxid - bases[2]);
    }

    // The base lies behind the damage in the same segment: what follows the base cannot be reached.
    flip(&disk, &names[1], 4096 * 3 + 50);
    let plan = planned(&disk, bases[2] - 1).unwrap();
    assert_eq!((plan.removes.len(), plan.kept_zxid, plan.lost), (4, bases[2] - 1, Lost::UpTo(last_zxid)));
    plan.carry_out(&mut disk.clone()).unwrap();
    assert!(recover(&disk, bases[2] - 1).unwrap().is_empty());
}

#[test]
fn a_repair_that_a_crash_stopped_can_be_repeated() {
    let (intact, records) = sealed_log();
    let name = &segments(&intact)[1];
    for step in 1..12 {
        let disk = intact.deep_clone();
        flip(&disk, name, 4096 * 4 + 50);
        let plan = planned(&disk, 0).unwrap();
        let kept = usize::try_from(plan.kept_zxid).unwrap();
        disk.freeze_at(disk.steps() + step);
        let outcome = plan.carry_out(&mut disk.clone());
        disk.crash(step);
        if outcome.is_err() && recover(&disk.deep_clone(), 0).is_err() {
            planned(&disk, 0).unwrap().carry_out(&mut disk.clone()).unwrap();
        }
        assert!(recover(&disk, 0).unwrap() == records[..kept], "step {step}");
    }
}

#[test]
fn what_a_cut_does_not_help_is_refused() {
    let (disk, _) = sealed_log();
    let name = segments(&disk)[1].clone();
    let (mut log, _) = open(disk.clone(), small(1, 3)).unwrap();
    let generation = log.next_generation();
    log.truncate_after(60, generation).unwrap();
    drop(log);
    flip(&disk, &name, 4096 * 3 + 50);
    let view = LogView::open(disk.clone(), Some(generation)).unwrap();
    let fault = read_all(&mut view.reader(0).unwrap()).unwrap_err();
    let refused = plan(&view, &fault, generation, 0).unwrap_err();
    assert!(refused.to_string().contains("older generation"), "{refused}");
    let missing = Error::HistoryMissing { needed_after: 0, begins_after: 1 };
    assert!(matches!(plan(&view, &missing, generation, 0), Err(RepairError::Beyond(_))));
}
