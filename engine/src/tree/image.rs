//! What was frozen becomes an image.
//!
//! Owns what of a frozen tree goes into it, and nothing of how it is written: that is `snapshot`'s. It must never write what is not frozen. The images' round
//! trips in `engine/tests` would catch a mistake.

use super::{FrozenTree, Tree};
use snapshot::AnyImage;
use snapshot::base::{Base, BaseOptions, BaseTables, BaseWriter, CarryPlan, Pace, PublishedBase};
use snapshot::control::ImageRef;
use snapshot::image::{ImageTotals, SessionRecord};
use std::path::Path;
use std::sync::Arc;

/// Has the tree of a state that was taken from a leader stand on a durable image of its own, for which the control file is the caller's, too. Where one of that zxid is here
/// already and a newer one points into its file, the tree is made anew of that one: a file in its place would leave the newer one, which is in force until the state is, not
/// whole any more.
///
/// # Errors
/// As [`write_image`], and [`Base::open`].
pub fn put_on_image(dir: &Path, tree: &mut Tree, time_ms: i64) -> Result<ImageRef, snapshot::Error> {
    let image = ImageRef::at(tree.last_zxid());
    if snapshot::is_pointed_into(dir, image.zxid)?
        && let Some(same) = same_on_image(dir, tree, &image)
    {
        *tree = same;
        return Ok(image);
    }
    let published = write_image(dir, &tree.freeze(), time_ms, None)?;
    drop(tree.rebase(Arc::new(Base::open(dir, &published.image)?)));
    Ok(published.image)
}

/// The tree of this image, if it is whole and the same. Its own, since ACLs have other numbers in another image.
fn same_on_image(dir: &Path, tree: &Tree, image: &ImageRef) -> Option<Tree> {
    let other = Tree::of_image(AnyImage::open(dir, image).ok()?).ok()?;
    let is_same = other.is_on_image() && other.digest() == tree.digest() && other.sessions().eq(tree.sessions());
    is_same.then_some(other)
}

/// Merges what was frozen into its base and publishes that; the control file is the caller's. `time_ms`: when, since 1970.
///
/// # Errors
/// As those of [`BaseWriter`]; [`snapshot::Error::GivenUp`]: the pace said no.
pub fn write_image(
    dir: &Path,
    frozen: &FrozenTree,
    time_ms: i64,
    pace: Option<Arc<dyn Pace>>,
) -> Result<PublishedBase, snapshot::Error> {
    let changes = frozen.changes()?;
    let mut plan = CarryPlan::new(frozen.base().map(|base| &**base));
    changes.nodes().for_each(|change| plan.touch_node(change.path()));
    changes.entries.iter().for_each(|entry| plan.touch_entry(entry.run, entry.key, entry.path));
    let mut writer = BaseWriter::create(dir, frozen.zxid, BaseOptions::default(), plan)?;
    if let Some(pace) = pace {
        writer.keep_to(pace);
    }
    for change in changes.nodes() {
        writer.node(change)?;
    }
    for entry in &changes.entries {
        writer.entry(entry.run, entry.key, entry.path, entry.presence)?;
    }
    let totals = ImageTotals {
        zxid: frozen.zxid,
        time_ms,
        node_count: frozen.node_count as u64,
        data_bytes: frozen.data_bytes,
        ephemeral_count: frozen.ephemeral_count as u64,
        tree_digest: frozen.digest,
    };
    let session = |(id, timeout_ms): &(_, _)| SessionRecord { id: *id, timeout_ms: *timeout_ms };
    let tables = BaseTables {
        acls: frozen.acls().iter().map(|(id, acl)| (id.0, &**acl)).collect(),
        sessions: frozen.sessions().iter().map(session).collect(),
        quotas: frozen.quotas().iter().map(|path| &**path).collect(),
    };
    writer.finish(&tables, totals)
}
