//! Keys that only RingKeeper has. All begin with `ringkeeper.`, which ZooKeeper ignores, so that one file can serve
//! both.

use super::super::value::Kind::{self, Bool};
use super::{Effect::Now, INT_MAX, KeySpec, LONG_MAX, int, keys};

pub(super) const OWN: &[KeySpec] = keys! {
    "ringkeeper.shards" => Kind::AutoOrInt { min: 1, max: 256 }, "auto", Now,
        "Threads that serve clients. `auto` follows the cpuset and the cgroup's CPU quota and leaves room for the consensus core and the log thread.";
    "ringkeeper.pin" => Kind::Choice(&["auto", "on", "off"]), "auto", Now,
        "Whether each thread stays on a core of its own. `auto` pins only where there are enough cores and no CPU quota.";
    "ringkeeper.core" => Kind::Choice(&["auto", "shard", "thread"]), "auto", Now,
        "Where the consensus core runs: in a thread of its own, or in the first shard's, which saves the hand-overs between threads. `auto` chooses the shard where there is one processor only.";
    "ringkeeper.connectionOutputBytesMax" => int(1_048_576, INT_MAX), "16777216", Now,
        "Unsent bytes of one connection. A client that lets more pile up is disconnected; its session lives on.";
    "ringkeeper.connectionRequestsMax" => int(1, 1_000_000), "1024", Now,
        "Unanswered requests of one connection. Past it the server stops reading from that connection until replies have left.";
    "ringkeeper.replyBytesMax" => int(1_048_576, INT_MAX), "67108864", Now,
        "Largest reply that the server builds; a larger one becomes an error.";
    "ringkeeper.memoryMax" => Kind::BytesOrShare, "80%", Now,
        "Memory of the process above which new data is refused with SystemError, until some is deleted: bytes, or a share of the machine's memory or of the cgroup's limit, whichever is less.";
    "ringkeeper.imageBytesPerSecondMax" => int(0, LONG_MAX), "67108864", Now,
        "Bytes a second at which an image is written, four times as many while half of ringkeeper.memoryMax is taken; the more, the longer the log waits for the disk. 0: as fast as it goes.";
    "ringkeeper.watchdogTimeoutMs" => int(0, INT_MAX), "30000", Now,
        "The process ends, with the stacks of its threads in the log, when the consensus core, the log thread or a shard makes no progress for so long, or a stop takes four times as long. 0 switches the watchdog off.";
    "ringkeeper.importInDoubt" => Bool, "false", Now,
        "Import ZooKeeper's data at the first start even if the digests in them say that the tree is another, or if the log ends before the snapshot was complete.";
};
