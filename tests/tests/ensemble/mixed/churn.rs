//! Writes all over a tree, as fast as one connection takes them, so that a state is changed in many places while it is sent.

use crate::load::connect;
use client::{AclList, Connection};
use proto::OpCode;
use proto::request::{CreateMode, CreateRequest, PathVersion, Request, SetDataRequest};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Rounds that wait for their replies at once.
const ROUNDS: usize = 50;

/// Writers that set `/many/0`, `/many/1` …, make znodes beside them, and delete these again. They end when it is dropped.
#[derive(Debug)]
pub struct Churn {
    ends: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Churn {
    /// At this server, which must go on serving, over so many znodes.
    pub fn begin(server: SocketAddr, znodes: usize) -> Churn {
        let ends = Arc::<AtomicBool>::default();
        let told = Arc::clone(&ends);
        let mut connection = connect(server);
        let writer = std::thread::spawn(move || {
            let mut at = 0;
            while !told.load(Ordering::Relaxed) {
                (at..at + ROUNDS).for_each(|at| queue(&mut connection, at % znodes));
                connection.flush().expect("it serves");
                for _ in 0..3 * ROUNDS {
                    connection.recv_reply().expect("it serves").ok().expect("it is there");
                }
                at += ROUNDS;
            }
            connection.close().expect("it serves");
        });
        Churn { ends, writer: Some(writer) }
    }
}

fn queue(connection: &mut Connection, at: usize) {
    let (path, beside) = (format!("/many/{at}"), format!("/many/{at}-beside"));
    let acl = AclList::open();
    connection.queue(&Request::SetData(SetDataRequest { path: &path, data: Some(b"churned"), version: -1 }));
    let (acl, flags) = (acl.as_vec(), CreateMode::Persistent as i32);
    let create = CreateRequest { path: &beside, data: Some(b"beside"), acl, flags, ttl_ms: None };
    connection.queue(&Request::Create(OpCode::Create, create));
    connection.queue(&Request::Delete(PathVersion { path: &beside, version: -1 }));
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the writer has failed");
        }
    }
}
