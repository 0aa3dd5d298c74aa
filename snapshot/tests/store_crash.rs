//! The power fails at every step of the log's disk and before every call of the control file's, while the store turns. What is found afterwards is
//! the state before the turn or the one after it, whole; what was said to be done is done; and the store turns on from there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;

use Op::{Adopt, Append, Begin, Cut, Discard, Epochs, Image, Release};
use proto::{Epoch, Zxid};
use ringkeeper_snapshot::control::{Control, ControlFile, ImageRef, Publication};
use ringkeeper_snapshot::sim_disk::{SimDisk as DataDisk, Survivors};
use ringkeeper_snapshot::store::{self, StoreError};
use wal::sim_disk::SimDisk;
use wal::{Disk, Generation, Log, Options, Reader};

const DIR: &str = "/data";

const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

/// What a server does with its store.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Txns of this epoch, from this counter to that one.
    Append(u32, u32, u32),
    Epochs(u32),
    Image(Zxid),
    /// A cut, and what the log ends with; none: it cannot be done.
    Cut(Zxid, Option<Zxid>),
    Begin(Zxid),
    Adopt(u32),
    Discard,
    Release,
}

const SCRIPT: &[Op] = &[
    Append(1, 1, 9),
    Cut(z(1, 7), Some(z(1, 7))),
    Epochs(2),
    Append(2, 1, 5),
    Image(z(2, 3)),
    // A state that comes to nothing.
    Begin(z(3, 4)),
    Append(3, 5, 9),
    Discard,
    Append(2, 6, 8),
    // One that is adopted, cut behind it, and cut below it: the former one is back.
    Begin(z(4, 2)),
    Append(4, 3, 8),
    Adopt(4),
    Append(4, 9, 12),
    Cut(z(4, 10), Some(z(4, 10))),
    Cut(z(2, 7), Some(z(2, 7))),
    Append(2, 8, 9),
    // One that stays.
    Begin(z(5, 1)),
    Adopt(5),
    Append(5, 2, 6),
    Release,
    Cut(z(2, 8), None),
    Append(5, 7, 8),
    // One after another.
    Begin(z(6, 1)),
    Adopt(6),
    Begin(z(6, 4)),
    Append(6, 5, 5),
    Adopt(7),
    Append(6, 6, 7),
    Image(z(6, 7)),
    Append(6, 8, 8),
];

/// What is in force: what a start finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct State {
    image: Zxid,
    txns: Vec<Zxid>,
    epoch: u32,
    is_whole: bool,
}

/// A server's memory: what it was told, and what it is at.
struct Server {
    log: Log<SimDisk>,
    control: ControlFile,
    /// What is in force for certain.
    before: State,
    /// What is once the step under way is done. Of txns a part may be there.
    after: State,
    /// What was in force before the last adoption.
    former: Option<State>,
    /// A state that is not in force.
    begun: Option<State>,
}

struct Disks {
    log: SimDisk,
    control: DataDisk,
}

impl Disks {
    fn new() -> Disks {
        let control = DataDisk::default();
        Control { log_generation: 1, ..Control::default() }.replace_on(&control, Path::new(DIR)).unwrap();
        control.settle();
        Disks { log: SimDisk::new(), control }
    }
}

fn options(control: &Control) -> Options {
    Options {
        segment_bytes: 40 << 10,
        group_bytes: 8 << 10,
        max_record_bytes: 4 << 10,
        generation: Generation(control.log_generation),
        replay_after: control.base_zxid().0,
        salt: 7,
        ..Options::new()
    }
}

fn read<D: Disk>(mut reader: Reader<D::Read>) -> Vec<Zxid> {
    let mut txns = Vec::new();
    while let Some((zxid, data)) = reader.next_record().unwrap() {
        assert_eq!(data, zxid.to_le_bytes().repeat(100));
        txns.push(Zxid(zxid));
    }
    txns
}

/// Opens what is there.
fn start(disks: &Disks) -> Result<Server, StoreError> {
    let contents = disks.control.contents();
    let control = decode(&contents);
    let (log, reader) = Log::open(disks.log.clone(), options(&control))?;
    let state = State {
        image: control.base_zxid(),
        txns: read::<SimDisk>(reader),
        epoch: control.current_epoch.0,
        is_whole: control.is_whole,
    };
    let end = state.txns.last().copied().unwrap_or(state.image);
    assert!(end >= control.history_zxid, "{end}: history is lost, {} was known", control.history_zxid);
    let control = ControlFile::on(Arc::new(disks.control.clone()), Path::new(DIR), control);
    Ok(Server { log, control, before: state.clone(), after: state, former: None, begun: None })
}

fn decode(contents: &Survivors) -> Control {
    let path = Path::new(DIR).join("control");
    Control::decode(&contents[&path], &path).unwrap()
}

impl Server {
    fn run(&mut self, script: &[Op]) -> Result<(), StoreError> {
        for op in script {
            self.after = self.before.clone();
            self.step(*op)?;
            self.before = self.after.clone();
        }
        Ok(())
    }

    fn step(&mut self, op: Op) -> Result<(), StoreError> {
        let (log, control) = (&mut self.log, &self.control);
        match op {
            Append(epoch, from, to) => {
                for zxid in (from..=to).map(|counter| z(epoch, counter)) {
                    log.append(zxid.0, &zxid.0.to_le_bytes().repeat(100))?;
                    self.begun.as_mut().unwrap_or(&mut self.after).txns.push(zxid);
                }
                log.commit()?;
            }
            Epochs(epoch) => {
                self.after.epoch = epoch;
                control.write_epochs(Epoch(epoch), Epoch(epoch), Zxid(log.durable_zxid()))?;
            }
            Image(zxid) => {
                self.after = State { image: zxid, ..self.before.clone() };
                self.after.txns.retain(|txn| *txn > zxid);
                let durable = Zxid(log.durable_zxid());
                let published = control.publish_image(control.era(), ImageRef::at(zxid), None, || durable)?;
                assert_eq!(published, Publication::InForce);
            }
            Cut(to, last) => self.cut(to, last)?,
            Begin(zxid) => {
                store::begin(log, control, ImageRef::at(zxid))?;
                self.begun = Some(State { image: zxid, ..State::default() });
            }
            Adopt(epoch) => {
                self.former = Some(self.before.clone());
                self.after = State { epoch, is_whole: true, ..self.begun.take().unwrap() };
                store::adopt(log, control, Epoch(epoch), Epoch(epoch))?;
            }
            Discard => {
                store::discard(log, control)?;
                self.begun = None;
            }
            Release => {
                store::release(log, control)?;
                self.former = None;
            }
        }
        Ok(())
    }

    fn cut(&mut self, to: Zxid, expected: Option<Zxid>) -> Result<(), StoreError> {
        let falls_back = expected.is_some() && to < self.before.image;
        self.after = match &self.former {
            _ if expected.is_none() => State { is_whole: false, ..self.before.clone() },
            Some(former) if falls_back => State { epoch: self.before.epoch, ..former.clone() },
            _ => self.before.clone(),
        };
        if expected.is_some() {
            self.after.txns.retain(|txn| *txn <= to);
        }
        let mut rebuild = |image: Option<&ImageRef>, reader| {
            let txns: Vec<Zxid> = read::<SimDisk>(reader).into_iter().filter(|txn| *txn <= to).collect();
            Ok((image.map_or(Zxid::ZERO, |image| image.zxid), txns))
        };
        match store::cut(&mut self.log, &self.control, to, Some(&mut rebuild))? {
            store::Cut::Done { last, rebuilt } => {
                assert_eq!(Some(last), expected);
                assert_eq!(rebuilt.unwrap(), (self.after.image, self.after.txns.clone()), "what was made anew");
            }
            store::Cut::Impossible { .. } => assert_eq!(expected, None),
        }
        if falls_back {
            self.former = None;
        }
        Ok(())
    }

    /// What was found is what this one had, or was about to have.
    fn allows(&self, found: &State) -> bool {
        let (before, after) = (&self.before, &self.after);
        let same =
            |other: &State| State { txns: Vec::new(), ..found.clone() } == State { txns: Vec::new(), ..other.clone() };
        let is_partly_appended =
            same(before) && same(after) && after.txns.starts_with(&found.txns) && found.txns.starts_with(&before.txns);
        found == before || found == after || is_partly_appended
    }
}

/// Runs the script until a disk fails (the log's at this step), and then the start on what is left, in every way that the control file's disk allows.
/// Did one fail?
fn crash(disks: &Disks, step: Option<u64>, seed: u64) -> bool {
    let mut server = start(disks).unwrap();
    step.iter().for_each(|step| disks.log.freeze_at(disks.log.steps() + step));
    let has_failed = server.run(SCRIPT).is_err();
    disks.log.crash(seed);
    for survivors in disks.control.after_power_loss() {
        let left = Disks { log: disks.log.deep_clone(), control: DataDisk::default() };
        decode(&survivors).replace_on(&left.control, Path::new(DIR)).unwrap();
        left.control.settle();
        let mut found = start(&left).unwrap();
        let (before, after) = (&server.before, &server.after);
        assert!(server.allows(&found.before), "found {:x?}\nbefore {before:x?}\nafter {after:x?}", found.before);
        go_on(&mut found);
        assert_eq!(start(&left).unwrap().before, found.before, "what was done after the crash");
    }
    has_failed
}

/// Whatever was found: the way back is there if it is said to be, and the store turns on.
fn go_on(found: &mut Server) {
    if let Some(former) = found.control.get().former {
        let base = former.image.map_or(Zxid::ZERO, |image| image.zxid);
        let cut = store::cut::<_, ()>(&mut found.log, &found.control, base.max(z(2, 6)), None).unwrap();
        assert!(matches!(cut, store::Cut::Done { .. }), "{cut:?}");
        let control = found.control.get();
        assert_eq!((control.base_zxid(), control.former), (base, None));
        found.before.image = base;
        found.before.txns = read::<SimDisk>(found.log.reader(base.0).unwrap());
    }
    found.before.is_whole = found.control.get().is_whole;
    let script = [
        Append(8, 1, 3),
        Begin(z(9, 1)),
        Append(9, 2, 2),
        Adopt(9),
        Release,
        Cut(z(9, 1), Some(z(9, 1))),
        Append(9, 2, 9),
    ];
    found.run(&script).unwrap();
}

#[test]
fn the_script_ends_where_it_should_and_leaves_nothing_behind() {
    let disks = Disks::new();
    let mut server = start(&disks).unwrap();
    server.run(SCRIPT).unwrap();
    assert_eq!(server.before, State { image: z(6, 7), txns: vec![z(6, 8)], epoch: 7, is_whole: true });
    store::tidy(&mut server.log, &server.control).unwrap();
    let segments = disks.log.files().into_keys().filter(|name| name.starts_with("segment-")).count();
    assert_eq!(segments, server.log.segment_count(), "every other segment is recycled");
    assert_eq!(start(&disks).unwrap().before, server.before);
}

#[test]
fn a_power_failure_at_every_step_of_the_log_leaves_the_former_state_or_the_new_one() {
    for step in 1.. {
        let has_failed = (0..3).map(|seed| crash(&Disks::new(), Some(step), seed * 7919 + step));
        if !has_failed.fold(false, |any, failed| any | failed) {
            assert!(step > 100, "{step} steps");
            break;
        }
    }
}

#[test]
fn a_power_failure_before_every_call_for_the_control_file_leaves_the_former_state_or_the_new_one() {
    let all = Disks::new();
    start(&all).unwrap().run(SCRIPT).unwrap();
    let calls = all.control.calls();
    assert!(calls > 30, "{calls}");
    for call in 0..calls {
        for seed in 0..3 {
            let disks = Disks::new();
            disks.control.freeze_at(call);
            assert!(crash(&disks, None, seed * 7919 + call));
        }
    }
}
