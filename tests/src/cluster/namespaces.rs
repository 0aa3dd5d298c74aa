//! A network for an ensemble: each server in a network namespace of its own, all on one bridge, so that any of them can be cut off from any other while clients still
//! reach all. Needs root and `ip`, as the images of this project's CI have.
//!
//! Owns the namespaces, the links and the bridge, named after the [`Lease`] so that no other test has them; what a killed test has left under these names is
//! removed first. A cut is a blackhole route: what is sent that way is dropped, nobody is told, connections stay open on both sides.

use crate::lease::Lease;
use std::net::Ipv4Addr;
use std::process::Command;

/// The test process's own place on the bridge.
const OWN: u8 = 254;

/// See the module.
#[derive(Debug)]
pub(super) struct Namespaces {
    second: u8,
    third: u8,
    ids: Vec<u8>,
    /// Ways that nothing passes.
    cuts: Vec<(u8, u8)>,
    /// Servers to which bytes come slowly.
    slow: Vec<u8>,
}

impl Namespaces {
    /// Makes them for these servers.
    ///
    /// # Panics
    /// If that is not allowed here.
    pub(super) fn make(lease: &Lease, ids: Vec<u8>) -> Namespaces {
        let (second, third) = lease.numbers();
        let namespaces = Namespaces { second, third, ids, cuts: Vec::new(), slow: Vec::new() };
        namespaces.remove();
        let bridge = namespaces.bridge();
        ip(&format!("link add {bridge} type bridge"));
        ip(&format!("addr add {}/24 dev {bridge}", namespaces.host(OWN)));
        ip(&format!("link set {bridge} up"));
        for id in &namespaces.ids {
            let (name, link, host) = (namespaces.name(*id), namespaces.link(*id), namespaces.host(*id));
            ip(&format!("netns add {name}"));
            ip(&format!("link add {link} type veth peer name eth0 netns {name}"));
            ip(&format!("link set {link} master {bridge}"));
            ip(&format!("link set {link} up"));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} addr add {host}/24 dev eth0"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        namespaces
    }

    /// The address of a server.
    pub(super) fn host(&self, id: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.second, self.third, id)
    }

    /// What starts a program there; it becomes that program.
    pub(super) fn wrapper(&self, id: u8) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(id)].map(str::to_owned).to_vec()
    }

    /// Nothing that `from` sends reaches `to` any more.
    pub(super) fn cut(&mut self, from: u8, to: u8) {
        if !self.cuts.contains(&(from, to)) {
            ip(&format!("-n {} route add blackhole {}/32", self.name(from), self.host(to)));
            self.cuts.push((from, to));
        }
    }

    /// What is sent to this server comes at this rate, behind a queue of a quarter of a second or so.
    pub(super) fn slow(&mut self, id: u8, rate: &str) {
        let link = self.link(id);
        run("tc", &format!("qdisc replace dev {link} root tbf rate {rate} burst 64kb latency 250ms"))
            .unwrap_or_else(|why| panic!("tc: {why}"));
        self.slow.push(id);
    }

    /// Everything reaches everybody, as fast as it may.
    pub(super) fn heal(&mut self) {
        for id in std::mem::take(&mut self.slow) {
            // Twice on the same link: the second finds none.
            let _none = run("tc", &format!("qdisc del dev {} root", self.link(id)));
        }
        for (from, to) in std::mem::take(&mut self.cuts) {
            ip(&format!("-n {} route del blackhole {}/32", self.name(from), self.host(to)));
        }
    }

    fn remove(&self) {
        // Most of the time nothing of it is there.
        for id in &self.ids {
            let _absent = try_ip(&format!("link del {}", self.link(*id)));
            let _absent = try_ip(&format!("netns del {}", self.name(*id)));
        }
        let _absent = try_ip(&format!("link del {}", self.bridge()));
    }

    fn name(&self, id: u8) -> String {
        format!("rk-{}.{}.{id}", self.second, self.third)
    }

    /// At most 15 letters.
    fn link(&self, id: u8) -> String {
        format!("rkv{}.{}.{id}", self.second, self.third)
    }

    fn bridge(&self) -> String {
        format!("rkb{}.{}", self.second, self.third)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(words: &str) {
    try_ip(words).unwrap_or_else(|why| panic!("ip {words}: {why} (network namespaces need root)"));
}

fn try_ip(words: &str) -> Result<(), String> {
    run("ip", words)
}

fn run(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program).args(words.split_whitespace()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
