//! Random scripts with power failures at random steps, against the model; and decoders that take any bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::model::{
    Model,
    Step::{self, Commit, Overlap, Prepare, Purge, RemoveDead, Reopen, Seal, Truncate},
    run_until,
};
use proptest::prelude::*;
use ringkeeper_wal::{
    format::{Generation, SegmentHeader, SegmentIdentity, SegmentSeq, decode_group, decode_record},
    sim_disk::SimDisk,
};

fn any_step() -> impl Strategy<Value = Step> {
    const SIZES: [&[usize]; 6] =
        [&[0], &[17], &[4000, 300], &[4096, 4096, 4096], &[1, 2, 3, 4, 5], &[900, 900, 900, 900]];
    let sizes = || prop::sample::select(SIZES.to_vec());
    prop_oneof![
        6 => sizes().prop_map(Commit),
        4 => (sizes(), sizes()).prop_map(|(first, second)| Overlap(first, second)),
        1 => Just(Seal),
        1 => (1u64..60_000).prop_map(Prepare),
        1 => (0usize..6).prop_map(Purge),
        1 => (0usize..6).prop_map(Truncate),
        1 => Just(RemoveDead),
        1 => Just(Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_random_script_with_power_failures_keeps_what_was_acknowledged(
        runs in prop::collection::vec((prop::collection::vec(any_step(), 1..25), 1u64..150, any::<u64>()), 1..5),
    ) {
        let (mut model, disk) = (Model::new(), SimDisk::new());
        for (run, (script, step, seed)) in (0..).zip(&runs) {
            run_until(&mut model, &disk, script, *step, run * 100);
            disk.crash(*seed);
        }
        model.reopen(&disk, 1000).unwrap();
    }

    #[test]
    fn decoding_any_bytes_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..9000), offset: u64, seq: u64, begin: bool) {
        let identity = SegmentIdentity { salt: 1, seq: SegmentSeq(seq), generation: Generation(1), crc: 7, block_bytes: 4096 };
        if begin && bytes.len() > 100 {
            // As far as the identity a real group, so that what follows is reached.
            bytes[..8].copy_from_slice(b"RKGR\x01\x00\x01\x00");
            bytes[16..24].copy_from_slice(&1u64.to_le_bytes());
            bytes[24..32].copy_from_slice(&seq.to_le_bytes());
            bytes[32..40].copy_from_slice(&1u64.to_le_bytes());
            bytes[40..48].copy_from_slice(&offset.to_le_bytes());
            bytes[48..72].fill(0);
            bytes[74..76].fill(0);
        }
        prop_assert!(decode_group(&bytes, &identity, offset).is_err());
        let _ = SegmentHeader::decode(&bytes);
        let _ = decode_record(&bytes);
    }
}
