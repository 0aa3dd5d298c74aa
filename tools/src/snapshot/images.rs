//! Images, made for the tests of the commands.

use std::path::Path;

use engine::digest::{self, ContentCrc};
use proto::stat::EphemeralOwner;
use proto::{Acl, SessionId, StatPersisted, Zxid, path};
use snapshot::base::{BaseOptions, BaseTables, BaseWriter, CarryPlan, NodeChange, NodeEntry};
use snapshot::image::{ImageTotals, SessionRecord};

use super::source::{Place, Source};

/// A znode by its path, data and the txn that wrote it.
pub(super) type Row<'a> = (&'a str, Option<&'a [u8]>, u64);

/// Writes an image with these znodes, which all have the ACL 0, and a session of this id; `change` makes the totals wrong.
pub(super) fn write(
    dir: &Path,
    zxid: Zxid,
    session: i64,
    znodes: &[Row<'_>],
    change: impl Fn(&mut ImageTotals),
) -> Place {
    let mut znodes: Vec<&Row<'_>> = znodes.iter().collect();
    znodes.sort_by(|(a, ..), (b, ..)| snapshot::base::Place::of_node(a).cmp(&snapshot::base::Place::of_node(b)));
    let mut writer = BaseWriter::create(dir, zxid, BaseOptions::default(), CarryPlan::new(None)).unwrap();
    let mut totals = ImageTotals { zxid, time_ms: 5, ..ImageTotals::default() };
    for (path, data, written) in &znodes {
        let stat = StatPersisted::created(Zxid(*written), 7, EphemeralOwner(0));
        let crc = ContentCrc::of(path, *data);
        let is_child = |(other, ..): &&&Row<'_>| path::split(other).is_some_and(|(parent, _)| parent == *path);
        let child_count = u32::try_from(znodes.iter().filter(is_child).count()).unwrap();
        let node = NodeEntry { path, data: *data, stat, acl_id: 0, content_crc: crc.stored(), child_count };
        writer.node(NodeChange::Put(node)).unwrap();
        totals.node_count += 1;
        totals.data_bytes += (path.len() + data.map_or(0, <[u8]>::len)) as u64;
        if digest::counts(path) {
            totals.tree_digest = totals.tree_digest.wrapping_add(crc.digest(&stat));
        }
    }
    change(&mut totals);
    let acl = [Acl::open()];
    let sessions = vec![SessionRecord { id: SessionId(session), timeout_ms: 1000 }];
    let published =
        writer.finish(&BaseTables { acls: vec![(0, &acl)], sessions, ..BaseTables::default() }, totals).unwrap();
    Place::Image { dir: dir.to_owned(), image: published.image }
}

/// As [`write`], with right totals, opened.
pub(super) fn source(dir: &Path, zxid: Zxid, session: i64, znodes: &[Row<'_>]) -> Source {
    write(dir, zxid, session, znodes, |_| ()).open().unwrap()
}
