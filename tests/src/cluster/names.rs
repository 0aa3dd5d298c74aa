//! Names for an ensemble's servers: an `/etc/hosts` that they alone see, and that is written anew while they run. Needs root.
//!
//! Owns the files; each server gets them in a mount namespace of its own, which ends with it. Nothing else is asked, so that a name that is not there is not there at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Puts the files in their places, and becomes what follows.
const MOUNT: &str =
    "mount --bind \"$0/hosts\" /etc/hosts && mount --bind \"$0/nsswitch.conf\" /etc/nsswitch.conf && exec \"$@\"";

/// See the module.
#[derive(Debug)]
pub(super) struct Names {
    dir: PathBuf,
    known: BTreeMap<u8, IpAddr>,
}

impl Names {
    /// No server has a name.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub(super) fn make(dir: PathBuf) -> Names {
        std::fs::create_dir_all(&dir).expect("a directory for the names");
        std::fs::write(dir.join("nsswitch.conf"), "hosts: files\n").expect("the names' order can be written");
        let names = Names { dir, known: BTreeMap::new() };
        names.write();
        names
    }

    /// What a server is called.
    pub(super) fn of(id: u8) -> String {
        format!("server-{id}.ringkeeper.test")
    }

    /// From now on a server's name leads there, or nowhere.
    pub(super) fn point(&mut self, id: u8, to: Option<IpAddr>) {
        match to {
            Some(to) => drop(self.known.insert(id, to)),
            None => drop(self.known.remove(&id)),
        }
        self.write();
    }

    /// What starts a program that knows these names; it becomes that program.
    pub(super) fn wrapper(&self) -> Vec<String> {
        let dir = self.dir.display().to_string();
        ["unshare", "--mount", "sh", "-c", MOUNT, &dir].map(str::to_owned).to_vec()
    }

    /// In place: another file would not be the one that the servers see.
    fn write(&self) {
        let lines = self.known.iter().map(|(id, ip)| format!("{ip} {}\n", Names::of(*id)));
        let text: String = std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(lines).collect();
        std::fs::write(self.dir.join("hosts"), text).expect("the names can be written");
    }
}
