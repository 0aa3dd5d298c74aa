//! The znodes of a run: made before it, deleted after it, so that a server is left as it was found.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use client::{AclList, ConnectOptions, Connection, Operations};
use proto::request::{CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, Request};
use proto::{ErrorCode, OpCode};

use crate::error::{BenchError, Result};
use crate::spec::{LoadSpec, SESSION_TIMEOUT_MS, Workload};
use crate::workload::{key_path, parent_path, payload};

/// Deletes in one multi: a frame of some 30 KiB, and no server holds its pipeline for long.
const DELETES_PER_MULTI: usize = 500;

/// Requests that are in flight at once while znodes are made or deleted.
const WINDOW: usize = 64;

/// What the generator asks of a connection.
pub(crate) fn connect_options() -> ConnectOptions {
    ConnectOptions { timeout_ms: SESSION_TIMEOUT_MS, deadline: Duration::from_secs(30), ..ConnectOptions::default() }
}

/// Opens a session.
pub(crate) fn connect(server: SocketAddr) -> Result<Connection> {
    Connection::connect(server, &connect_options()).map_err(BenchError::client(format!("connecting to {server}")))
}

/// Opens a session for one piece of work, and ends it.
pub(crate) fn with_connection(server: SocketAddr, work: impl FnOnce(&mut Connection) -> Result<()>) -> Result<()> {
    let mut connection = connect(server)?;
    work(&mut connection)?;
    connection.close().map_err(BenchError::client("closing a session"))
}

/// A root that no other run has.
pub(crate) fn fresh_root() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("/rkbench-{}-{}", std::process::id(), since.as_micros())
}

/// Makes the root and what the workload needs below it.
pub(crate) fn prepare(spec: &LoadSpec, root: &str, connection: &mut Connection) -> Result<()> {
    connection
        .create(root, b"", CreateMode::Persistent)
        .map_err(BenchError::client(format!("creating {root} (the load needs a root that everybody may write to)")))?;
    let (paths, data): (Vec<String>, Vec<u8>) = match spec.workload {
        Workload::Create => ((0..spec.connections).map(|i| parent_path(root, i)).collect(), Vec::new()),
        Workload::Get | Workload::Set | Workload::Mixed => {
            ((0..spec.keys).map(|key| key_path(root, key)).collect(), payload(spec.data_bytes))
        }
        Workload::Idle => return Ok(()),
    };
    let acl = AclList::open();
    let create = |path| CreateRequest { path, data: Some(&data), acl: acl.as_vec(), flags: 0, ttl_ms: None };
    let requests = paths.iter().map(|path| Request::Create(OpCode::Create, create(path.as_str())));
    pipelined(connection, requests).map_err(BenchError::client("creating the keys"))
}

/// Waits until this server, another one of the ensemble, has what was made.
pub(crate) fn await_root(root: &str, connection: &mut Connection) -> Result<()> {
    connection.sync(root).map(drop).map_err(BenchError::client("catching up with the leader"))
}

/// Deletes everything below the root, and the root. `created` has the count of each connection's creates.
pub(crate) fn clean_up(spec: &LoadSpec, root: &str, created: &[u64], connection: &mut Connection) -> Result<()> {
    let mut paths: Vec<String> = Vec::new();
    match spec.workload {
        Workload::Create => {
            for (index, count) in created.iter().enumerate() {
                let parent = parent_path(root, index);
                paths.extend((0..*count).map(|child| format!("{parent}/n{child}")));
                paths.push(parent);
            }
        }
        Workload::Get | Workload::Set | Workload::Mixed => paths.extend((0..spec.keys).map(|key| key_path(root, key))),
        Workload::Idle => {}
    }
    paths.push(root.to_owned());
    let delete = |path: &'_ String| path.clone();
    let batches: Vec<Vec<String>> = paths.chunks(DELETES_PER_MULTI).map(|c| c.iter().map(delete).collect()).collect();
    let requests = batches.iter().map(|batch| {
        let ops = batch.iter().map(|path| MultiOp::Delete(PathVersion { path, version: -1 })).collect();
        Request::Multi(MultiRequest { ops })
    });
    pipelined(connection, requests).map_err(BenchError::client(format!("deleting what lies below {root}")))
}

/// Sends requests with a window in flight; every reply must be without error.
fn pipelined<'a>(connection: &mut Connection, requests: impl Iterator<Item = Request<'a>>) -> client::Result<()> {
    for request in requests {
        connection.queue(&request);
        if connection.pending() >= WINDOW {
            connection.flush()?;
            while connection.pending() > WINDOW / 2 {
                take_reply(connection)?;
            }
        }
    }
    connection.flush()?;
    while connection.pending() > 0 {
        take_reply(connection)?;
    }
    Ok(())
}

fn take_reply(connection: &mut Connection) -> client::Result<()> {
    use proto::reply::{OpResult, Reply};
    let reply = connection.recv_reply()?.ok()?;
    if let Reply::Multi(results) = reply.record()? {
        let failed = results.iter().find_map(|result| match result {
            OpResult::Error(code) if *code != 0 => Some(*code),
            _ => None,
        });
        if let Some(code) = failed {
            return Err(
                ErrorCode::from_wire(code).map_or(client::ClientError::UnknownCode(code), client::ClientError::Server)
            );
        }
    }
    Ok(())
}
