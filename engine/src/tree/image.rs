//! What was frozen becomes an image, and the image comes into force.
//!
//! Owns what of a frozen tree goes into it, and the order in which it is written, opened and named by the control file; nothing of how it is written: that is
//! `snapshot`'s. The server's image thread and the simulator call the same functions, on whatever disk. It must never write what is not frozen, nor bring into force what does
//! not open. The images' round trips in `engine/tests`, and the simulator, would catch a mistake.

use super::{FrozenTree, Tree};
use proto::Zxid;
use snapshot::AnyImage;
use snapshot::base::{Base, BaseOptions, BaseTables, BaseWriter, CarryPlan, Pace, PublishedBase};
use snapshot::control::{ControlFile, ImageRef, Publication, Spans};
use snapshot::disk::{Disk, RealDisk};
use snapshot::image::{ImageTotals, SessionRecord};
use std::path::Path;
use std::sync::Arc;

/// A tree that is to become the image in force.
#[derive(Debug)]
pub struct ImageOrder {
    /// The tree.
    pub tree: FrozenTree,
    /// In which it was frozen: see [`ControlFile::era`].
    pub era: u64,
    /// The history up to exactly its zxid, if it is known.
    pub spans: Option<Spans>,
}

/// Which part of an image's way into force failed.
#[derive(Debug)]
pub enum ImageFailure {
    /// The image itself: the former one stands.
    Image(snapshot::Error),
    /// The control file that was to name it.
    Control(snapshot::Error),
}

/// Writes an image, opens it, and lets the control file name it. `None`: another tree has taken the place of the one that was frozen. `time_ms`: when, since 1970;
/// `durable`: what of the log is, asked while nothing can turn it.
///
/// # Errors
/// [`ImageFailure`], of [`write_image`], [`Base::open`] and [`ControlFile::publish_image`].
pub fn bring_into_force(
    control: &ControlFile,
    order: &ImageOrder,
    time_ms: i64,
    pace: Option<Arc<dyn Pace>>,
    durable: impl FnOnce() -> Zxid,
) -> Result<Option<(Arc<Base>, PublishedBase)>, ImageFailure> {
    if control.era() != order.era {
        return Ok(None);
    }
    let (tree, dir) = (&order.tree, control.dir());
    let published = write_image_on(control.disk(), dir, tree, time_ms, pace).map_err(ImageFailure::Image)?;
    let opened = match tree.base() {
        Some(former) => Base::open_after(dir, &published.image, former),
        None => Base::open(dir, &published.image),
    };
    let base = Arc::new(opened.map_err(ImageFailure::Image)?);
    let publication = control.publish_image(order.era, published.image.clone(), order.spans.clone(), durable);
    let is_in_force = publication.map_err(ImageFailure::Control)? == Publication::InForce;
    Ok(is_in_force.then_some((base, published)))
}

/// Has the tree of a state that was taken from a leader stand on a durable image of its own, for which the control file is the caller's, too. Where one of that zxid is here
/// already and a newer one points into its file, the tree is made anew of that one: a file in its place would leave the newer one, which is in force until the state is, not
/// whole any more.
///
/// # Errors
/// As [`write_image`], and [`Base::open`].
pub fn put_on_image(dir: &Path, tree: &mut Tree, time_ms: i64) -> Result<ImageRef, snapshot::Error> {
    put_on_image_on(Arc::new(RealDisk), dir, tree, time_ms)
}

/// As [`put_on_image`], on a given disk.
///
/// # Errors
/// As [`put_on_image`].
pub fn put_on_image_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    tree: &mut Tree,
    time_ms: i64,
) -> Result<ImageRef, snapshot::Error> {
    let image = ImageRef::at(tree.last_zxid());
    if snapshot::is_pointed_into(dir, image.zxid)?
        && let Some(same) = same_on_image(dir, tree, &image)
    {
        *tree = same;
        return Ok(image);
    }
    let published = write_image_on(disk, dir, &tree.freeze(), time_ms, None)?;
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
    write_image_on(Arc::new(RealDisk), dir, frozen, time_ms, pace)
}

/// As [`write_image`], on a given disk.
///
/// # Errors
/// As [`write_image`].
pub fn write_image_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    frozen: &FrozenTree,
    time_ms: i64,
    pace: Option<Arc<dyn Pace>>,
) -> Result<PublishedBase, snapshot::Error> {
    let changes = frozen.changes()?;
    let mut plan = CarryPlan::new(frozen.base().map(|base| &**base));
    changes.nodes().for_each(|change| plan.touch_node(change.path()));
    changes.entries.iter().for_each(|entry| plan.touch_entry(entry.run, entry.key, entry.path));
    let mut writer = BaseWriter::create_on(Box::new(disk), dir, frozen.zxid, BaseOptions::default(), plan)?;
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
