//! Images of a simulated server, as `server/src/image.rs` and `server/src/peers/taker.rs` have them made: by the production functions, on the machine's disk.
//!
//! Owns what is frozen, what becomes of an image that fails, and the wait until it is tried again. It must never keep a process alive whose control file could not be
//! replaced, or whose image does not read.

use super::bugs::Bug;
use super::effects::Effect;
use super::io::{Io, Job};
use super::process::Turn;
use engine::replica::Replica;
use engine::tree::{ImageFailure, ImageOrder, Tree, bring_into_force, put_on_image_on};
use engine::turn::Taken;
use engine::turn::sync::SnapSource;
use proto::Zxid;
use snapshot::base::Base;
use snapshot::control::Spans;
use snapshot::store::StoreError;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Images {
    pub(super) era: u64,
    under_way: bool,
    frozen: Option<ImageOrder>,
    /// Since the last one that was written, each that fails waits longer.
    pause_ms: u64,
    built: Option<(u64, Option<Arc<Base>>)>,
}

impl Io {
    /// Is an image to be begun, if that may be?
    pub(super) fn needs_image(&self) -> bool {
        self.wants_image || self.syncs.values().any(|job| matches!(job, Job::Waits(_)))
    }

    /// Freezes the tree for an image, if none is under way.
    pub(super) fn freeze(&mut self, tree: &mut Tree, replica: &Replica) {
        if self.images.under_way || tree.is_on_image() {
            return;
        }
        self.wants_image = false;
        self.images.under_way = true;
        let history = replica.peer().history().without_gaps(tree.last_zxid());
        let spans = history.and_then(|history| Spans::new(history.floor(), history.spans()));
        let spans = spans.filter(|_| !self.is_alone());
        self.images.frozen = Some(ImageOrder { tree: tree.freeze(), era: self.images.era, spans });
        self.effects.push(Effect::ImageBegun);
    }

    /// The image thread's turn: writes what is frozen and has it come into force.
    pub(super) fn write_image(&mut self) -> Result<(), StoreError> {
        let Some(order) = self.images.frozen.take() else { return Ok(()) };
        match self.bring_into_force(&order) {
            Ok(base) => {
                self.images.pause_ms = 0;
                self.images.built = Some((order.era, base));
                self.effects.extend([Effect::Wake(Turn::Core), Effect::Wake(Turn::Log), Effect::ImageWritten]);
            }
            // Whether the old or the new control file stands is not known.
            Err(ImageFailure::Control(error @ snapshot::Error::Io { .. })) => return Err(error.into()),
            Err(ImageFailure::Image(error @ snapshot::Error::Damaged { .. })) => return Err(error.into()),
            Err(ImageFailure::Control(error) | ImageFailure::Image(error)) => {
                self.images.frozen = Some(order);
                self.images.pause_ms = (self.images.pause_ms * 2).clamp(RETRY_MS_MIN, RETRY_MS_MAX);
                self.effects.push(Effect::Noted(format!("an image is not written: {}", Said(&error))));
                self.effects.push(Effect::WakeAfter(Turn::Image, self.images.pause_ms));
            }
        }
        Ok(())
    }

    fn bring_into_force(&mut self, order: &ImageOrder) -> Result<Option<Arc<Base>>, ImageFailure> {
        let control = self.log.control.clone();
        let is_planted = self.log.bug == Some(Bug::ImageAheadOfLog);
        let durable = if is_planted { Zxid(u64::MAX) } else { self.log.durable };
        let Some((base, published)) = bring_into_force(&control, order, self.now.wall_ms, None, || durable)? else {
            return Ok(None);
        };
        let oldest = control.purge_images(self.images_kept, &published.image);
        self.log.purge_below = oldest.map_err(ImageFailure::Image)?;
        Ok(Some(base))
    }

    /// Puts the tree onto a finished image, and begins to send states that have waited for one.
    pub(super) fn use_images(&mut self, tree: &mut Tree) {
        if let Some((era, base)) = self.images.built.take() {
            self.images.under_way = false;
            if let Some(base) = base.filter(|_| era == self.images.era) {
                drop(tree.rebase(base));
            }
        }
        for job in self.syncs.values_mut() {
            let Job::Waits(zxid) = *job else { continue };
            if let Some(source) = SnapSource::at_least(zxid, tree.base()) {
                *job = Job::Snap(Box::new(source));
                self.effects.push(Effect::Wake(Turn::Core));
            }
        }
    }

    /// The state that has come from the leader, on an image of its own.
    pub(super) fn take_state(&mut self) -> Result<Option<Taken>, String> {
        let Some(taker) = self.taking.take() else { return Ok(None) };
        let state = taker.finish().map_err(|error| error.to_string())?;
        let (mut tree, rest) = (state.tree, state.unused);
        let control = &self.log.control;
        control.expect_image(tree.last_zxid());
        let image = put_on_image_on(control.disk(), control.dir(), &mut tree, self.now.wall_ms)
            .map_err(|error| error.to_string())?;
        Ok(Some(Taken { tree: Box::new(tree), image, rest }))
    }
}

/// What went wrong, without the directory, which differs from run to run.
struct Said<'e>(&'e snapshot::Error);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            snapshot::Error::Io { action, source, .. } => write!(f, "cannot {action}: {source}"),
            snapshot::Error::NoSpace { action, .. } => write!(f, "no space to {action}"),
            _ => f.write_str("it does not fit"),
        }
    }
}

/// Shorter than a real server's: so that faults of the disk do not last out a run.
const RETRY_MS_MIN: u64 = 500;
const RETRY_MS_MAX: u64 = 8_000;
