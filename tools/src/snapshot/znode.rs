//! A znode of a snapshot, whichever file it stands in, and how it is shown.

use std::borrow::Cow;

use proto::stat::EphemeralKind;
use proto::{Acl, StatPersisted};
use serde_json::{Value, json};
use snapshot::base::BaseNode;

use super::source::Acls;
use crate::failure::{Failure, Near};
use crate::log::data_json;
use crate::units::show_time;

/// What is known of a znode without reading its data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Its full path, `/` for the root.
    pub(crate) path: &'a str,
    /// Bytes of its data; 0 for null.
    pub(crate) data_len: usize,
    /// What is stored of its `Stat`.
    pub(crate) stat: StatPersisted,
    /// By what it names its ACL, see [`Acls`].
    pub(crate) acl: i64,
    /// How many children it has; `None` where the file does not tell, see [`super::source::Source::child_counts`].
    pub(crate) children: Option<u32>,
}

/// A znode where it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Znode<'a> {
    /// What is known of it.
    pub(crate) facts: Facts<'a>,
    data: Data<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Data<'a> {
    /// It was read with the znode.
    Here(Option<&'a [u8]>),
    /// It is read and checked when it is asked for.
    Mapped(&'a BaseNode<'a>),
}

impl<'a> Znode<'a> {
    /// One of an image of version 2.
    pub(crate) fn mapped(node: &'a BaseNode<'a>) -> Znode<'a> {
        let (data_len, children) = (node.data_len(), Some(node.child_count()));
        let facts = Facts { path: node.path(), data_len, stat: node.stat(), acl: node.acl_id().into(), children };
        Znode { facts, data: Data::Mapped(node) }
    }

    /// One that was read whole.
    pub(crate) fn read(path: &'a str, data: Option<&'a [u8]>, stat: StatPersisted, acl: i64) -> Znode<'a> {
        let facts = Facts { path, data_len: data.map_or(0, <[u8]>::len), stat, acl, children: None };
        Znode { facts, data: Data::Here(data) }
    }

    /// Its data; null is not the same as empty. Of an image of version 2 a copy.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn data(&self) -> Result<Option<Cow<'a, [u8]>>, Failure> {
        match self.data {
            Data::Here(data) => Ok(data.map(Cow::Borrowed)),
            Data::Mapped(node) => {
                let data = node.data().map(|data| data.map(Cow::Owned));
                data.map_err(|error| Failure::from(error).near(Some(Near::Of(self.facts.path.to_owned()))))
            }
        }
    }
}

impl Facts<'_> {
    /// For programs: everything, with `Stat` as a client sees it; the data where they are given.
    pub(crate) fn json(&self, acls: &Acls, data: Option<Option<&[u8]>>) -> Value {
        let stat = self.stat.to_stat(self.data_len, self.children.unwrap_or(0) as usize);
        let kind = self.stat.ephemeral_owner.kind();
        let mut object = json!({
            "path": self.path,
            "data_length": self.data_len,
            "version": stat.version,
            "cversion": stat.cversion,
            "aversion": stat.aversion,
            "num_children": self.children,
            "kind": kind_name(kind),
            "ephemeral_owner": match kind { EphemeralKind::Ephemeral(session) => Some(session.to_string()), _ => None },
            "ttl_ms": match kind { EphemeralKind::Ttl(ttl_ms) => Some(ttl_ms), _ => None },
            "czxid": stat.czxid.to_string(),
            "mzxid": stat.mzxid.to_string(),
            "pzxid": stat.pzxid.to_string(),
            "ctime": show_time(stat.ctime),
            "ctime_ms": stat.ctime,
            "mtime": show_time(stat.mtime),
            "mtime_ms": stat.mtime,
            "acl": acls.get(self.acl).map(acl_json),
        });
        if let (Some(data), Value::Object(object)) = (data, &mut object) {
            object.insert("data".to_owned(), data_json(data));
        }
        object
    }
}

/// Whose it is, for a table: the session, or what else ends it.
pub(crate) fn owner(kind: EphemeralKind) -> String {
    match kind {
        EphemeralKind::Persistent => "-".to_owned(),
        EphemeralKind::Container => "container".to_owned(),
        EphemeralKind::Ttl(ttl_ms) => format!("ttl {ttl_ms} ms"),
        EphemeralKind::Ephemeral(session) => session.to_string(),
    }
}

fn kind_name(kind: EphemeralKind) -> &'static str {
    match kind {
        EphemeralKind::Persistent => "persistent",
        EphemeralKind::Container => "container",
        EphemeralKind::Ttl(_) => "ttl",
        EphemeralKind::Ephemeral(_) => "ephemeral",
    }
}

/// For programs.
pub(crate) fn acl_json(entries: &[Acl]) -> Value {
    let entry = |acl: &Acl| json!({ "perms": acl.perms.0, "scheme": acl.scheme, "id": acl.id });
    entries.iter().map(entry).collect::<Vec<_>>().into()
}

/// For people, as ZooKeeper's shell takes it: `world:anyone:cdrwa`, with commas between the entries.
pub(crate) fn acl_text(entries: &[Acl]) -> String {
    const LETTERS: [(i32, char); 5] = [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')];
    let entry = |acl: &Acl| {
        let perms: String =
            LETTERS.iter().filter(|(bit, _)| acl.perms.0 & bit != 0).map(|(_, letter)| letter).collect();
        format!("{}:{}:{perms}", acl.scheme, acl.id)
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Perms;

    #[test]
    fn an_acl_is_spelled_as_the_shell_takes_it() {
        assert_eq!(acl_text(&[Acl::open(), Acl::world_read()]), "world:anyone:cdrwa,world:anyone:r");
        let bob = Acl { perms: Perms(6), scheme: "digest".into(), id: "bob:x".into() };
        assert_eq!(acl_text(&[bob]), "digest:bob:x:cw");
    }
}
