//! Keys of ensembles: membership and the tuning of election, synchronization and broadcast.

use super::super::value::Kind::{self, Bool, List, Path, Text};
use super::Effect::{self, Ensemble, EnsembleLater, EnsembleRefused, Never, Now};
use super::{INT_MAX, KeySpec, LONG_MAX, int, keys};

const NO_TLS: Effect = EnsembleLater("there is no TLS between servers");
const NO_SASL: Effect = EnsembleLater("servers are not asked who they are");
const NO_TRACKER: Effect = EnsembleLater("no messages are remembered");
const PIPELINE: Effect = Never("a stage of Java's pipeline");
const NEVER_WAITS: Effect = Never("sending and closing never wait");

pub(super) const MEMBERS: &[KeySpec] = keys! {
    "server.*" => Text, "", Now,
        "A member: `host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort]`; several addresses are separated by `|`. One line alone is a standalone server, and says where it serves clients; several are an ensemble.";
    "group.*" => Text, "", Ensemble,
        "A group of a hierarchical quorum: server ids separated by `:`.";
    "weight.*" => Text, "", Ensemble,
        "The weight of a server's vote in a hierarchical quorum.";
    "version" => Text, "", Ensemble,
        "Version of the dynamic configuration, hexadecimal. Where there is a `dynamicConfigFile`, the ending of its name.";
    "dynamicConfigFile" => Path, "", Now,
        "File that holds the lines `server.`, `group.` and `weight.`, which then may not stand in the main file.";
    "initLimit" => int(0, INT_MAX), "0", Ensemble,
        "Ticks that a follower has to connect to the leader and synchronize. Required in an ensemble.";
    "syncLimit" => int(0, INT_MAX), "0", Ensemble,
        "Ticks that a follower may lag behind the leader. Required in an ensemble.";
    "connectToLearnerMasterLimit" => int(0, INT_MAX), "0", Ensemble,
        "Ticks that a learner has to connect to the leader. 0 is `initLimit`, and 5 seconds at most.";
    "electionAlg" => int(3, 3), "3", Now,
        "Election algorithm. Only 3, fast leader election, exists; another number is an error, as in ZooKeeper.";
    "quorumListenOnAllIPs" => Bool, "false", Ensemble,
        "Listen for peers on all addresses, not only on that of the `server.` line.";
    "peerType" => Kind::Choice(&["participant", "observer"]), "participant", Ensemble,
        "Role of this server. The `server.` line decides where they differ.";
    "syncEnabled" => Bool, "true", EnsembleLater("an observer always keeps both"),
        "Whether an observer keeps a log and snapshots of its own.";
    "standaloneEnabled" => Bool, "true", Now,
        "Whether a single `server.` line means a standalone server, not an ensemble of one.";
    "reconfigEnabled" => Bool, "false", Now,
        "Whether clients may change the membership. A single server answers `reconfig` with Unimplemented then, and with ReconfigDisabled otherwise; so does a member of an ensemble, until reconfiguration comes.";
    "localSessionsEnabled" => Bool, "false", Ensemble,
        "Sessions begin as ones that only their server knows: without a write to the log, and without ephemerals. A client that comes back to another server finds its session expired. To be the same on all servers.";
    "localSessionsUpgradingEnabled" => Bool, "false", Ensemble,
        "Where `localSessionsEnabled` is set: a local session that creates an ephemeral becomes one of the ensemble first. Otherwise it gets EphemeralOnLocalSession.";
    "observerMasterPort" => int(-1, 65_535), "0", EnsembleRefused,
        "Port at which followers serve observers. 0 and -1 are off.";
    "sslQuorum" => Bool, "false", EnsembleRefused,
        "Encrypt the traffic between servers.";
    "portUnification" => Bool, "false", EnsembleRefused,
        "Take plain and TLS connections of peers on one port, while `sslQuorum` is being introduced.";
    "sslQuorumReloadCertFiles" => Bool, "false", NO_TLS,
        "Reload the certificates for peers when their files change.";
    "quorum.auth.enableSasl" => Bool, "false", EnsembleRefused,
        "Authenticate peers with SASL.";
    "quorum.auth.learnerRequireSasl" => Bool, "false", NO_SASL,
        "Connect only to peers that authenticate with SASL. It needs `quorum.auth.enableSasl`.";
    "quorum.auth.serverRequireSasl" => Bool, "false", NO_SASL,
        "Accept only peers that authenticate with SASL. It needs `quorum.auth.enableSasl`.";
    "quorum.auth.learner.saslLoginContext" => Text, "QuorumLearner", NO_SASL,
        "JAAS section with which this server authenticates at peers.";
    "quorum.auth.server.saslLoginContext" => Text, "QuorumServer", NO_SASL,
        "JAAS section with which this server checks peers.";
    "quorum.auth.kerberos.servicePrincipal" => Text, "zkquorum/localhost", Never("Kerberos is out of scope"),
        "Kerberos principal of the servers.";
    "quorum.cnxn.threads.size" => int(1, INT_MAX), "20", Never("each connection of the election port has threads of its own, within a bound"),
        "Java's threads for connections of peers that authenticate.";
    "multiAddress.enabled" => Bool, "false", Ensemble,
        "Allow several addresses in a `server.` line, and tell other servers one's own in the newer form.";
    "multiAddress.reachabilityCheckEnabled" => Bool, "true", Never("addresses are tried one after the other, within one bound of time"),
        "Look for a reachable address before connecting to a peer that has several.";
    "multiAddress.reachabilityCheckTimeoutMs" => int(0, INT_MAX), "1000", Never("addresses are tried one after the other, within one bound of time"),
        "How long that look may take, in milliseconds.";
    "oraclePath" => Path, "", EnsembleRefused,
        "File that decides for an ensemble of two which server may go on alone.";
};

pub(super) const TUNING: &[KeySpec] = keys! {
    "cnxTimeout" => int(0, INT_MAX), "5000", Ensemble,
        "Time to connect to a peer's election port, in milliseconds.";
    "quorumCnxnTimeoutMs" => int(-1, INT_MAX), "-1", Never("an election connection ends when the other side acknowledges nothing for twice `cnxTimeout`"),
        "Read timeout of election connections, in milliseconds. -1 follows `syncLimit` ticks.";
    "electionPortBindRetry" => int(0, INT_MAX), "3", Ensemble,
        "Attempts to bind the election port, and the quorum port, once a second; names are looked up at each. 0 is without limit.";
    "fastleader.minNotificationInterval" => int(1, INT_MAX), "200", Ensemble,
        "Shortest pause between election notifications, in milliseconds.";
    "fastleader.maxNotificationInterval" => int(1, INT_MAX), "60000", Ensemble,
        "Longest pause between election notifications, in milliseconds.";
    "leader.maxConcurrentSnapSyncs" => int(1, INT_MAX), "10", EnsembleLater("every learner is served at once"),
        "Snapshots that a leader sends at one time.";
    "leader.maxConcurrentDiffSyncs" => int(1, INT_MAX), "100", EnsembleLater("every learner is served at once"),
        "Diff synchronizations that a leader serves at one time.";
    "leader.maxTimeToWaitForEpoch" => int(-1, INT_MAX), "-1", EnsembleLater("it is `initLimit` ticks"),
        "How long a new leader waits for a quorum to agree on the epoch, in milliseconds. -1 is `initLimit` ticks.";
    "leader.ackLoggingFrequency" => int(1, INT_MAX), "1000", EnsembleLater("ack latencies are not recorded"),
        "Every how many proposals the leader records ack latencies.";
    "leader.closeSocketAsync" => Bool, "false", NEVER_WAITS,
        "Close connections to learners in the background.";
    "leader.nodelay" => Bool, "true", Never("packets leave at once, those of a turn together"),
        "TCP_NODELAY on the leader's connections.";
    "follower.nodelay" => Bool, "true", Never("packets leave at once, those of a turn together"),
        "TCP_NODELAY on a follower's connection.";
    "follower.skipLearnerRequestToNextProcessor" => Bool, "false", PIPELINE,
        "Do not queue forwarded requests at the follower as well.";
    "forward_learner_requests_to_commit_processor_disabled" => Bool, "false", PIPELINE,
        "Do not pass learners' requests to the leader's commit stage.";
    "learner.asyncSending" => Bool, "false", NEVER_WAITS,
        "Send a learner's packets in the background.";
    "learner.closeSocketAsync" => Bool, "false", NEVER_WAITS,
        "Close a learner's connection in the background.";
    "leaderConnectDelayDuringRetryMs" => int(0, INT_MAX), "100", EnsembleLater("the pause grows from 10 ms to 1 s"),
        "Pause between attempts to connect to the leader, in milliseconds.";
    "leaderServes" => Kind::YesNo, "yes", EnsembleRefused,
        "Whether the leader serves clients.";
    "observer.reconnectDelayMs" => int(0, LONG_MAX), "0", EnsembleLater("an observer looks for the leader at once"),
        "Pause before an observer reconnects, in milliseconds.";
    "observer.election.DelayMs" => int(0, LONG_MAX), "200", EnsembleLater("an observer looks for the leader at once"),
        "Pause before an observer joins an election, in milliseconds.";
    "observerMaster.sizeLimit" => int(1, INT_MAX), "33554432", EnsembleLater("observers follow the leader alone"),
        "Bytes of packets that a follower keeps for its observers.";
    "commitLogCount" => int(500, INT_MAX), "500", Never("the newest 64 MiB of transactions are kept, however many they are"),
        "Recent transactions kept in memory for synchronizing learners.";
    "snapshotSizeFactor" => Kind::Float { min: -1.0, max: f64::MAX }, "0.33", EnsembleLater("a learner gets transactions as far back as the log goes, and a whole state only behind that"),
        "Share of the snapshot's size up to which a learner is synchronized from the log. Negative is off.";
    "forceSnapshotSync" => Bool, "false", Ensemble,
        "Always synchronize learners by snapshot.";
    "tcpKeepAlive" => Bool, "false", Ensemble,
        "TCP keep-alive on election connections.";
    "messageTracker.Enabled" => Bool, "false", NO_TRACKER,
        "Remember the last messages of each peer for the log.";
    "messageTracker.BufferSize" => int(1, INT_MAX), "10", NO_TRACKER,
        "How many messages are remembered.";
    "readonlymode.enabled" => Bool, "false", EnsembleRefused,
        "Serve read-only clients while the server has no quorum.";
    "ensembleAuthName" => List, "", Now,
        "Names of this ensemble, where the `EnsembleAuthenticationProvider` is an `authProvider`; a client that means another one is sent away.";
};
