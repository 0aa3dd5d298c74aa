//! The control file comes back as it was written, or not at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_snapshot::control::CONTROL_BYTES;
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
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    seal(&mut bytes);
    let error = Control::decode(&bytes, Path::new("/data/control")).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    assert!(error.to_string().contains("/data/control") && error.to_string().contains("newer version"), "{error}");
}

#[test]
fn fields_that_contradict_each_other_are_refused_although_the_checksum_holds() {
    // Offsets by the table in `control.rs`.
    let unknown_flag = (16, 8_u8);
    let absent_image_with_a_name = (16, 1 | 4);
    let absent_cut_with_a_zxid = (16, 1 | 2);
    let longer_name = (20, 23);
    let endless_name = (23, 1);
    let other_zxid = (80, 0x35);
    let foreign_name = (88, b'/');
    let more_after_the_name = (88 + 40, 1);
    let padding = (200, 1);
    for (at, value) in [
        unknown_flag,
        absent_image_with_a_name,
        absent_cut_with_a_zxid,
        longer_name,
        endless_name,
        other_zxid,
        foreign_name,
        more_after_the_name,
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
    let mut bytes = Control { image: None, ..sample() }.encode();
    bytes[20] = 1;
    seal(&mut bytes);
    assert!(matches!(Control::decode(&bytes, Path::new("control")), Err(Error::Damaged { .. })));
}

proptest! {
    #[test]
    fn anything_comes_back(
        ids in (any::<i64>(), any::<Option<u128>>()),
        epochs in any::<(u32, u32)>(),
        zxids in any::<(Option<u64>, u64, Option<u64>, u64)>(),
    ) {
        let (image, log_generation, log_cut, history) = zxids;
        let control = Control {
            server_id: ServerId(ids.0),
            ensemble_id: ids.1,
            accepted_epoch: Epoch(epochs.0),
            current_epoch: Epoch(epochs.1),
            image: image.map(|zxid| ImageRef::at(Zxid(zxid))),
            log_generation,
            log_cut: log_cut.map(Zxid),
            history_zxid: Zxid(history),
        };
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
