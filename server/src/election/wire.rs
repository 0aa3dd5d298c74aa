//! Votes as they travel: the peer's [`Vote`] to a notification with the ensemble's text beside it, and back.
//!
//! Owns the choice of the form (version 2, which Java has sent since 3.5; every older one is read) and what becomes of the text that another server
//! sends along. It must never decide what a vote means. Java's own bytes, in the tests below, would catch a mistake.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::election::{AddressList, ElectionAddress, InitialMessage, InitialVersion, Notification, NotificationForm};
use proto::jute::{DecodeError, Writer, frame};
use proto::{ConfigVersion, ServerId};
use zab::election::Vote;
use zab::ensemble::{Ensemble, HostPort};

/// What the port knows of the ensemble.
#[derive(Debug)]
pub(super) struct Config {
    /// What notifications carry.
    text: String,
    version: ConfigVersion,
    members: BTreeMap<ServerId, Vec<HostPort>>,
}

impl Config {
    pub(super) fn new(ensemble: &Ensemble) -> Config {
        let addresses = |member: &zab::ensemble::Member| {
            let election = |at: &zab::ensemble::PeerAddress| HostPort { host: at.host.clone(), port: at.election_port };
            member.addresses.iter().map(election).collect()
        };
        Config {
            text: ensemble.to_text(),
            version: ensemble.version(),
            members: ensemble.members().map(|(id, member)| (id, addresses(member))).collect(),
        }
    }

    /// Where a member votes; none of a server that is not one.
    pub(super) fn addresses(&self, server: ServerId) -> Option<&[HostPort]> {
        self.members.get(&server).map(Vec::as_slice)
    }
}

/// A vote in its frame.
pub(super) fn notification(vote: &Vote, config: &Config) -> Vec<u8> {
    let Vote { state, leader, zxid, round, peer_epoch } = *vote;
    let form = NotificationForm::current(&config.text);
    let mut bytes = Vec::new();
    frame(&mut bytes, |w| Notification { state, leader, zxid, election_epoch: round, peer_epoch, form }.write(w));
    bytes
}

/// The vote in a frame's bytes, and the sender's ensemble, if it says a newer one than `config`. A text that is no ensemble says nothing, as in Java.
///
/// # Errors
/// [`DecodeError`]: the notification is to be dropped.
pub(super) fn vote(frame: &[u8], config: &Config) -> Result<(Vote, Option<Arc<Ensemble>>), DecodeError> {
    let Notification { state, leader, zxid, election_epoch, peer_epoch, form } = Notification::decode(frame)?;
    let newer = match form {
        NotificationForm::Config { config: text, .. } if text != config.text => Ensemble::parse(text).ok(),
        _ => None,
    };
    let newer = newer.filter(|ensemble| ensemble.version() > config.version).map(Arc::new);
    Ok((Vote { state, leader, zxid, round: election_epoch, peer_epoch }, newer))
}

/// What this server says when it opens a connection: its id, and where it is called back.
pub(super) fn greeting(me: ServerId, version: InitialVersion, own: &[HostPort]) -> Vec<u8> {
    let count = match version {
        InitialVersion::V1 => 1,
        InitialVersion::V2 => own.len(),
    };
    let mut text = String::new();
    for HostPort { host, port } in own.iter().take(count) {
        let address = ElectionAddress { host, port: *port }.to_string();
        let longer = if text.is_empty() { address } else { format!("{text}|{address}") };
        // Eight of the longest names are more than the message takes.
        if AddressList::new(&longer).is_ok() {
            text = longer;
        }
    }
    let mut bytes = Vec::new();
    match AddressList::new(&text) {
        Ok(addresses) => {
            InitialMessage::Addressed { version, server: me, addresses }.write(&mut Writer::new(&mut bytes));
        }
        // Called back at the address that the other's configuration has.
        Err(_) => InitialMessage::Bare(me).write(&mut Writer::new(&mut bytes)),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::election::{ElectionEpoch, PeerEpoch, ServerState};
    use proto::{LastZxid, Zxid};

    const RECORDED: [&str; 2] = [
        include_str!("../../../proto/vectors/quorum-3.9.5.txt"),
        include_str!("../../../proto/vectors/quorum-3.8.0.txt"),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn vectors(kind: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
        let lines = RECORDED.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#'));
        let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
        words.filter(move |words| words[0] == kind && words.len() == 4).map(|words| (words[1], bytes(words[3])))
    }

    #[test]
    fn every_recorded_vote_goes_in_and_comes_out_as_java_wrote_it() {
        let mut count = 0;
        for (name, frame) in vectors("notification") {
            let NotificationForm::Config { config: text, .. } = Notification::decode(&frame).unwrap().form else {
                panic!("{name}")
            };
            let config = Config::new(&Ensemble::parse(text).unwrap());
            let (vote, newer) = vote(&frame, &config).unwrap();
            assert_eq!(newer, None, "{name}");
            assert_eq!(notification(&vote, &config)[4..], frame, "{name}");
            count += 1;
        }
        assert!(count > 100, "{count}");
    }

    #[test]
    fn the_greeting_is_javas() {
        let own = |host: &str, port| HostPort { host: host.into(), port };
        let (_, recorded) = vectors("initial_message").next().unwrap();
        assert_eq!(greeting(ServerId(3), InitialVersion::V1, &[own("zk3", 23888), own("x", 1)]), recorded);
        let both = greeting(ServerId(3), InitialVersion::V2, &[own("zk3", 23888), own("0:0:0:0:0:0:0:1", 5)]);
        assert!(both.ends_with(b"zk3:23888|[0:0:0:0:0:0:0:1]:5"), "{both:?}");
        assert!(both.starts_with(&(-65535_i64).to_be_bytes()));
        let long = own(&"x".repeat(255), 65_535);
        let many = greeting(ServerId(3), InitialVersion::V2, &vec![long; 8]);
        assert!(InitialMessage::receive(&many).is_ok() && many.len() > 1_500, "{}", many.len());
    }

    fn ensemble(version: &str) -> Ensemble {
        Ensemble::parse(&format!("server.1=a:1:2:participant\nserver.2=b:1:2:participant\nversion={version}")).unwrap()
    }

    #[test]
    fn a_newer_ensemble_is_handed_on_an_older_or_unreadable_one_is_not() {
        let own = Config::new(&ensemble("5"));
        let said = Vote {
            state: ServerState::Looking,
            leader: ServerId(2),
            zxid: LastZxid::from(Zxid(9)),
            round: ElectionEpoch(3),
            peer_epoch: PeerEpoch(1),
        };
        let heard = |text: &Config| vote(&notification(&said, text)[4..], &own).unwrap();
        assert_eq!(heard(&Config::new(&ensemble("4"))), (said, None));
        assert_eq!(heard(&Config::new(&ensemble("5"))), (said, None));
        assert_eq!(heard(&Config::new(&ensemble("1f"))).1.as_deref(), Some(&ensemble("1f")));
        let nonsense = Config { text: "server.1=\nversion=ff".into(), ..Config::new(&ensemble("4")) };
        assert_eq!(heard(&nonsense), (said, None));
    }

    #[test]
    fn votes_of_before_3_5_are_heard() {
        let old = Notification {
            state: ServerState::Following,
            leader: ServerId(1),
            zxid: LastZxid::from(Zxid(0x7_0000_0002)),
            election_epoch: ElectionEpoch(4),
            peer_epoch: PeerEpoch(7),
            form: NotificationForm::Old,
        };
        for form in [NotificationForm::Old, NotificationForm::Unversioned, NotificationForm::Version(1)] {
            let mut bytes = Vec::new();
            Notification { form, ..old }.write(&mut Writer::new(&mut bytes));
            let (vote, newer) = vote(&bytes, &Config::new(&ensemble("5"))).unwrap();
            assert_eq!((vote.leader, vote.peer_epoch, newer), (ServerId(1), PeerEpoch(7), None), "{form:?}");
        }
    }
}
