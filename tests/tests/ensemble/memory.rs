//! How much memory servers take while something is done to them.

use ringkeeper_tests::cluster::Cluster;
use ringkeeper_tests::memory_bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Looks all the time, in a thread of its own. The servers must run until its end.
#[derive(Debug)]
pub struct Watch {
    ends: Arc<AtomicBool>,
    /// Taken out where it is waited for.
    thread: Option<JoinHandle<Vec<u64>>>,
}

impl Watch {
    /// It begins to look at these servers.
    pub fn begin(cluster: &Cluster, ids: &[u8]) -> Watch {
        let pids: Vec<u32> = ids.iter().map(|id| cluster.pid(*id)).collect();
        let ends = Arc::<AtomicBool>::default();
        let until = Arc::clone(&ends);
        let look = move || {
            let mut most = vec![0; pids.len()];
            while !until.load(Ordering::Relaxed) {
                for (most, pid) in most.iter_mut().zip(&pids) {
                    *most = memory_bytes(*pid, "RssAnon:").max(*most);
                }
                std::thread::sleep(LOOK);
            }
            most
        };
        Watch { ends, thread: Some(std::thread::spawn(look)) }
    }

    /// The most that each of them had, in MiB. What is mapped from files does not count: the kernel takes it back.
    pub fn most_mib(mut self) -> Vec<u64> {
        self.ends.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it looks until now");
        let most = thread.join().expect("a watch does not panic");
        most.into_iter().map(|bytes| bytes >> 20).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Where a test fails, its servers are to run until nobody looks any more.
        let _most = self.thread.take().map(JoinHandle::join);
    }
}
