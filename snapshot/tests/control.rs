//! The control file comes back as it was written, or not at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_snapshot::control::{CONTROL_BYTES, Former, Spans};
use ringkeeper_snapshot::{Control, Error, ImageRef};

fn sample() -> Control {
    Control {
        server_id: ServerId(3),
        ensemble_id: Some(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        accepted_epoch: Epoch(9),
        current_epoch: Epoch(8),
        image: Some(ImageRef::at(Zxid(0x8_0000_1234))),
        log_generation: 5,
        log_cut: Some(Zxid(0x8_0000_2000)),
        history_zxid: Zxid(0x8_0000_1fff),
        former: Some(Former { image: Some(ImageRef::at(Zxid(0x7_0000_0001))), log_generation: 3 }),
        spans: Spans::new(Zxid(0x6_0000_0002), [(Epoch(6), 9), (Epoch(7), 1), (Epoch(8), 0x1234)]),
        is_whole: false,
        has_voted: true,
    }
}

#[test]
fn an_absent_file_is_a_first_start_and_a_replaced_one_is_read() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Control::load(dir.path()).unwrap(), None);
    for control in [Control::default(), sample(), Control { log_generation: 6, ..sample() }] {
        control.replace(dir.path()).unwrap();
        assert_eq!(Control::load(dir.path()).unwrap(), Some(control));
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["control"]);
}

#[test]
fn every_flipped_bit_is_found() {
    for control in [sample(), Control::default()] {
        let bytes = control.encode();
        assert_eq!(bytes.len(), CONTROL_BYTES);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = Control::decode(&flipped, Path::new("control")).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "bit {bit}: {error}");
        }
    }
}

#[test]
fn every_other_length_is_refused() {
    let bytes = sample().encode();
    for len in 0..bytes.len() {
        assert!(Control::decode(&bytes[..len], Path::new("control")).is_err(), "{len} bytes passed");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Control::decode(&longer, Path::new("control")), Err(Error::Damaged { .. })));
}

#[test]
fn a_huge_file_is_not_read_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("control")).unwrap();
    // Sparse: reading it whole would need 1 TiB.
    file.set_len(1 << 40).unwrap();
    assert!(matches!(Control::load(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let mut bytes = sample().encode();
    bytes[8..12].copy_from_slice(&3_u32.to_le_bytes());
    seal(&mut bytes);
    let error = Control::decode(&bytes, Path::new("/data/control")).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 3, supported: 2, .. }), "{error}");
    assert!(error.to_string().contains("/data/control") && error.to_string().contains("newer version"), "{error}");
}

#[test]
fn fields_that_contradict_each_other_are_refused_although_the_checksum_holds() {
    // Offsets by the table in `control.rs`.
    let flags = 1 | 2 | 4 | 8 | 16 | 32 | 64_u8;
    let unknown_flag = (16, flags | 128);
    let absent_image_with_a_name = (16, flags & !2);
    let absent_cut_with_a_zxid = (16, flags & !4);
    let absent_former_with_a_log = (16, flags & !8);
    let absent_former_image_with_a_zxid = (16, flags & !16);
    let longer_name = (20, 23);
    let endless_name = (23, 1);
    let other_zxid = (80, 0x35);
    let foreign_name = (88, b'/');
    let more_after_the_name = (88 + 40, 1);
    let floor_above_the_first_span = (168, 10);
    let floor_of_another_epoch = (172, 5);
    let more_spans = (176, 4);
    let no_spans_with_a_floor = (176, 0);
    let endless_spans = (177, 1);
    let between = (180, 1);
    let an_epoch_twice = (192, 6);
    let spans_that_end_elsewhere = (204, 0x35);
    let more_after_the_spans = (208, 1);
    let padding = (900, 1);
    for (at, value) in [
        unknown_flag,
        absent_image_with_a_name,
        absent_cut_with_a_zxid,
        absent_former_with_a_log,
        absent_former_image_with_a_zxid,
        longer_name,
        endless_name,
        other_zxid,
        foreign_name,
        more_after_the_name,
        floor_above_the_first_span,
        floor_of_another_epoch,
        more_spans,
        no_spans_with_a_floor,
        endless_spans,
        between,
        an_epoch_twice,
        spans_that_end_elsewhere,
        more_after_the_spans,
        padding,
    ] {
        let mut bytes = sample().encode();
        assert_ne!(bytes[at], value);
        bytes[at] = value;
        seal(&mut bytes);
        let decoded = Control::decode(&bytes, Path::new("control"));
        assert!(matches!(decoded, Err(Error::Damaged { .. })), "{value:#x} at {at} gave {decoded:?}");
    }
}

#[test]
fn a_name_without_an_image_is_refused() {
    let mut bytes = Control { image: None, spans: None, ..sample() }.encode();
    bytes[20] = 1;
    seal(&mut bytes);
    assert!(matches!(Control::decode(&bytes, Path::new("control")), Err(Error::Damaged { .. })));
}

#[test]
fn of_many_spans_the_newest_are_kept_and_the_floor_rises() {
    let ends: Vec<_> = (1..=u32::try_from(Spans::COUNT_MAX).unwrap() + 3).map(|epoch| (Epoch(epoch), 5)).collect();
    let spans = Spans::new(Zxid::new(Epoch(1), 2), ends.clone()).unwrap();
    assert_eq!(spans.ends(), &ends[3..]);
    assert_eq!(spans.floor(), Zxid::new(Epoch(4), 0));
    let few = Spans::new(Zxid::new(Epoch(1), 2), ends[..3].iter().copied()).unwrap();
    assert_eq!((few.floor(), few.last()), (Zxid::new(Epoch(1), 2), Zxid::new(Epoch(3), 5)));
    assert_eq!(Spans::new(Zxid::ZERO, []), None);
    assert_eq!(Spans::new(Zxid::ZERO, [(Epoch(0), 1), (Epoch(0), 2)]), None);
}

#[test]
fn the_committed_file_of_format_version_2_is_read_and_written_to_the_byte() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/control-v2.bin");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(Control::decode(&bytes, &path).unwrap(), sample());
    assert_eq!(sample().encode(), bytes);
}

proptest! {
    #[test]
    fn anything_comes_back(
        ids in (any::<i64>(), any::<Option<u128>>()),
        epochs in any::<(u32, u32)>(),
        zxids in any::<(Option<u64>, u64, Option<u64>, u64)>(),
        former in any::<Option<(Option<u64>, u64)>>(),
        older in prop::collection::btree_map(0_u32..1_000, any::<u32>(), 0..100),
        flags in any::<(bool, bool)>(),
    ) {
        let (image, log_generation, log_cut, history) = zxids;
        let last = Zxid(image.unwrap_or(0));
        let ends = older.into_iter().map(|(epoch, counter)| (Epoch(epoch), counter));
        let ends: Vec<_> = ends.filter(|(epoch, _)| *epoch < last.epoch()).chain([(last.epoch(), last.counter())]).collect();
        let control = Control {
            server_id: ServerId(ids.0),
            ensemble_id: ids.1,
            accepted_epoch: Epoch(epochs.0),
            current_epoch: Epoch(epochs.1),
            image: image.map(|zxid| ImageRef::at(Zxid(zxid))),
            log_generation,
            log_cut: log_cut.map(Zxid),
            history_zxid: Zxid(history),
            former: former.map(|(image, log_generation)| Former { image: image.map(|zxid| ImageRef::at(Zxid(zxid))), log_generation }),
            spans: Spans::new(Zxid::new(ends[0].0, 0), ends),
            is_whole: flags.0,
            has_voted: flags.1,
        };
        assert!(control.spans.as_ref().is_some_and(|spans| spans.ends().len() <= Spans::COUNT_MAX));
        prop_assert_eq!(Control::decode(&control.encode(), Path::new("control")).unwrap(), control);
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), CONTROL_BYTES), honest in 0..CONTROL_BYTES) {
        // Honest up to a point, and with a checksum that holds: only the checks of the fields are left.
        bytes[..honest].copy_from_slice(&sample().encode()[..honest]);
        seal(&mut bytes);
        let _ = Control::decode(&bytes, Path::new("control"));
    }
}

fn seal(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[..CONTROL_BYTES - 4]);
    bytes[CONTROL_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
}
