//! Keys of ensembles: membership and the tuning of election, synchronization and broadcast.

use super::super::value::Kind::{self, Bool, List, Path, Text};
use super::Effect::{Ensemble, Now};
use super::{INT_MAX, KeySpec, LONG_MAX, int, keys};

pub(super) const MEMBERS: &[KeySpec] = keys! {
    "server.*" => Text, "", Now,
        "A member: `host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort]`; several addresses are separated by `|`. One line alone is a standalone server, and says where it serves clients; more of them are refused at the start until ensembles come.";
    "group.*" => Text, "", Ensemble,
        "A group of a hierarchical quorum: server ids separated by `:`.";
    "weight.*" => Text, "", Ensemble,
        "The weight of a server's vote in a hierarchical quorum.";
    "version" => Text, "", Ensemble,
        "Version of the dynamic configuration, hexadecimal; written by the server.";
    "dynamicConfigFile" => Path, "", Now,
        "File that holds the lines `server.`, `group.` and `weight.`, which then may not stand in the main file.";
    "initLimit" => int(0, INT_MAX), "0", Ensemble,
        "Ticks that a follower has to connect to the leader and synchronize. Required in an ensemble.";
    "syncLimit" => int(0, INT_MAX), "0", Ensemble,
        "Ticks that a follower may lag behind the leader. Required in an ensemble.";
    "connectToLearnerMasterLimit" => int(0, INT_MAX), "0", Ensemble,
        "Ticks that a learner has to connect to the leader. 0 is `initLimit`.";
    "electionAlg" => int(3, 3), "3", Now,
        "Election algorithm. Only 3, fast leader election, exists; another number is an error, as in ZooKeeper.";
    "quorumListenOnAllIPs" => Bool, "false", Ensemble,
        "Listen for peers on all addresses, not only on that of the `server.` line.";
    "peerType" => Kind::Choice(&["participant", "observer"]), "participant", Ensemble,
        "Role of this server. The `server.` line decides where they differ.";
    "syncEnabled" => Bool, "true", Ensemble,
        "Whether an observer keeps a log and snapshots of its own.";
    "standaloneEnabled" => Bool, "true", Now,
        "Whether a single `server.` line means a standalone server, not an ensemble of one that can grow. `false` is refused at the start until ensembles come.";
    "reconfigEnabled" => Bool, "false", Now,
        "Whether clients may change the membership. A single server answers `reconfig` with Unimplemented then, and with ReconfigDisabled otherwise.";
    "localSessionsEnabled" => Bool, "false", Ensemble,
        "Sessions that only the server they are connected to knows.";
    "localSessionsUpgradingEnabled" => Bool, "false", Ensemble,
        "Make a local session global when it creates an ephemeral node.";
    "observerMasterPort" => int(-1, 65_535), "0", Ensemble,
        "Port at which followers serve observers. 0 and -1 are off.";
    "sslQuorum" => Bool, "false", Ensemble,
        "Encrypt the traffic between servers.";
    "portUnification" => Bool, "false", Ensemble,
        "Take plain and TLS connections of peers on one port, while `sslQuorum` is being introduced.";
    "sslQuorumReloadCertFiles" => Bool, "false", Ensemble,
        "Reload the certificates for peers when their files change.";
    "quorum.auth.enableSasl" => Bool, "false", Ensemble,
        "Authenticate peers with SASL.";
    "quorum.auth.learnerRequireSasl" => Bool, "false", Ensemble,
        "Connect only to peers that authenticate with SASL.";
    "quorum.auth.serverRequireSasl" => Bool, "false", Ensemble,
        "Accept only peers that authenticate with SASL.";
    "quorum.auth.learner.saslLoginContext" => Text, "QuorumLearner", Ensemble,
        "JAAS section with which this server authenticates at peers.";
    "quorum.auth.server.saslLoginContext" => Text, "QuorumServer", Ensemble,
        "JAAS section with which this server checks peers.";
    "quorum.auth.kerberos.servicePrincipal" => Text, "zkquorum/localhost", Ensemble,
        "Kerberos principal of the servers.";
    "quorum.cnxn.threads.size" => int(1, INT_MAX), "20", Ensemble,
        "Java's threads for connections of peers that authenticate.";
    "multiAddress.enabled" => Bool, "false", Ensemble,
        "Allow several addresses in a `server.` line.";
    "multiAddress.reachabilityCheckEnabled" => Bool, "true", Ensemble,
        "Look for a reachable address before connecting to a peer that has several.";
    "multiAddress.reachabilityCheckTimeoutMs" => int(0, INT_MAX), "1000", Ensemble,
        "How long that look may take, in milliseconds.";
    "oraclePath" => Path, "", Ensemble,
        "File that decides for an ensemble of two which server may go on alone.";
};

pub(super) const TUNING: &[KeySpec] = keys! {
    "cnxTimeout" => int(0, INT_MAX), "5000", Ensemble,
        "Time to connect to a peer's election port, in milliseconds.";
    "quorumCnxnTimeoutMs" => int(-1, INT_MAX), "-1", Ensemble,
        "Read timeout of election connections, in milliseconds. -1 follows `syncLimit` ticks.";
    "electionPortBindRetry" => int(0, INT_MAX), "3", Ensemble,
        "Attempts to bind the election port. 0 is without limit.";
    "fastleader.minNotificationInterval" => int(1, INT_MAX), "200", Ensemble,
        "Shortest pause between election notifications, in milliseconds.";
    "fastleader.maxNotificationInterval" => int(1, INT_MAX), "60000", Ensemble,
        "Longest pause between election notifications, in milliseconds.";
    "leader.maxConcurrentSnapSyncs" => int(1, INT_MAX), "10", Ensemble,
        "Snapshots that a leader sends at one time.";
    "leader.maxConcurrentDiffSyncs" => int(1, INT_MAX), "100", Ensemble,
        "Diff synchronizations that a leader serves at one time.";
    "leader.maxTimeToWaitForEpoch" => int(-1, INT_MAX), "-1", Ensemble,
        "How long a new leader waits for a quorum to agree on the epoch, in milliseconds. -1 is `initLimit` ticks.";
    "leader.ackLoggingFrequency" => int(1, INT_MAX), "1000", Ensemble,
        "Every how many proposals the leader records ack latencies.";
    "leader.closeSocketAsync" => Bool, "false", Ensemble,
        "Close connections to learners in the background.";
    "leader.nodelay" => Bool, "true", Ensemble,
        "TCP_NODELAY on the leader's connections.";
    "follower.nodelay" => Bool, "true", Ensemble,
        "TCP_NODELAY on a follower's connection.";
    "follower.skipLearnerRequestToNextProcessor" => Bool, "false", Ensemble,
        "Do not queue forwarded requests at the follower as well.";
    "forward_learner_requests_to_commit_processor_disabled" => Bool, "false", Ensemble,
        "Do not pass learners' requests to the leader's commit stage.";
    "learner.asyncSending" => Bool, "false", Ensemble,
        "Send a learner's packets in the background.";
    "learner.closeSocketAsync" => Bool, "false", Ensemble,
        "Close a learner's connection in the background.";
    "leaderConnectDelayDuringRetryMs" => int(0, INT_MAX), "100", Ensemble,
        "Pause between attempts to connect to the leader, in milliseconds.";
    "leaderServes" => Kind::YesNo, "yes", Ensemble,
        "Whether the leader serves clients.";
    "observer.reconnectDelayMs" => int(0, LONG_MAX), "0", Ensemble,
        "Pause before an observer reconnects, in milliseconds.";
    "observer.election.DelayMs" => int(0, LONG_MAX), "200", Ensemble,
        "Pause before an observer joins an election, in milliseconds.";
    "observerMaster.sizeLimit" => int(1, INT_MAX), "33554432", Ensemble,
        "Bytes of packets that a follower keeps for its observers.";
    "commitLogCount" => int(500, INT_MAX), "500", Ensemble,
        "Recent transactions kept in memory for synchronizing learners.";
    "snapshotSizeFactor" => Kind::Float { min: -1.0, max: f64::MAX }, "0.33", Ensemble,
        "Share of the snapshot's size up to which a learner is synchronized from the log. Negative is off.";
    "forceSnapshotSync" => Bool, "false", Ensemble,
        "Always synchronize learners by snapshot.";
    "tcpKeepAlive" => Bool, "false", Ensemble,
        "TCP keep-alive on election connections.";
    "messageTracker.Enabled" => Bool, "false", Ensemble,
        "Remember the last messages of each peer for the log.";
    "messageTracker.BufferSize" => int(1, INT_MAX), "10", Ensemble,
        "How many messages are remembered.";
    "readonlymode.enabled" => Bool, "false", Ensemble,
        "Serve read-only clients while the server has no quorum.";
    "ensembleAuthName" => List, "", Now,
        "Names of this ensemble, where the `EnsembleAuthenticationProvider` is an `authProvider`; a client that means another one is sent away.";
};
