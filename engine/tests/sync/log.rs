//! A piece of the log becomes packets: all of it, in chunks, or an error.

use engine::turn::sync::{LogSource, LogSourceError, Records, SourceState};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, QuorumPacket};
use proto::{Epoch, Received, Zxid};
use ringkeeper_engine as engine;

#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("the disk is gone")]
struct DiskGone;

/// A log: `None` is a record that cannot be read.
struct Log(std::vec::IntoIter<Option<Zxid>>, Vec<u8>);

impl Records for Log {
    type Error = DiskGone;

    fn next_record(&mut self) -> Result<Option<(u64, &[u8])>, DiskGone> {
        let Some(record) = self.0.next() else { return Ok(None) };
        let zxid = record.ok_or(DiskGone)?;
        self.1 = bytes_of(zxid);
        Ok(Some((zxid.0, &self.1)))
    }
}

fn bytes_of(zxid: Zxid) -> Vec<u8> {
    vec![u8::try_from(zxid.counter()).unwrap(); 40]
}

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

fn log(zxids: impl IntoIterator<Item = Zxid>) -> Log {
    Log(zxids.into_iter().map(Some).collect::<Vec<_>>().into_iter(), Vec::new())
}

/// Of a server that leads epoch 3.
fn history() -> Vec<Zxid> {
    vec![z(1, 1), z(1, 2), z(3, 1), z(3, 2), z(3, 3)]
}

type Streamed = Result<(Vec<u8>, usize), LogSourceError<DiskGone>>;

/// All bytes, and in how many chunks.
fn streamed(records: Log, after: Zxid, to: Zxid, bytes_max: usize) -> Streamed {
    let mut source = LogSource::new(records, after, to, Epoch(3));
    let (mut all, mut chunks) = (b"before".to_vec(), 0);
    loop {
        chunks += 1;
        if source.next_chunk(&mut all, bytes_max)? == (SourceState::Done { to }) {
            assert_eq!(source.next_chunk(&mut all, bytes_max)?, SourceState::Done { to }, "and stays so");
            return Ok((all.split_off(b"before".len()), chunks));
        }
    }
}

/// What the packets say.
fn said(mut bytes: &[u8]) -> Vec<FromLeader<'_>> {
    let mut packets = Vec::new();
    while let Ok(Received::Whole(packet, len)) = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT) {
        packets.push(FromLeader::decode(&packet).unwrap());
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty());
    packets
}

#[test]
fn each_txn_behind_what_the_learner_has_is_proposed_and_committed_in_order() {
    let (bytes, chunks) = streamed(log(history()), z(1, 1), z(3, 2), usize::MAX).unwrap();
    let txns: Vec<_> = [z(1, 2), z(3, 1), z(3, 2)].into_iter().map(|zxid| (zxid, bytes_of(zxid))).collect();
    let packets =
        txns.iter().flat_map(|(zxid, txn)| [FromLeader::Proposal { zxid: *zxid, txn }, FromLeader::Commit(*zxid)]);
    assert_eq!((said(&bytes), chunks), (packets.collect(), 1));
    // In whatever pieces.
    for bytes_max in [0, 1, 79, 80, 81, 160] {
        let (again, chunks) = streamed(log(history()), z(1, 1), z(3, 2), bytes_max).unwrap();
        assert_eq!(again, bytes);
        assert!(chunks > 1);
    }
    assert_eq!(streamed(log(history()), z(3, 3), z(3, 3), 100), Ok((Vec::new(), 1)), "nothing lacks");
    // From the beginning of an epoch, which is a position and no txn.
    let (bytes, _) = streamed(log(history()), z(3, 0), z(3, 3), 100).unwrap();
    assert_eq!(said(&bytes).len(), 6);
}

#[test]
fn a_log_that_does_not_have_it_is_an_error() {
    let all = history();
    let without = |missing: Zxid| log(all.clone().into_iter().filter(move |zxid| *zxid != missing));
    let streamed = |records, after, to| streamed(records, after, to, 1).map(drop);
    let gap = |after, next| Err(LogSourceError::Gap { after, next });
    assert_eq!(streamed(without(z(3, 2)), z(1, 1), z(3, 3)), gap(z(3, 1), z(3, 3)));
    assert_eq!(streamed(without(z(3, 1)), z(1, 1), z(3, 3)), gap(z(1, 2), z(3, 2)), "an epoch begins with 1");
    assert_eq!(streamed(without(z(1, 2)), z(1, 1), z(1, 2)), Err(LogSourceError::Ends { last: z(1, 1), to: z(1, 2) }));
    assert_eq!(streamed(without(z(3, 3)), z(1, 1), z(3, 3)), Err(LogSourceError::Ends { last: z(3, 2), to: z(3, 3) }));
    let broken = Log(vec![Some(z(1, 1)), None].into_iter(), Vec::new());
    assert_eq!(streamed(broken, Zxid::ZERO, z(3, 3)), Err(LogSourceError::Log(DiskGone)));
}

#[test]
fn what_a_java_leader_of_an_older_epoch_left_out_is_not_missing() {
    let zxids = [z(1, 2), z(1, 5), z(2, 3), z(2, 4), z(2, 9), z(3, 1), z(3, 2)];
    let sent = |after, to| {
        let (bytes, _) = streamed(log(zxids), after, to, 1).unwrap();
        let proposed = said(&bytes).into_iter().filter_map(|packet| match packet {
            FromLeader::Proposal { zxid, .. } => Some(zxid),
            _ => None,
        });
        proposed.collect::<Vec<_>>()
    };
    assert_eq!(sent(Zxid::ZERO, z(3, 2)), zxids);
    assert_eq!(sent(z(2, 3), z(2, 9)), zxids[3..5]);
}
