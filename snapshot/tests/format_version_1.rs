//! Files of format version 1 are read by every later version.
//!
//! The committed files are never written again. The image is of commit 93bb96a, the last that could write one: what it holds is said in `common`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;

use common::{Contents, ENSEMBLE_ID, ZXID, fixture, read};
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_snapshot::control::Spans;
use ringkeeper_snapshot::{Control, Image, ImageRef, verify};

#[test]
fn the_image_is_read() {
    let path = fixture("image-v1.bin");
    let contents = Contents::committed();
    assert_eq!(verify(&path).unwrap(), contents.totals());
    assert_eq!(Image::open(&path).unwrap().ensemble_id(), ENSEMBLE_ID);
    assert_eq!(read(&path).unwrap(), contents);
}

#[test]
fn the_control_file_is_read_and_knows_nothing_of_what_came_later() {
    let control = Control {
        server_id: ServerId(2),
        ensemble_id: ENSEMBLE_ID,
        accepted_epoch: Epoch(3),
        current_epoch: Epoch(2),
        image: Some(ImageRef::at(ZXID)),
        log_generation: 4,
        log_cut: Some(Zxid(0x2_0000_0009)),
        history_zxid: Zxid(0x2_0000_0008),
        former: None,
        spans: None,
        is_whole: true,
        has_voted: false,
    };
    let path = fixture("control-v1.bin");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(Control::decode(&bytes, &path).unwrap(), control);
    assert_eq!(control.spans(), Spans::at(ZXID));
}
