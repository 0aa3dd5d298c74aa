//! Keys of a single server: storage, clients and sessions, limits, the data tree, operations.

use super::super::value::Kind::{self, Bool, Host, List, Path, Text};
use super::Effect::{self, EnsembleLater, Later, LaterMind, Never, Now};
use super::{INT_MAX, KeySpec, LONG_MAX, int, keys};

const THREADS: Effect = Never("RingKeeper's threads follow ringkeeper.shards");
const JVM: Effect = Never("there is no Java virtual machine");

pub(super) const STORAGE: &[KeySpec] = keys! {
    "dataDir" => Path, "", Now,
        "Directory of the images and, without `dataLogDir`, of the log. Required.";
    "dataLogDir" => Path, "", Now,
        "Directory of the log; a device of its own keeps its latency steady. Without it, `dataDir`.";
    "snapCount" => int(0, INT_MAX), "", Now,
        "Transactions after which an image is written. Below 2 counts as 2. Without it, 2,000,000: replaying as many takes a start a few seconds.";
    "snapSizeLimitInKb" => int(-1, LONG_MAX), "", Now,
        "KiB of log after which an image is written. 0 and -1 are off. Without it, half the size of the last image, and 64 MiB at least.";
    "preAllocSize" => int(1, 16_777_216), "65536", Now,
        "KiB by which the log is allocated ahead: the size of its files, from 32 MiB to 1 GiB.";
    "txnLogSizeLimitInKb" => int(-1, LONG_MAX), "-1", Now,
        "KiB after which a new log file begins, where that is less than `preAllocSize`. 0 and -1 are off. A file has 32 MiB at least, more for a large `jute.maxbuffer`.";
    "autopurge.snapRetainCount" => int(0, INT_MAX), "3", Now,
        "Images that are kept, with the log that belongs to them. Below 3 counts as 3.";
    "autopurge.purgeInterval" => Kind::Interval, "1", Now,
        "How often older images and logs are removed. ZooKeeper's default is 0 (never), RingKeeper's is one hour.";
    "fsync.warningthresholdms" => int(0, LONG_MAX), "1000", Now,
        "A log write that takes longer, in milliseconds, is warned about.";
    "forceSync" => Kind::YesNo, "yes", Now,
        "RingKeeper always makes a write durable before it answers; `no` is accepted and ignored with a warning.";
    "datadir.autocreate" => Bool, "true", Now,
        "Create the data directories where they are missing.";
    "db.autocreate" => Bool, "true", Effect::Ensemble,
        "Whether a server with an empty data directory, and without the file `initialize` in it, may vote. One server begins a new database in any case, as in ZooKeeper.";
    "digest.enabled" => Bool, "true", Never("the digest is always kept: recovery checks every transaction by it"),
        "Keep a running digest of the tree and compare it.";
    "snapshot.compression.method" => Kind::Choice(&["", "gz", "snappy"]), "", Never("images are mapped into memory and not compressed"),
        "Compression of ZooKeeper's snapshots.";
    "snapshot.trust.empty" => Bool, "false", Now,
        "Import a ZooKeeper directory that has logs and no snapshot.";
    "serializeLastProcessedZxid.enabled" => Bool, "true", Never("an image always holds its zxid"),
        "Write the last zxid into snapshots.";
    "flushDelay" => int(0, LONG_MAX), "0", Never("group commit needs no timer"),
        "How long the log may gather writes, in milliseconds.";
    "maxWriteQueuePollTime" => int(0, LONG_MAX), "", Never("group commit needs no timer"),
        "How long the log thread waits for more writes, in milliseconds.";
    "maxBatchSize" => int(0, INT_MAX), "1000", Never("a group takes what has gathered while the last one was written"),
        "Writes that share one sync.";
};

pub(super) const CLIENTS: &[KeySpec] = keys! {
    "clientPort" => int(0, 65_535), "", Now,
        "Port for clients. 0 picks a free one; without it there is no plain port.";
    "clientPortAddress" => Host, "", Now,
        "Address for clients: IPv4, IPv6 (in brackets or not, with a zone or not) or a name. Without it, and for `0.0.0.0` and `::`, every address of both families, as in Java.";
    "java.net.preferIPv4Stack" => Bool, "false", Now,
        "Listen on IPv4 alone where every address is meant, and take a name's IPv4 address. Often in `JVMFLAGS`.";
    "java.net.preferIPv6Addresses" => Kind::Choice(&["false", "true", "system"]), "false", Now,
        "Which address of a name that has both comes first: IPv4 (`false`), IPv6 (`true`), or the system's first.";
    "clientPortListenBacklog" => int(-1, INT_MAX), "-1", Now,
        "Connections that the kernel queues before they are accepted. -1 is the server's choice.";
    "tickTime" => int(1, INT_MAX), "3000", Now,
        "Length of a tick in milliseconds, the unit of timeouts.";
    "minSessionTimeout" => int(-1, INT_MAX), "-1", Now,
        "Shortest session timeout a client can get, in milliseconds. -1 is 2 ticks.";
    "maxSessionTimeout" => int(-1, INT_MAX), "-1", Now,
        "Longest session timeout a client can get, in milliseconds. -1 is 20 ticks.";
    "maxClientCnxns" => int(-1, INT_MAX), "60", Now,
        "Connections from one address. 0 is without limit.";
    "maxCnxns" => int(-1, INT_MAX), "0", Now,
        "Connections in all. 0 is without limit.";
    "nio.sessionlessCnxnTimeout" => int(1, INT_MAX), "10000", Now,
        "How long a connection may take to open its session, in milliseconds.";
    "clientTcpKeepAlive" => Bool, "false", Now,
        "TCP keep-alive on connections of clients: the kernel ends one whose client is gone for good.";
    "closeSessionTxn.enabled" => Bool, "true", Never("they are always written: only servers older than 3.6 in the same ensemble could tell"),
        "Write the ephemeral nodes that go into the transaction that closes their session.";
};

pub(super) const LIMITS: &[KeySpec] = keys! {
    "jute.maxbuffer" => int(1, INT_MAX), "1048575", Now,
        "Largest request in bytes, and so the largest node. Above 134217728 counts as that. The log keeps four times as many bytes in memory, 18 MiB at least.";
    "jute.maxbuffer.extrasize" => int(0, INT_MAX), "", Now,
        "Bytes above `jute.maxbuffer` that a record of the log may have. Without it, or where it is less, `jute.maxbuffer`; a record may have 8 MiB in any case, and 256 MiB at most.";
    "globalOutstandingLimit" => int(1, INT_MAX), "1000", Now,
        "Requests in work, in the whole server, past which it stops reading from clients.";
    "request_throttle_max_requests" => int(0, INT_MAX), "0", Now,
        "Requests in work past which further ones wait. 0 is off.";
    "request_throttle_stall_time" => int(1, INT_MAX), "100", Now,
        "How long a waiting request waits at most, in milliseconds.";
    "request_throttle_drop_stale" => Bool, "true", Now,
        "Drop waiting requests that have become stale.";
    "request_stale_latency_check" => Bool, "false", Now,
        "A request that waited longer than its session's timeout is stale.";
    "request_stale_connection_check" => Bool, "true", Never("what a closed connection still had waiting always goes with it"),
        "A request of a closed connection is stale.";
    "request_throttler.shutdownTimeout" => int(0, INT_MAX), "10000", Never("nothing waits in the server that is not still with its client"),
        "How long waiting requests may take at shutdown, in milliseconds.";
    "throttled_op_wait_time" => int(0, INT_MAX), "0", Now,
        "A request that waited longer, in milliseconds, fails with ThrottledOp. 0 is off.";
    "largeRequestThreshold" => int(-1, INT_MAX), "-1", Now,
        "Size in bytes from which a request counts as large. -1 is off.";
    "largeRequestMaxBytes" => int(0, INT_MAX), "104857600", Now,
        "Bytes of large requests in work; past it their connections are closed.";
    "connection_throttle_tokens" => int(0, INT_MAX), "0", Now,
        "New connections that may come at once. 0 is off.";
    "connection_throttle_fill_count" => int(0, INT_MAX), "1", Now,
        "Tokens for new connections that come back with each fill.";
    "connection_throttle_fill_time" => int(1, INT_MAX), "1", Now,
        "Time between fills, in milliseconds.";
    "connection_throttle_freeze_time" => int(-1, INT_MAX), "-1", Now,
        "Time between changes of the drop probability, in milliseconds. -1 is off.";
    "connection_throttle_drop_increase" => Kind::Float { min: 0.0, max: 1.0 }, "0.02", Now,
        "Step by which the drop probability rises.";
    "connection_throttle_drop_decrease" => Kind::Float { min: 0.0, max: 1.0 }, "0.002", Now,
        "Step by which the drop probability falls.";
    "connection_throttle_decrease_ratio" => Kind::Float { min: 0.0, max: 1.0 }, "0", Now,
        "Share of free tokens from which the drop probability falls.";
    "connection_throttle_weight_enabled" => Bool, "false", Now,
        "Weigh new connections by what their session costs.";
    "connection_throttle_global_session_weight" => int(1, INT_MAX), "3", Now,
        "Weight of a new global session.";
    "connection_throttle_local_session_weight" => int(1, INT_MAX), "1", Now,
        "Weight of a new local session. The other two weights are at least this one.";
    "connection_throttle_renew_session_weight" => int(1, INT_MAX), "2", Now,
        "Weight of a session that reconnects.";
};

pub(super) const TREE: &[KeySpec] = keys! {
    "extendedTypesEnabled" => Bool, "false", Now,
        "Allow nodes with a time to live.";
    "emulate353TTLNodes" => Bool, "false", Now,
        "Import TTL nodes of ZooKeeper 3.5.3. Without it they count as ephemerals of sessions that are gone, as in ZooKeeper. After the import it means nothing.";
    "znode.container.checkIntervalMs" => int(1, INT_MAX), "60000", Now,
        "How often containers and TTL nodes are looked through, in milliseconds.";
    "znode.container.maxPerMinute" => int(1, INT_MAX), "10000", Now,
        "Containers and TTL nodes removed in a minute at most.";
    "znode.container.maxNeverUsedIntervalMs" => int(0, LONG_MAX), "0", Now,
        "Age in milliseconds at which a container that never had a child is removed. 0 is off.";
    "skipACL" => Kind::YesNo, "no", Now,
        "Do not check ACLs: they are stored, and everybody may do everything.";
    "enableEagerACLCheck" => Bool, "false", EnsembleLater("the leader alone checks"),
        "Check ACLs before a request is forwarded to the leader. One server checks them once, in any case.";
    "enforceQuota" => Bool, "false", Now,
        "Refuse writes that exceed a hard quota, and warn of those that exceed a soft one. The totals in `zookeeper_stats` are kept in any case.";
    "maxResponseCacheSize" => int(0, INT_MAX), "400", Never("replies are not built twice from stored bytes"),
        "Replies of getData that are kept.";
    "maxGetChildrenResponseCacheSize" => int(0, INT_MAX), "400", Never("replies are not built twice from stored bytes"),
        "Replies of getChildren that are kept.";
};

pub(super) const OPERATIONS: &[KeySpec] = keys! {
    "4lw.commands.whitelist" => List, "srvr", Now,
        "Four-letter words that are answered; `*` is all. `srvr` always is.";
    "admin.enableServer" => Bool, "false", Later,
        "Run the admin server. ZooKeeper 3.9's default is true.";
    "admin.serverAddress" => Host, "0.0.0.0", Later,
        "Address of the admin server.";
    "admin.serverPort" => int(0, 65_535), "8080", Later,
        "Port of the admin server.";
    "admin.idleTimeout" => int(0, INT_MAX), "30000", Later,
        "How long an idle admin connection stays open, in milliseconds.";
    "admin.commandURL" => Text, "/commands", Later,
        "Path of the admin server's commands.";
    "admin.httpVersion" => int(0, INT_MAX), "11", Later,
        "HTTP version of the admin server.";
    "admin.portUnification" => Bool, "false", Later,
        "Take plain and TLS requests on the admin port.";
    "admin.forceHttps" => Bool, "false", LaterMind("there is no admin server yet"),
        "Take only TLS requests on the admin port.";
    "admin.needClientAuth" => Bool, "false", LaterMind("there is no admin server yet"),
        "Ask admin clients for a certificate.";
    "admin.rateLimiterIntervalInMS" => int(0, INT_MAX), "300000", Later,
        "Shortest time between snapshot and restore commands, in milliseconds.";
    "admin.snapshot.enabled" => Bool, "true", Later,
        "Allow the admin command `snapshot`.";
    "admin.restore.enabled" => Bool, "true", Later,
        "Allow the admin command `restore`.";
    "metricsProvider.className" => Text, "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider", Later,
        "Metrics provider; the Prometheus provider's class switches its endpoint on.";
    "metricsProvider.httpHost" => Host, "0.0.0.0", Later,
        "Address of the Prometheus endpoint.";
    "metricsProvider.httpPort" => int(-1, 65_535), "7000", Later,
        "Port of the Prometheus endpoint. -1 is off.";
    "metricsProvider.exportJvmInfo" => Bool, "true", Later,
        "Export figures of the process.";
    "metricsProvider.*" => Text, "", Later,
        "Further settings of the metrics provider.";
    "pathStats.enabled" => Bool, "false", Later,
        "Keep statistics of the most used paths.";
    "pathStats.slotDuration" => int(1, INT_MAX), "15", Later,
        "Length of a slot of path statistics, in seconds.";
    "pathStats.slotCapacity" => int(1, INT_MAX), "60", Later,
        "Slots of path statistics that are kept.";
    "pathStats.maxDepth" => int(1, INT_MAX), "6", Later,
        "Depth to which paths are told apart.";
    "pathStats.sampleRate" => Kind::Float { min: 0.0, max: 1.0 }, "0.1", Later,
        "Share of the requests that is counted.";
    "pathStats.initialDelay" => int(0, LONG_MAX), "5", Later,
        "Time until the first report of path statistics, in minutes.";
    "pathStats.delay" => int(0, LONG_MAX), "5", Later,
        "Time between reports of path statistics, in minutes.";
    "pathStats.topPathMax" => int(1, INT_MAX), "20", Later,
        "Paths in a report.";
};

pub(super) const JAVA_ONLY: &[KeySpec] = keys! {
    "jvm.pause.monitor" => Bool, "false", JVM,
        "Watch for pauses of the Java virtual machine.";
    "jvm.pause.warn-threshold.ms" => int(0, LONG_MAX), "10000", JVM,
        "Pause from which the monitor warns, in milliseconds.";
    "jvm.pause.info-threshold.ms" => int(0, LONG_MAX), "1000", JVM,
        "Pause from which the monitor reports, in milliseconds.";
    "jvm.pause.sleep.time.ms" => int(0, LONG_MAX), "500", JVM,
        "How often the monitor looks, in milliseconds.";
    "serverCnxnFactory" => Text, "", THREADS,
        "Java class that serves clients.";
    "nio.numSelectorThreads" => int(1, INT_MAX), "", THREADS,
        "Threads that wait for network events.";
    "nio.numWorkerThreads" => int(0, INT_MAX), "", THREADS,
        "Threads that read and write.";
    "nio.shutdownTimeout" => int(0, LONG_MAX), "5000", THREADS,
        "How long those threads may take to stop, in milliseconds.";
    "nio.directBufferBytes" => int(0, INT_MAX), "65536", THREADS,
        "Buffer of each of those threads.";
    "netty.advancedFlowControl.enabled" => Bool, "false", THREADS,
        "Netty's flow control.";
    "commitProcessor.numWorkerThreads" => int(0, INT_MAX), "", THREADS,
        "Threads that serve requests.";
    "commitProcessor.shutdownTimeout" => int(0, LONG_MAX), "5000", THREADS,
        "How long those threads may take to stop, in milliseconds.";
    "commitProcessor.maxReadBatchSize" => int(-1, INT_MAX), "-1", THREADS,
        "Reads that are served between commits.";
    "commitProcessor.maxCommitBatchSize" => int(1, INT_MAX), "1", THREADS,
        "Commits that are applied between reads.";
    "intBufferStartingSizeBytes" => int(1, INT_MAX), "1024", Never("buffers are sized by what they hold"),
        "First size of buffers for replies.";
    "watchManagerName" => Text, "", Never("there is one kind of watch table"),
        "Java class of the watch table.";
    "watcherCleanThreshold" => int(1, INT_MAX), "1000", Never("watches go with their connection"),
        "Dead watchers after which they are cleaned up.";
    "watcherCleanIntervalInSeconds" => int(1, INT_MAX), "600", Never("watches go with their connection"),
        "How often dead watchers are cleaned up.";
    "watcherCleanThreadsNum" => int(1, INT_MAX), "2", Never("watches go with their connection"),
        "Threads that clean up dead watchers.";
    "maxInProcessingDeadWatchers" => int(-1, INT_MAX), "-1", Never("watches go with their connection"),
        "Dead watchers past which requests wait.";
    "bitHashCacheSize" => int(0, INT_MAX), "10", Never("there is one kind of watch table"),
        "Cache of the watch table.";
    "jmx.log4j.disable" => Bool, "false", JVM,
        "Do not register the logger with JMX.";
    "jmx.log4j.mbean" => Text, "", JVM,
        "JMX name of the logger.";
    "networkaddress.cache.ttl" => int(-1, INT_MAX), "", JVM,
        "How long Java remembers resolved names, in seconds.";
    "sun.net.inetaddr.ttl" => int(-1, INT_MAX), "", JVM,
        "How long Java remembers resolved names, in seconds.";
    "jdk.tls.rejectClientInitiatedRenegotiation" => Bool, "true", JVM,
        "Refuse renegotiation of TLS 1.2.";
    "jdk.tls.ephemeralDHKeySize" => Text, "", JVM,
        "Size of Diffie-Hellman keys.";
};
