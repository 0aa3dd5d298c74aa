//! `rkctl export`: RingKeeper's data as a `version-2` on which ZooKeeper starts and shows the same tree.
//!
//! Owns the walk over the tree that puts parents before children, and what goes into the directory: one snapshot with everything and the
//! epochs. It must never write into a directory that has ZooKeeper's data already. `tests/tests/version_2` would catch a mistake: real servers
//! start on what it writes.

use crate::failure::Failure;
use crate::stored::{self, Stored, StoredError};
use clap::{Args, ValueEnum};
use engine::tree::{AclId, Node, Tree};
use proto::txn::DIGEST_VERSION;
use proto::{Acl, SessionId, Zxid};
use serde_json::json;
use snapshot::DataDir;
use snapshot::control::Control;
use snapshot::version_2::{
    self, AclNumber, Compression, SnapshotDigest, SnapshotFile, SnapshotWriter, Trailer, Version2,
};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `rkctl export` is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to write: `DIR/version-2` must not have data of ZooKeeper in it
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// The server's dataLogDir, if it has one
    #[arg(long, value_name = "DIR")]
    data_log_dir: Option<PathBuf>,
    /// How the snapshot is packed; 3.6 and later read all of them, 3.5 only the first
    #[arg(long, value_enum, default_value_t = Packed::None)]
    compression: Packed,
    /// Leave out digest and last zxid, for a ZooKeeper that runs with digest.enabled=false
    #[arg(long)]
    no_digest: bool,
    /// Tell what was written as JSON
    #[arg(long)]
    json: bool,
}

/// How the snapshot is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Packed {
    None,
    Gz,
    Snappy,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    #[error(transparent)]
    Files(#[from] version_2::Error),
    #[error("{} has data of a ZooKeeper server: move it away, or export to another directory", .0.display())]
    NotEmpty(PathBuf),
    #[error("cannot {action} {}: {source}", file.display())]
    Io { action: &'static str, file: PathBuf, source: io::Error },
}

/// Exports, and says what was written.
pub(crate) fn run(data_dir: &Path, args: &ExportArgs) -> Result<ExitCode, Failure> {
    let told = export(data_dir, args)?;
    io::stdout().write_all(told.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Exports, and returns what to print.
fn export(data_dir: &Path, args: &ExportArgs) -> Result<String, ExportError> {
    let files = Version2::new(&args.to, &args.to);
    if files.has_data()? {
        return Err(ExportError::NotEmpty(files.snap_dir().to_owned()));
    }
    let Stored { tree, control, .. } = &stored::read(data_dir, args.data_log_dir.as_deref().unwrap_or(data_dir))?;
    let dir = files.snap_dir();
    std::fs::create_dir_all(dir).map_err(|source| ExportError::Io { action: "make", file: dir.to_owned(), source })?;
    let compression = match args.compression {
        Packed::None => Compression::None,
        Packed::Gz => Compression::Gzip,
        Packed::Snappy => Compression::Snappy,
    };
    // The epochs first: a snapshot is what makes the directory one with data.
    let current = control.current_epoch.max(tree.last_zxid().epoch());
    files.write_epochs(control.accepted_epoch.max(current), current)?;
    copy_myid(data_dir, &args.to)?;
    let file = files.snapshot(tree.last_zxid(), compression);
    write_snapshot(tree, &file, !args.no_digest)?;
    if Control::load(&args.to)?.is_some() {
        // Into a data directory of RingKeeper: what has just been written there is no news to it.
        DataDir::new(&args.to).set_imported(tree.last_zxid())?;
    }
    Ok(tell(tree, &file, args.json))
}

fn write_snapshot(tree: &Tree, file: &SnapshotFile, with_digest: bool) -> Result<(), ExportError> {
    let sessions: Vec<(SessionId, i32)> = tree.sessions().collect();
    let mut acls: BTreeMap<AclNumber, &[Acl]> = BTreeMap::new();
    walk(tree, |node| {
        if node.acl_id() != AclId::OPEN {
            acls.insert(number_of(node.acl_id()), node.acl());
        }
        Ok::<(), ExportError>(())
    })?;
    let acls: Vec<(AclNumber, &[Acl])> = acls.into_iter().collect();
    let mut writer = SnapshotWriter::create(file, &sessions, &acls)?;
    walk(tree, |node| {
        let acl = number_of(node.acl_id());
        writer.node(&version_2::Node { path: node.path(), data: node.data().as_deref(), acl, stat: node.persisted() })
    })?;
    let zxid = tree.last_zxid();
    let digest = SnapshotDigest { zxid, version: DIGEST_VERSION, digest: tree.digest() };
    let trailer = Trailer { digest: Some(digest), last_zxid: Some(zxid) };
    Ok(writer.finish(&if with_digest { trailer } else { Trailer::default() })?)
}

/// Visits every znode, parents before their children, and siblings by name. In memory are the names of the children on the way, no more.
fn walk<'t, E>(tree: &'t Tree, mut visit: impl FnMut(&Node<'t>) -> Result<(), E>) -> Result<(), E> {
    let mut on_the_way: Vec<(String, std::vec::IntoIter<Box<str>>)> = Vec::new();
    let mut next = Some("/".to_owned());
    loop {
        if let Some(path) = next.take() {
            let Some(node) = tree.get(&path) else { continue };
            visit(&node)?;
            let mut names: Vec<Box<str>> = node.children().map(|name| Box::from(&*name)).collect();
            names.sort_unstable();
            let prefix = if path == "/" { String::new() } else { path };
            on_the_way.push((prefix, names.into_iter()));
        }
        let Some((prefix, names)) = on_the_way.last_mut() else { return Ok(()) };
        match names.next() {
            Some(name) => next = Some(format!("{prefix}/{name}")),
            None => drop(on_the_way.pop()),
        }
    }
}

/// ZooKeeper's numbers begin with 1, and the open ACL needs none.
fn number_of(acl: AclId) -> AclNumber {
    if acl == AclId::OPEN { AclNumber::OPEN } else { AclNumber(i64::from(acl.0)) }
}

fn copy_myid(from: &Path, to: &Path) -> Result<(), ExportError> {
    let (from, to) = (from.join("myid"), to.join("myid"));
    if from.exists() && !to.exists() {
        std::fs::copy(&from, &to).map_err(|source| ExportError::Io { action: "write", file: to, source })?;
    }
    Ok(())
}

fn tell(tree: &Tree, file: &SnapshotFile, as_json: bool) -> String {
    let (file, zxid, digest) = (file.path.display().to_string(), tree.last_zxid(), tree.digest());
    let (znodes, sessions) = (tree.node_count(), tree.sessions().len());
    if as_json {
        let told = json!({
            "file": file, "zxid": Zxid::to_string(&zxid), "znodes": znodes, "sessions": sessions,
            "digest": format!("{digest:#x}"),
        });
        return format!("{told}\n");
    }
    format!("wrote {file}: {znodes} znodes, {sessions} sessions, up to {zxid}, digest {digest:#x}\n")
}
