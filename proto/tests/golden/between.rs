//! What servers say to each other in the words of the `# =` lines, as `tests/reference/quorumwire.py` and `QuorumForms.java` say them.

use ringkeeper_proto::election::{InitialMessage, Notification, NotificationForm};
use ringkeeper_proto::quorum::snap::SnapItem;
use ringkeeper_proto::quorum::{FromLeader, FromLearner, IdVec, QuorumAuthPacket, QuorumPacket};
use ringkeeper_proto::txn::TxnRecord;
use ringkeeper_proto::{AclVec, StatPersisted, Zxid};
use serde_json::{Value, json};

use super::{acl, bytes, merged, show_txn};

fn packet(name: &str, of: &QuorumPacket<'_>, data: Value) -> Value {
    let ids = |ids: IdVec<'_>| ids.iter().map(|(scheme, id)| json!([scheme, id])).collect::<Value>();
    json!({ "packet": name, "zxid": of.zxid.0, "authinfo": of.authinfo.map(ids), "data": data })
}

/// A txn in a packet with its `zxid`.
fn txn(zxid: Zxid, bytes: &[u8]) -> Value {
    let record = TxnRecord::decode(bytes).expect("a txn");
    assert_eq!(record.header.zxid, zxid, "the packet's zxid is the txn's");
    show_txn(&record)
}

/// A packet from a learner.
pub(crate) fn show_packet_of_learner(of: &QuorumPacket<'_>, meaning: &FromLearner<'_>) -> Value {
    let (name, data) = match meaning {
        FromLearner::Info { observer, info, accepted_epoch } => {
            assert_eq!(of.zxid.0 >> 32, i64::from(accepted_epoch.0), "the epoch is the zxid's upper half");
            let config = info.config_version.map(|version| version.0);
            assert!(info.extension.is_empty(), "Java has none");
            let fields = json!({
                "serverid": info.server.0, "protocolVersion": info.protocol_version, "configVersion": config,
            });
            (if *observer { "OBSERVERINFO" } else { "FOLLOWERINFO" }, fields)
        }
        FromLearner::AckEpoch { last_zxid, current_epoch } => {
            assert_eq!(*last_zxid, of.zxid);
            ("ACKEPOCH", json!({ "currentEpoch": current_epoch.map_or(-1, |epoch| i64::from(epoch.0)) }))
        }
        FromLearner::Ack(zxid) => {
            assert_eq!(zxid.to_wire(), of.zxid.0);
            ("ACK", Value::Null)
        }
        FromLearner::Ping { touches, .. } => {
            let touches = touches.iter().map(|touch| json!([touch.session.0, touch.timeout_ms])).collect::<Value>();
            ("PING", json!({ "touches": touches }))
        }
        FromLearner::Revalidate { session, timeout_ms } => {
            ("REVALIDATE", json!({ "sessionId": session.0, "timeOut": timeout_ms }))
        }
        FromLearner::Request(request) => {
            let fields = json!({
                "sessionId": request.session.0, "cxid": request.xid.0, "type": request.op,
                "body": bytes(Some(request.body)),
            });
            ("REQUEST", fields)
        }
    };
    packet(name, of, data)
}

/// A packet from a leader.
pub(crate) fn show_packet_of_leader(of: &QuorumPacket<'_>, meaning: &FromLeader<'_>) -> Value {
    let (name, data) = match meaning {
        FromLeader::LeaderInfo { epoch, protocol_version, extension } => {
            assert_eq!(of.zxid.0 >> 32, i64::from(epoch.0), "the epoch is the zxid's upper half");
            assert!(extension.is_empty(), "Java has none");
            ("LEADERINFO", json!({ "protocolVersion": protocol_version }))
        }
        FromLeader::Diff(_) => ("DIFF", Value::Null),
        FromLeader::Trunc(_) => ("TRUNC", Value::Null),
        FromLeader::Snap(_) => ("SNAP", Value::Null),
        FromLeader::NewLeader { config, .. } => ("NEWLEADER", json!({ "config": config })),
        FromLeader::UpToDate => ("UPTODATE", Value::Null),
        FromLeader::Proposal { zxid, txn: record } => ("PROPOSAL", json!({ "txn": txn(*zxid, record) })),
        FromLeader::Commit(_) => ("COMMIT", Value::Null),
        FromLeader::CommitAndActivate { leader, .. } => ("COMMITANDACTIVATE", json!({ "designatedLeader": leader.0 })),
        FromLeader::Inform { zxid, txn: record } => ("INFORM", json!({ "txn": txn(*zxid, record) })),
        FromLeader::InformAndActivate { zxid, leader, txn: record } => {
            ("INFORMANDACTIVATE", json!({ "designatedLeader": leader.0, "txn": txn(*zxid, record) }))
        }
        FromLeader::Ping(_) => ("PING", Value::Null),
        FromLeader::Revalidate { session, valid } => ("REVALIDATE", json!({ "sessionId": session.0, "valid": valid })),
        FromLeader::Sync => ("SYNC", Value::Null),
    };
    packet(name, of, data)
}

/// A leader's state.
pub(crate) fn show_snapshot(items: &[SnapItem<'_>]) -> Value {
    let (mut sessions, mut acls, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        match item {
            SnapItem::Session { id, timeout_ms } => sessions.push(json!([id.0, timeout_ms])),
            SnapItem::Acl { number, acl: list } => acls.push(show_acl(*number, *list)),
            SnapItem::Node { path, data, acl: number, stat } => nodes.push(json!({
                "path": path, "data": bytes(*data), "acl": number, "stat": show_stored(stat),
            })),
            SnapItem::Sessions(_) | SnapItem::Acls(_) | SnapItem::TreeEnd | SnapItem::Signature => {}
        }
    }
    json!({ "sessions": sessions, "acls": acls, "nodes": nodes })
}

fn show_acl(number: i64, list: AclVec<'_>) -> Value {
    json!([number, acl(list)])
}

fn show_stored(stat: &StatPersisted) -> Value {
    json!({
        "czxid": stat.czxid.to_wire(), "mzxid": stat.mzxid.to_wire(), "ctime": stat.ctime, "mtime": stat.mtime,
        "version": stat.version, "cversion": stat.cversion, "aversion": stat.aversion,
        "ephemeralOwner": stat.ephemeral_owner.0, "pzxid": stat.pzxid.to_wire(),
    })
}

/// Who has opened an election connection.
pub(crate) fn show_initial_message(message: &InitialMessage<'_>) -> Value {
    match message {
        InitialMessage::Bare(server) => json!({ "sid": server.0 }),
        InitialMessage::Addressed { version, server, addresses } => {
            let addresses = addresses.iter().map(|address| json!([address.host, address.port])).collect::<Value>();
            json!({ "protocolVersion": version.to_wire(), "sid": server.0, "addresses": addresses })
        }
    }
}

/// A vote.
pub(crate) fn show_notification(vote: &Notification<'_>) -> Value {
    let state = format!("{:?}", vote.state).to_uppercase();
    let fields = json!({
        "state": state, "leader": vote.leader.0, "zxid": vote.zxid.0, "electionEpoch": vote.election_epoch.0,
        "peerEpoch": vote.peer_epoch.0,
    });
    match vote.form {
        NotificationForm::Config { version, config, extension } => {
            assert!(extension.is_empty(), "Java has none");
            merged(fields, json!({ "version": version, "config": config }))
        }
        NotificationForm::Old | NotificationForm::Unversioned | NotificationForm::Version(_) => fields,
    }
}

/// A step of SASL between servers.
pub(crate) fn show_auth_packet(packet: &QuorumAuthPacket<'_>) -> Value {
    let hex = |token: &[u8]| token.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({ "status": packet.status.to_wire(), "token_hex": packet.token.map(hex) })
}
