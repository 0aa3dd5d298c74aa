//! What a state has beside open znodes that stay: ACLs of several kinds, a container, a TTL, and an ephemeral whose session lives on.
//!
//! Made once, and compared at each server whenever a learner has come into step: `getACL` by a client that may see all of it, the ephemeral's owner, and that somebody without an
//! identity is refused. What a container and a TTL are, no client is shown (their owner is 0 to all): it is in the tree's digest, which whoever uses this compares, too.

use crate::load::{ask, connect};
use client::{AclList, ClientError, Connection, Operations, Session, SessionOptions};
use proto::request::CreateMode;
use proto::{Acl, ErrorCode, Perms};
use ringkeeper_tests::cluster::Cluster;
use ringkeeper_tests::until;
use std::collections::BTreeMap;
use std::time::Duration;

/// Of the ephemeral's session: longer than any server of a test is away.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Who may see all ACLs.
const BOB: &[u8] = b"bob:secret";
const BOBS_ID: &str = "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=";
/// Nothing here is older before the test ends.
const TTL_MS: i64 = 3_600_000;
const EPHEMERAL: &str = "/special/ephemeral";

/// See the module.
#[derive(Debug)]
pub struct Special {
    /// Goes from server to server.
    session: Session,
    made: BTreeMap<String, Marks>,
}

/// What must be the same everywhere.
type Marks = (Vec<Acl>, i64);

impl Special {
    /// Makes them at a server that serves.
    pub fn make(cluster: &Cluster, at: u8) -> Special {
        let timeout_ms = i32::try_from(TIMEOUT.as_millis()).expect("short");
        let mut options = SessionOptions { timeout_ms, ..SessionOptions::new(cluster.addresses()) };
        options.servers.sort_by_key(|server| *server != cluster.address(at));
        let (mut session, _) = Session::connect(&options).expect("it serves");
        let mut connection = connect(cluster.address(at));
        connection.auth("digest", BOB).expect("everybody may");
        connection.create("/special", b"", CreateMode::Persistent).expect("it serves");
        let one = |perms, scheme: &str, id: &str| Acl { perms, scheme: scheme.into(), id: id.into() };
        let all = one(Perms::ALL, "world", "anyone");
        let world = one(Perms::READ, "world", "anyone");
        let bob = one(Perms::ALL, "digest", BOBS_ID);
        let near = one(Perms::READ, "ip", "127.0.0.0/8");
        let shut = one(Perms::ADMIN, "digest", BOBS_ID);
        // `auth` is who asks.
        let me = one(Perms::ALL, "auth", "");
        let mut made = BTreeMap::new();
        for (name, asked, has) in [
            ("for-reading", vec![world.clone()], vec![world.clone()]),
            ("bobs", vec![bob.clone(), world.clone()], vec![bob.clone(), world]),
            ("near", vec![near.clone(), me], vec![near.clone(), bob]),
            ("shut", vec![near.clone(), shut.clone()], vec![near, shut]),
        ] {
            let path = format!("/special/{name}");
            let acl = AclList::new(&asked);
            connection.create_with(&path, Some(b"1"), CreateMode::Persistent, &acl).expect("it serves");
            made.insert(path, (has, 0));
        }
        for (name, mode) in [("container", CreateMode::Container), ("ttl", CreateMode::PersistentWithTtl)] {
            let path = format!("/special/{name}");
            connection.create2(&path, b"1", mode, TTL_MS).expect("it serves");
            made.insert(path, (vec![all.clone()], 0));
        }
        connection.close().expect("it serves");
        session.create(EPHEMERAL, b"1", CreateMode::Ephemeral).expect("it serves");
        made.insert(EPHEMERAL.to_owned(), (vec![all], session.id().0));
        Special { session, made }
    }

    /// All of it is there, at each server, and as it was made.
    ///
    /// # Panics
    /// If it is not.
    pub fn is_the_same_everywhere(&self, cluster: &Cluster) {
        self.session.wait_connected(TIMEOUT).expect("the session lives on");
        for id in cluster.ids() {
            let found = ask(cluster, id, |connection| {
                connection.sync("/")?;
                connection.auth("digest", BOB)?;
                self.made.keys().map(|path| Ok((path.clone(), marks(connection, path)?))).collect::<client::Result<_>>()
            });
            assert_eq!(self.made, found, "at server {id}");
            let refused = ask(cluster, id, |connection| Ok(connection.set("/special/shut", b"2", -1)));
            let is_refused = matches!(refused, Err(ClientError::Server(ErrorCode::NoAuth)));
            assert!(is_refused, "server {id} lets anybody write: {refused:?}");
        }
    }

    /// Ends the session: its ephemeral goes everywhere.
    pub fn end(self, cluster: &Cluster) {
        self.session.close().expect("a quorum is there");
        for id in cluster.ids() {
            until(&format!("the ephemeral has gone at server {id}"), || {
                ask(cluster, id, |connection| connection.exists(EPHEMERAL, false)).is_none()
            });
        }
    }
}

fn marks(connection: &mut Connection, path: &str) -> client::Result<Marks> {
    let (acl, stat) = connection.get_acl(path)?;
    Ok((acl, stat.ephemeral_owner.0))
}
