//! The words about the server as a whole: `srvr`, `stat`, `conf`, `dirs`, `envi`.

use super::{VERSION, Words, Written, ensemble, text};
use crate::stats::get;
use std::io::Write;
use std::path::Path;

impl Words<'_> {
    pub(super) fn srvr(&self, out: &mut impl Write) -> Written {
        writeln!(out, "Zookeeper version: {VERSION}")?;
        self.totals(out)
    }

    pub(super) fn stat(&self, out: &mut impl Write) -> Written {
        writeln!(out, "Zookeeper version: {VERSION}\nClients:")?;
        self.each_connection(out, true)?;
        writeln!(out)?;
        self.totals(out)
    }

    fn totals(&self, out: &mut impl Write) -> Written {
        let latency = self.latency_ms();
        let (zxid, nodes) = {
            let tree = self.hub.read_tree();
            // ZooKeeper counts the root twice, under "" and "/".
            (tree.last_zxid(), tree.node_count() + 1)
        };
        write!(
            out,
            "Latency min/avg/max: {}/{}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: {zxid}\n\
             Mode: {}\nNode count: {nodes}\n",
            latency.min,
            text::decimal(latency.avg),
            latency.max,
            self.sum(|s| &s.packets_received),
            self.packets_sent(),
            self.connections(),
            get(&self.hub.core_stats.outstanding),
            self.mode(),
        )?;
        self.ensemble.as_ref().map_or(Ok(()), |view| view.proposal_sizes(out))
    }

    pub(super) fn packets_sent(&self) -> u64 {
        self.sum(|s| &s.packets_sent) + get(&self.hub.core_stats.words_answered)
    }

    pub(super) fn conf(&self, out: &mut impl Write) -> Written {
        let (clients, storage, sessions) = (&self.config.clients, &self.config.storage, &self.config.sessions);
        writeln!(out, "clientPort={}", self.client_port)?;
        // The port that is listened on, as in ZooKeeper: whatever the configuration says, TLS comes later.
        writeln!(out, "secureClientPort=-1")?;
        writeln!(out, "dataDir={}", storage.data_dir.display())?;
        writeln!(out, "dataDirSize={}", dir_bytes(&storage.data_dir))?;
        writeln!(out, "dataLogDir={}", storage.data_log_dir.display())?;
        writeln!(out, "dataLogSize={}", dir_bytes(&storage.data_log_dir))?;
        writeln!(out, "tickTime={}", sessions.tick_ms)?;
        writeln!(out, "maxClientCnxns={}", clients.per_address_max.map_or(0, |max| max.get()))?;
        writeln!(out, "minSessionTimeout={}", sessions.timeout_ms_min)?;
        writeln!(out, "maxSessionTimeout={}", sessions.timeout_ms_max)?;
        writeln!(out, "clientPortListenBacklog={}", clients.backlog.map_or(-1, i64::from))?;
        // A server that stands alone says 0 in ZooKeeper, whatever `myid` holds.
        writeln!(out, "serverId={}", self.config.ensemble().map_or(0, |_| self.config.server_id().0))?;
        ensemble::conf(self.config, out)
    }

    pub(super) fn dirs(&self, out: &mut impl Write) -> Written {
        writeln!(out, "datadir_size: {}", dir_bytes(&self.config.storage.data_dir))?;
        writeln!(out, "logdir_size: {}", dir_bytes(&self.config.storage.data_log_dir))?;
        Ok(())
    }

    /// ZooKeeper's lines; what there is only in a Java virtual machine says `<NA>`, as Java itself says of its compiler.
    pub(super) fn envi(&self, out: &mut impl Write) -> Written {
        const NO_JVM: &str = "<NA>";
        let uname = rustix::system::uname();
        let memory = Memory::read();
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| NO_JVM.to_owned());
        let cwd = std::env::current_dir().map_or_else(|_| NO_JVM.to_owned(), |dir| dir.display().to_string());
        let arch = if std::env::consts::ARCH == "x86_64" { "amd64" } else { std::env::consts::ARCH };
        writeln!(out, "Environment:")?;
        for (key, value) in [
            ("zookeeper.version", VERSION.to_owned()),
            ("host.name", uname.nodename().to_string_lossy().into_owned()),
            ("java.version", NO_JVM.to_owned()),
            ("java.vendor", NO_JVM.to_owned()),
            ("java.home", NO_JVM.to_owned()),
            ("java.class.path", NO_JVM.to_owned()),
            ("java.library.path", NO_JVM.to_owned()),
            ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
            ("java.compiler", NO_JVM.to_owned()),
            ("os.name", uname.sysname().to_string_lossy().into_owned()),
            ("os.arch", arch.to_owned()),
            ("os.version", uname.release().to_string_lossy().into_owned()),
            ("user.name", user_name().unwrap_or_else(|| NO_JVM.to_owned())),
            ("user.home", variable("HOME")),
            ("user.dir", cwd),
            ("os.memory.free", format!("{}MB", memory.free_kib / 1_024)),
            ("os.memory.max", format!("{}MB", memory.max_kib / 1_024)),
            ("os.memory.total", format!("{}MB", memory.process_kib / 1_024)),
        ] {
            writeln!(out, "{key}={value}")?;
        }
        Ok(())
    }
}

/// The name of the user who runs the process.
fn user_name() -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut users = passwd.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// What there is of memory, in KiB. Where Java speaks of its heap: what the machine could still give, what it has, what the process has.
struct Memory {
    free_kib: u64,
    max_kib: u64,
    process_kib: u64,
}

impl Memory {
    fn read() -> Memory {
        let of = |file: &str, key: &str| -> u64 {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Memory {
            free_kib: of("/proc/meminfo", "MemAvailable:"),
            max_kib: of("/proc/meminfo", "MemTotal:"),
            process_kib: of("/proc/self/status", "VmRSS:"),
        }
    }
}

/// Bytes of the files in a directory and below.
fn dir_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some(if meta.is_dir() { dir_bytes(&entry.path()) } else { meta.len() })
        })
        .sum()
}
