//! The tree that the storage figures are about: many znodes of one size, a thousand in each directory, made once and read and written often.
//!
//! Owns their paths and how they are made, read and checked. What is read must be what was written, else the figure does not count.

use std::net::SocketAddr;
use std::ops::Range;
use std::thread;

use client::{AclList, Connection};
use proto::OpCode;
use proto::reply::{OpResult, Reply};
use proto::request::{CreateMode, CreateRequest, MultiOp, MultiRequest, ReadRequest, Request, SetDataRequest};
use serde::Serialize;

use crate::error::{BenchError, Result};
use crate::keyspace;
use crate::workload::payload;

/// Above all of them.
const ROOT: &str = "/rkbench-storage";

/// Znodes in a directory: as a listing that fits into a reply.
const PER_DIRECTORY: u64 = 1_000;

/// Creates in a multi, which must stay below `jute.maxbuffer` with the data that is meant for these figures.
const PER_MULTI: u64 = 250;

/// Connections that share the work.
const CONNECTIONS: u64 = 8;

/// Requests in flight on each.
const WINDOW: usize = 128;

/// Multis in flight on each: more would only lie in the server's buffers.
const WINDOW_MULTIS: usize = 4;

/// How many znodes, and of how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Filled {
    pub(crate) znodes: u64,
    pub(crate) data_bytes: usize,
}

impl Filled {
    /// Appends the path of the znode with this number.
    pub(crate) fn write_path(&self, out: &mut String, number: u64) {
        use std::fmt::Write;
        write!(out, "{}/n{}", directory(number / PER_DIRECTORY), number % PER_DIRECTORY)
            .expect("writing to a String cannot fail");
    }

    /// The path of the znode with this number.
    pub(crate) fn path(&self, number: u64) -> String {
        let mut path = String::new();
        self.write_path(&mut path, number);
        path
    }

    /// Makes them all, by multis over several connections.
    ///
    /// # Errors
    /// [`BenchError::Client`]
    pub(crate) fn make(&self, server: SocketAddr) -> Result<()> {
        keyspace::with_connection(server, |connection| {
            let directories = (0..self.znodes.div_ceil(PER_DIRECTORY)).map(directory);
            let paths: Vec<String> = std::iter::once(ROOT.to_owned()).chain(directories).collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            paths.chunks(250).try_for_each(|chunk| {
                connection.queue(&creates(chunk, b"", &AclList::open()));
                connection
                    .flush()
                    .and_then(|()| take_multi(connection))
                    .map_err(BenchError::client("making directories"))
            })
        })?;
        let data = payload(self.data_bytes);
        self.shared(server, "making the znodes", |connection, numbers| {
            let acl = AclList::open();
            let mut first = numbers.start;
            while first < numbers.end {
                let end = (first + PER_MULTI).min(numbers.end);
                let paths: Vec<String> = (first..end).map(|number| self.path(number)).collect();
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                windowed(connection, WINDOW_MULTIS, &creates(&paths, &data, &acl), take_multi)?;
                first = end;
            }
            drain(connection, take_multi)
        })
    }

    /// Reads each once and compares.
    ///
    /// # Errors
    /// [`BenchError::Client`]; wrong data is [`client::ClientError::WrongRecord`].
    pub(crate) fn read_all(&self, server: SocketAddr) -> Result<()> {
        let data = payload(self.data_bytes);
        let take = |connection: &mut Connection| take_data(connection, &data);
        self.shared(server, "reading the znodes", |connection, numbers| {
            let mut path = String::new();
            for number in numbers {
                path.clear();
                self.write_path(&mut path, number);
                windowed(connection, WINDOW, &Request::GetData(ReadRequest { path: &path, watch: false }), take)?;
            }
            drain(connection, take)
        })
    }

    /// Reads one and compares: what a first client would.
    ///
    /// # Errors
    /// [`client::ClientError`]
    pub(crate) fn read_one(&self, connection: &mut Connection, number: u64) -> client::Result<()> {
        let path = self.path(number);
        connection.send(&Request::GetData(ReadRequest { path: &path, watch: false }))?;
        take_data(connection, &payload(self.data_bytes))
    }

    /// Sets the znodes of these numbers to the bytes that they have, each in a txn of its own.
    ///
    /// # Errors
    /// [`BenchError::Client`]
    pub(crate) fn set(&self, server: SocketAddr, numbers: &[u64]) -> Result<()> {
        let data = payload(self.data_bytes);
        let parts = numbers.chunks(numbers.len().div_ceil(8).max(1));
        let set = |part: &[u64]| -> Result<()> {
            keyspace::with_connection(server, |connection| {
                let mut path = String::new();
                let mut ask = || -> client::Result<()> {
                    for number in part {
                        path.clear();
                        self.write_path(&mut path, *number);
                        let set = SetDataRequest { path: &path, data: Some(&data), version: -1 };
                        windowed(connection, WINDOW, &Request::SetData(set), take_ok)?;
                    }
                    drain(connection, take_ok)
                };
                ask().map_err(BenchError::client("setting znodes"))
            })
        };
        joined(parts.map(|part| move || set(part)).collect())
    }

    /// Splits the numbers among connections, each with a thread.
    fn shared(
        &self,
        server: SocketAddr,
        step: &'static str,
        work: impl Fn(&mut Connection, Range<u64>) -> client::Result<()> + Sync,
    ) -> Result<()> {
        let each = self.znodes.div_ceil(CONNECTIONS);
        let ranges = (0..CONNECTIONS).map(|part| (part * each).min(self.znodes)..((part + 1) * each).min(self.znodes));
        let work = &work;
        let part = |numbers: Range<u64>| {
            move || keyspace::with_connection(server, |c| work(c, numbers).map_err(BenchError::client(step)))
        };
        joined(ranges.map(part).collect())
    }
}

/// Runs each on a thread of its own; the first error, if any.
fn joined(works: Vec<impl FnOnce() -> Result<()> + Send>) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = works.into_iter().map(|work| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread of the load panicked"))
    })
}

fn directory(number: u64) -> String {
    format!("{ROOT}/d{number}")
}

fn creates<'a>(paths: &[&'a str], data: &'a [u8], acl: &'a AclList) -> Request<'a> {
    let create = |path: &&'a str| {
        let flags = CreateMode::Persistent as i32;
        MultiOp::Create(
            OpCode::Create,
            CreateRequest { path, data: Some(data), acl: acl.as_vec(), flags, ttl_ms: None },
        )
    };
    Request::Multi(MultiRequest { ops: paths.iter().map(create).collect() })
}

/// Queues a request; takes replies once the window is full.
fn windowed(
    connection: &mut Connection,
    window: usize,
    request: &Request<'_>,
    take: impl Fn(&mut Connection) -> client::Result<()>,
) -> client::Result<()> {
    connection.queue(request);
    if connection.pending() >= window {
        connection.flush()?;
        while connection.pending() > window / 2 {
            take(connection)?;
        }
    }
    Ok(())
}

fn drain(connection: &mut Connection, take: impl Fn(&mut Connection) -> client::Result<()>) -> client::Result<()> {
    connection.flush()?;
    while connection.pending() > 0 {
        take(connection)?;
    }
    Ok(())
}

fn take_ok(connection: &mut Connection) -> client::Result<()> {
    connection.recv_reply()?.ok().map(|_| ())
}

fn take_multi(connection: &mut Connection) -> client::Result<()> {
    let reply = connection.recv_reply()?.ok()?;
    match reply.record()? {
        Reply::Multi(results) if !results.iter().any(|r| matches!(r, OpResult::Error(_))) => Ok(()),
        _ => Err(client::ClientError::WrongRecord("multi: not all creates succeeded")),
    }
}

fn take_data(connection: &mut Connection, data: &[u8]) -> client::Result<()> {
    let reply = connection.recv_reply()?.ok()?;
    match reply.record()? {
        Reply::DataStat(Some(read), _) if read == data => Ok(()),
        _ => Err(client::ClientError::WrongRecord("getData: not the data that was written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_share_a_directory() {
        let filled = Filled { znodes: 2_000, data_bytes: 1 };
        assert_eq!(filled.path(0), "/rkbench-storage/d0/n0");
        assert_eq!(filled.path(1_999), "/rkbench-storage/d1/n999");
    }
}
