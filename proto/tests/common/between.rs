//! What servers say to each other, built out of random fields.

use super::{Parts, encoded, framed};
use proto::election::{AddressList, ElectionEpoch, InitialMessage, InitialVersion, Notification};
use proto::election::{NotificationForm, PeerEpoch, ServerState};
use proto::quorum::snap::SnapItem;
use proto::quorum::{ForwardedRequest, FromLeader, FromLearner, IdVec, LearnerInfo, Touch, TouchVec};
use proto::{ConfigVersion, Epoch, LastZxid, ServerId, SessionId, Xid, Zxid};
use ringkeeper_proto as proto;

/// Buffers that lists are made in.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    ids: Vec<u8>,
    touches: Vec<u8>,
}

impl Parts {
    fn zxid(&self) -> Zxid {
        Zxid::from_wire(self.long)
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.int.cast_unsigned())
    }

    fn some_data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    /// Everything that a leader says.
    pub(crate) fn packets_of_leader(&self) -> Vec<FromLeader<'_>> {
        let (zxid, txn, leader) = (self.zxid(), self.some_data(), ServerId(self.long ^ 1));
        vec![
            FromLeader::LeaderInfo { epoch: self.epoch(), protocol_version: self.int, extension: txn },
            FromLeader::Diff(zxid),
            FromLeader::Trunc(LastZxid(self.long)),
            FromLeader::Snap(zxid),
            FromLeader::NewLeader { zxid, config: self.text.as_deref() },
            FromLeader::UpToDate,
            FromLeader::Proposal { zxid, txn },
            FromLeader::Commit(zxid),
            FromLeader::CommitAndActivate { zxid, leader },
            FromLeader::Inform { zxid, txn },
            FromLeader::InformAndActivate { zxid, leader, txn },
            FromLeader::Ping(zxid),
            FromLeader::Revalidate { session: SessionId(self.long), valid: self.flag },
            FromLeader::Sync,
        ]
    }

    /// Everything that a learner says.
    pub(crate) fn packets_of_learner<'a>(&'a self, lists: &'a mut Lists) -> Vec<FromLearner<'a>> {
        let session = SessionId(self.long);
        let touches = [Touch { session, timeout_ms: self.int }; 3].into_iter().take(self.password[0] as usize % 4);
        let touches = TouchVec::collect(touches, &mut lists.touches);
        let names: Vec<(&str, &str)> = self.names().iter().map(|name| (name, self.path.as_str())).collect();
        let authinfo = self.flag.then(|| IdVec::collect(names.into_iter(), &mut lists.ids));
        let (body, op) = (self.some_data(), self.int);
        let config_version = self.flag.then_some(ConfigVersion(self.long));
        let extension = if self.flag { body } else { &[] };
        let info = LearnerInfo { server: ServerId(self.long), protocol_version: op, config_version, extension };
        vec![
            FromLearner::Info { observer: self.flag, accepted_epoch: self.epoch(), info },
            FromLearner::AckEpoch {
                last_zxid: LastZxid(self.long),
                // -1 is what stands for none.
                current_epoch: self.flag.then_some(self.epoch()).filter(|epoch| epoch.0 != u32::MAX),
            },
            FromLearner::Ack(self.zxid()),
            FromLearner::Ping { zxid: LastZxid(self.long), touches },
            FromLearner::Revalidate { session, timeout_ms: self.int },
            FromLearner::Request(ForwardedRequest { session, xid: Xid(self.int), op, body, authinfo }),
        ]
    }

    /// A leader's state.
    pub(crate) fn snap_items(&self) -> Vec<SnapItem<'_>> {
        let node = |path| SnapItem::Node { path, data: self.data.as_deref(), acl: -1, stat: self.stat_persisted() };
        let mut items = vec![
            SnapItem::Sessions(1),
            SnapItem::Session { id: SessionId(self.long), timeout_ms: self.int },
            SnapItem::Acls(1),
            SnapItem::Acl { number: self.long, acl: self.acl() },
            node(""),
        ];
        // The path "/" would be the end of the tree.
        items.extend((self.path != "/").then(|| node(&self.path)));
        items.extend([SnapItem::TreeEnd, SnapItem::Signature]);
        items
    }

    /// A vote in each form.
    pub(crate) fn notifications(&self) -> Vec<Notification<'_>> {
        let config = NotificationForm::Config { version: 2, config: &self.path, extension: self.some_data() };
        let forms = [
            (NotificationForm::Old, PeerEpoch(self.long >> 32)),
            (NotificationForm::Unversioned, PeerEpoch(self.long ^ 3)),
            (NotificationForm::Version(self.int.min(1)), PeerEpoch(self.long)),
            (config, PeerEpoch(self.long)),
        ];
        let vote = |(form, peer_epoch)| Notification {
            state: if self.flag { ServerState::Looking } else { ServerState::Observing },
            leader: ServerId(self.long ^ 2),
            zxid: LastZxid(self.long),
            election_epoch: ElectionEpoch(self.long ^ 1),
            peer_epoch,
            form,
        };
        forms.map(vote).into()
    }

    /// The first message of an election connection, old and new.
    pub(crate) fn initial_messages(&self) -> [InitialMessage<'_>; 2] {
        let addresses = AddressList::new("zk1.example:3888|[fe80::1%eth0]:65535|127.0.0.1:0").expect("addresses");
        let version = if self.flag { InitialVersion::V1 } else { InitialVersion::V2 };
        [
            InitialMessage::Bare(ServerId(self.long & i64::MAX)),
            InitialMessage::Addressed { version, server: ServerId(self.long), addresses },
        ]
    }

    /// Input for the fuzz targets of what servers say.
    pub(super) fn inputs_between(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut lists = Lists::default();
        let mut inputs: Vec<(&str, Vec<u8>)> = Vec::new();
        inputs.extend(self.packets_of_leader().iter().map(|packet| ("quorum_packet", encoded(|w| packet.write(w)))));
        let from_learner = self.packets_of_learner(&mut lists);
        inputs.extend(from_learner.iter().map(|packet| ("quorum_packet", encoded(|w| packet.write(w)))));
        inputs.push(("snap_stream", encoded(|w| self.snap_items().iter().for_each(|item| item.write(w)))));
        for vote in self.notifications() {
            inputs.push(("election", encoded(|w| vote.write(w))));
        }
        for message in self.initial_messages() {
            let mut bytes = encoded(|w| message.write(w));
            let vote = self.notifications().pop().expect("one at least");
            bytes.extend(framed(&encoded(|w| vote.write(w))));
            inputs.push(("election", bytes));
        }
        inputs
    }
}
