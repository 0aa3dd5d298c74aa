//! Follows a log that a server is writing: new groups and new segments, as they appear.
//!
//! Owns nothing. Must never take the group in flight for damage: a group that does not read yet is waited for, until a later segment
//! shows that it should. What a follower gives out was written, and perhaps is not durable yet. It fails with [`Error::Damage`] where the
//! log does not go on as it must, and with [`Error::Recycled`] where it was purged or cut faster than it was read;
//! `tests/a_log_is_looked_at_without_touching_it.rs` would catch a mistake.

use std::sync::Arc;

use crate::{
    Error, GroupView, ReadDisk,
    catalog::{PathEntry, Segment, read_headers},
    scan::GroupWalk,
};

/// Stands at the end of a log, and moves with it.
#[derive(Debug)]
pub struct Follower<R: ReadDisk> {
    disk: R,
    /// `None` before there is any segment.
    walk: Option<GroupWalk<R>>,
}

impl<R: ReadDisk> Follower<R> {
    /// Behind this end, or before the first segment that there will be.
    pub(crate) fn new(disk: R, head: Option<&PathEntry>) -> Result<Follower<R>, Error> {
        let mut walk = head.map(|head| GroupWalk::open(&disk, &head.segment)).transpose()?;
        if let (Some(walk), Some(head)) = (&mut walk, head) {
            walk.at = head.end;
        }
        Ok(Follower { disk, walk })
    }

    /// The next group, seals too; `None` if none has been written yet: ask again later.
    ///
    /// # Errors
    /// See the module's page. After an error the follower must not be used further.
    pub fn next_group(&mut self) -> Result<Option<GroupView<'_>>, Error> {
        let group = loop {
            if let Some(walk) = &mut self.walk
                && let Ok(group) = walk.step()?
            {
                break group;
            }
            let Some(next) = self.next_segment()? else { return Ok(None) };
            if let Some(walk) = self.walk.as_mut().filter(|walk| !continues(&next, walk)) {
                // More had been written before the next segment began: now it must read.
                break walk.step()?.map_err(|fault| walk.damage(fault.what()))?;
            }
            self.walk = Some(GroupWalk::open(&self.disk, &next)?);
        };
        Ok(self.walk.as_ref().map(|walk| GroupView::new(walk, &group, 0, u64::MAX)))
    }

    /// The segment that follows the one in hand; the oldest, if there is none in hand.
    fn next_segment(&self) -> Result<Option<Arc<Segment>>, Error> {
        let (headers, _) = read_headers(&self.disk)?;
        let Some(walk) = &self.walk else { return Ok(headers.into_values().flatten().next()) };
        let own = walk.segment.header.seq;
        let mut later = headers.range((std::ops::Bound::Excluded(own), std::ops::Bound::Unbounded)).peekable();
        if later.peek().is_none() {
            return Ok(None);
        }
        let recycled = || Error::Recycled { file: walk.segment.name.clone(), after_zxid: walk.at.zxid };
        for (_, segment) in later {
            let segment = segment.as_ref().map_err(Error::clone)?;
            let Some(link) = segment.header.previous.filter(|link| link.end.segment == own) else { continue };
            if link.end.offset < walk.at.offset || segment.header.base_zxid < walk.at.zxid {
                return Err(recycled());
            }
            return Ok(Some(segment.clone()));
        }
        Err(recycled())
    }
}

fn continues<R: ReadDisk>(next: &Segment, walk: &GroupWalk<R>) -> bool {
    next.header.previous.is_some_and(|link| link.end.offset == walk.at.offset && link.crc == walk.at.crc)
}
