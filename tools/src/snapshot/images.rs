//! Images of format 1, made for the tests of the commands.

use std::path::Path;

use engine::digest::{self, ContentCrc};
use proto::stat::EphemeralOwner;
use proto::{Acl, SessionId, StatPersisted, Zxid};
use snapshot::image::ImageTotals;
use snapshot::{AclRecord, ImageOptions, ImageRef, ImageWriter, NodeRecord, SessionRecord};

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
    let mut writer = ImageWriter::create(dir, zxid, ImageOptions::default()).unwrap();
    writer.add_acl(AclRecord { id: 0, acls: vec![Acl::open()] }).unwrap();
    writer.add_session(SessionRecord { id: SessionId(session), timeout_ms: 1000 }).unwrap();
    let mut totals = ImageTotals { zxid, time_ms: 5, ..ImageTotals::default() };
    for (path, data, written) in znodes {
        let stat = StatPersisted::created(Zxid(*written), 7, EphemeralOwner(0));
        writer.add_node(NodeRecord { path, data: *data, acl_id: 0, stat }).unwrap();
        totals.node_count += 1;
        totals.data_bytes += (path.len() + data.map_or(0, <[u8]>::len)) as u64;
        if digest::counts(path) {
            totals.tree_digest = totals.tree_digest.wrapping_add(ContentCrc::of(path, *data).digest(&stat));
        }
    }
    change(&mut totals);
    writer.finish(totals).unwrap();
    Place::Image { dir: dir.to_owned(), image: ImageRef::at(zxid) }
}

/// As [`write`], with right totals, opened.
pub(super) fn source(dir: &Path, zxid: Zxid, session: i64, znodes: &[Row<'_>]) -> Source {
    write(dir, zxid, session, znodes, |_| ()).open().unwrap()
}
