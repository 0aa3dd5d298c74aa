//! Takes a whole state from a leader, on a thread of its own, and makes a tree on a durable image of it.
//!
//! Owns the thread's work and the way of the link's bytes to it: a bounded queue, behind which the link waits. It ends when the core gives the [`TakeJob`] up, at the latest
//! when it has written what it had; the next one waits for that, since both may write the image of one zxid. It must never touch the control file: the image counts only from the log's [`engine::turn::LogItem::Adopt`] on. It fails by a word in the log; the link is closed then, and what
//! the server had is its own still.

use crate::hub::Hub;
use crate::image::now_ms;
use engine::tree::put_on_image;
use engine::turn::Taken;
use engine::turn::sync::{self, SentBy, StateTaker, TakeLimits, Taking};
use proto::Zxid;
use snapshot::control::ControlFile;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// What became of a state, and the pieces that the thread has not taken.
type Outcome = (Result<Taken, ()>, Receiver<Vec<u8>>);

/// A state on its way.
#[derive(Debug)]
pub(super) struct TakeJob {
    pieces: SyncSender<Vec<u8>>,
    outcome: Receiver<Outcome>,
    /// The thread stands still for want of a piece.
    waits: Arc<AtomicBool>,
    /// `None`: it could not be started.
    thread: Option<JoinHandle<()>>,
}

impl TakeJob {
    /// Starts the thread, for a state of this zxid, or a later one if it is Java's. Without a thread the job fails at its first look. `former`: that of a job
    /// that was given up.
    pub(super) fn start(
        hub: &Arc<Hub>,
        control: ControlFile,
        (zxid, sent_by): (Zxid, SentBy),
        former: Option<JoinHandle<()>>,
    ) -> TakeJob {
        let (pieces, coming) = sync_channel(PIECES_AHEAD);
        let (give, outcome) = sync_channel(1);
        let hub = Arc::clone(hub);
        let waits = Arc::<AtomicBool>::default();
        let tell_waits = Arc::clone(&waits);
        let thread = std::thread::Builder::new().name("rk-take".into()).spawn(move || {
            // It ends as soon as it has written what it had: a panic ends the process.
            former.map(JoinHandle::join);
            let taker = StateTaker::new(zxid, sent_by, TakeLimits::default());
            let taken = take(&coming, &control, taker, || hub.ring_core(), &tell_waits).map_err(|why| {
                tracing::error!(%zxid, why, "the leader's state cannot be taken: its link is closed, and this server tries again");
            });
            // Nobody wants it if the link has ended meanwhile.
            drop(give.try_send((taken, coming)));
            hub.ring_core();
        });
        if let Err(error) = &thread {
            tracing::error!(%error, "there is no thread to take the leader's state");
        }
        TakeJob { pieces, outcome, waits, thread: thread.ok() }
    }

    /// Nobody wants the state any more. The thread ends by itself; the next job is to wait for it.
    pub(super) fn give_up(self) -> Option<JoinHandle<()>> {
        self.thread
    }

    /// Does the thread stand still until more comes? Not while it works, be it on the tree of a state that is over or on its image.
    pub(super) fn wants_more(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Takes what has come, if there is room.
    pub(super) fn feed(&mut self, input: &mut Vec<u8>) {
        if input.is_empty() {
            return;
        }
        match self.pieces.try_send(std::mem::take(input)) {
            Ok(()) => {}
            // After its end what comes is the link's.
            Err(TrySendError::Full(piece) | TrySendError::Disconnected(piece)) => *input = piece,
        }
    }

    /// The outcome, once it is there.
    pub(super) fn taken(&mut self) -> Option<Result<Taken, ()>> {
        match self.outcome.try_recv() {
            Ok((Ok(mut taken), coming)) => {
                coming.try_iter().for_each(|piece| taken.rest.extend_from_slice(&piece));
                Some(Ok(taken))
            }
            Ok((Err(()), _)) => Some(Err(())),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(())),
        }
    }
}

fn take(
    coming: &Receiver<Vec<u8>>,
    control: &ControlFile,
    mut taker: StateTaker,
    ring: impl Fn(),
    waits: &AtomicBool,
) -> Result<Taken, String> {
    let behind = loop {
        let Some(piece) = next_piece(coming, waits) else { break Vec::new() };
        // There is room for the next.
        ring();
        match taker.take(&piece).map_err(|error| error.to_string())? {
            Taking::More => {}
            Taking::Over { rest } => break piece.get(piece.len() - rest..).unwrap_or_default().to_vec(),
        }
    };
    // It says so where the link has ended before it.
    let state = taker.finish().map_err(|error| error.to_string())?;
    let sync::Taken { mut tree, begun, nodes, later, txns, unused: mut rest } = state;
    rest.extend_from_slice(&behind);
    let zxid = tree.last_zxid();
    // It may be older than the one in force, and so among those that go.
    control.expect_image(zxid);
    let image = put_on_image(control.dir(), &mut tree, now_ms()).map_err(|error| error.to_string())?;
    tracing::info!(%zxid, nodes, %begun, later, txns, "the leader's state is here, and durable");
    Ok(Taken { tree: Box::new(tree), image, rest })
}

/// The next one; `None` if nobody wants the state any more.
fn next_piece(coming: &Receiver<Vec<u8>>, waits: &AtomicBool) -> Option<Vec<u8>> {
    match coming.try_recv() {
        Ok(piece) => return Some(piece),
        Err(TryRecvError::Disconnected) => return None,
        Err(TryRecvError::Empty) => {}
    }
    waits.store(true, Ordering::Release);
    let piece = coming.recv().ok();
    waits.store(false, Ordering::Release);
    piece
}

/// Pieces of the link's bytes that wait for the thread.
const PIECES_AHEAD: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::hub::CoreBell;
    use crate::rt::Parker;
    use engine::tree::Tree;
    use engine::turn::sync::SnapSource;
    use proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, QuorumPacket};
    use proto::{Epoch, Received, Writer};
    use snapshot::control::Control;
    use std::time::Duration;

    #[test]
    fn a_job_waits_until_the_one_before_it_has_written_what_it_had() {
        let (parker, dir) = (Parker::new(Duration::ZERO), tempfile::tempdir().unwrap());
        let hub = Arc::new(Hub::new(Tree::new(), 1, CoreBell::Thread(parker.bell()), parker.bell()));
        let (writes_on, end) = std::sync::mpsc::channel::<()>();
        let former = std::thread::spawn(move || end.recv().unwrap());
        let mut job = TakeJob::start(
            &hub,
            ControlFile::new(dir.path(), Control::default()),
            (Zxid::ZERO, SentBy::Java(Epoch(1))),
            Some(former),
        );
        let mut stream = Vec::new();
        SnapSource::of_nothing().next_chunk(&mut stream, usize::MAX).unwrap();
        let Received::Whole(_, packet) = QuorumPacket::receive(&stream, DATA_BYTES_MAX_DEFAULT).unwrap() else {
            panic!("the SNAP packet comes first");
        };
        stream.drain(..packet);
        FromLeader::NewLeader { zxid: Zxid::new(Epoch(1), 0), config: None }.write(&mut Writer::new(&mut stream));
        job.feed(&mut stream);
        std::thread::sleep(Duration::from_millis(50));
        assert!(job.taken().is_none() && std::fs::read_dir(dir.path()).unwrap().next().is_none());
        writes_on.send(()).unwrap();
        let taken = loop {
            if let Some(taken) = job.taken() {
                break taken.unwrap();
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(taken.tree.last_zxid(), Zxid::ZERO);
        assert!(dir.path().join(&taken.image.file_name).exists());
    }

    #[test]
    fn a_job_whose_link_ends_between_state_and_newleader_has_no_image_and_waits_until_then() {
        let (parker, dir) = (Parker::new(Duration::ZERO), tempfile::tempdir().unwrap());
        let hub = Arc::new(Hub::new(Tree::new(), 1, CoreBell::Thread(parker.bell()), parker.bell()));
        let control = ControlFile::new(dir.path(), Control::default());
        let mut job = TakeJob::start(&hub, control, (Zxid::ZERO, SentBy::Java(Epoch(1))), None);
        let mut stream = Vec::new();
        SnapSource::of_nothing().next_chunk(&mut stream, usize::MAX).unwrap();
        let Received::Whole(_, packet) = QuorumPacket::receive(&stream, DATA_BYTES_MAX_DEFAULT).unwrap() else {
            panic!("the SNAP packet comes first");
        };
        stream.drain(..packet);
        job.feed(&mut stream);
        while !job.wants_more() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(job.taken().is_none());
        let TakeJob { pieces, outcome, thread, .. } = job;
        drop(pieces);
        assert!(matches!(outcome.recv(), Ok((Err(()), _))));
        thread.unwrap().join().unwrap();
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_job_that_is_given_up_ends_by_itself() {
        let (parker, dir) = (Parker::new(Duration::ZERO), tempfile::tempdir().unwrap());
        let hub = Arc::new(Hub::new(Tree::new(), 1, CoreBell::Thread(parker.bell()), parker.bell()));
        let job = TakeJob::start(
            &hub,
            ControlFile::new(dir.path(), Control::default()),
            (Zxid(7), SentBy::Ours(Epoch(1))),
            None,
        );
        job.give_up().unwrap().join().unwrap();
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
