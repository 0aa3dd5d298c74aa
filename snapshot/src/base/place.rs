//! The order of the runs: where a record lies, and how a path is hashed.
//!
//! Owns the runs' keys and the stored hashes, which are part of the format: XXH3-64 with seed 0 over the path's UTF-8 bytes. The
//! hashes are not secret: who makes paths collide makes one segment slower and nothing wrong, for records are told apart by the
//! paths themselves. It must never be changed without a new format version; the golden vectors below would catch a mistake, and
//! `tests/base_round_trip.rs` a wrong order.

use std::fmt::Debug;

use crate::Damage;

/// One of the four sorted sequences of records in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Run {
    /// All znodes; key: the hash of the parent's path.
    Nodes,
    /// The paths of ephemerals; key: the session.
    Ephemerals,
    /// The paths of TTL znodes; key: the expiry in ms.
    Ttls,
    /// The paths of containers; key: 0.
    Containers,
}

impl Run {
    /// All of them, in the order in which they are written.
    pub const ALL: [Run; 4] = [Run::Nodes, Run::Ephemerals, Run::Ttls, Run::Containers];

    pub(crate) const fn number(self) -> usize {
        match self {
            Run::Nodes => 0,
            Run::Ephemerals => 1,
            Run::Ttls => 2,
            Run::Containers => 3,
        }
    }

    /// Its number in a segment's header.
    pub(crate) const fn to_disk(self) -> u32 {
        match self {
            Run::Nodes => 1,
            Run::Ephemerals => 2,
            Run::Ttls => 3,
            Run::Containers => 4,
        }
    }

    /// What one of its records is called, for an error.
    pub(crate) const fn miscounted(self) -> Damage {
        Damage::Field(match self {
            Run::Nodes => "the count of znodes",
            Run::Ephemerals => "the count of ephemerals",
            Run::Ttls => "the count of TTL znodes",
            Run::Containers => "the count of containers",
        })
    }

    /// The place of a record of this run with this key and path.
    pub(crate) fn place(self, key: u64, path: &str) -> Place<'_> {
        match self {
            Run::Nodes => {
                let (parent, name) = split(path);
                Place { key, head: parent, tail: name }
            }
            Run::Ephemerals | Run::Ttls | Run::Containers => Place { key, head: path, tail: "" },
        }
    }
}

/// Where a record lies within its run. Records are sorted by it, so a caller that writes sorts its changes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'a> {
    // The order of the fields is the order of the runs.
    pub(crate) key: u64,
    pub(crate) head: &'a str,
    pub(crate) tail: &'a str,
}

impl<'a> Place<'a> {
    /// The place of a znode: hash of the parent's path, the parent's path, the name. The root's parent is `""`.
    #[must_use]
    pub fn of_node(path: &'a str) -> Place<'a> {
        let (parent, name) = split(path);
        Place { key: parent_key(parent), head: parent, tail: name }
    }

    /// Its key: what records are sorted by first.
    #[must_use]
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// The order of two znodes whose places have the same key. For who sorts many and keeps their keys.
    #[must_use]
    pub fn order_within_key(path: &str, other: &str) -> std::cmp::Ordering {
        split(path).cmp(&split(other))
    }

    /// The place of a path in a run other than [`Run::Nodes`]: key (session, or expiry in ms, or 0), then the path.
    #[must_use]
    pub fn of_entry(key: i64, path: &'a str) -> Place<'a> {
        Place { key: entry_key(key), head: path, tail: "" }
    }

    /// Where the children of `parent` whose names are not below `first_name` begin.
    pub(crate) fn of_children(parent: &'a str, first_name: &'a str) -> Place<'a> {
        Place { key: parent_key(parent), head: parent, tail: first_name }
    }
}

/// The path of the parent and the name. The root has the parent `""`, so that it lies in the run like any other.
pub(crate) fn split(path: &str) -> (&str, &str) {
    proto::path::split(path).unwrap_or(("", path))
}

/// The key of a znode whose parent has this path.
pub(crate) fn parent_key(parent: &str) -> u64 {
    let hash = path_hash(parent);
    #[cfg(test)]
    let hash = hash & collisions::KEY_MASK.with(std::cell::Cell::get);
    hash
}

/// The hash by which a path is found within a segment.
pub(crate) fn path_hash(path: &str) -> u64 {
    twox_hash::XxHash3_64::oneshot(path.as_bytes())
}

/// A signed key so that its order is that of the unsigned number.
pub(crate) const fn entry_key(key: i64) -> u64 {
    key.cast_unsigned() ^ SIGN
}

const SIGN: u64 = 1 << 63;

/// Lets a test make keys collide: of a thread's hashes only the bits in the mask count.
#[cfg(test)]
pub(crate) mod collisions {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static KEY_MASK: Cell<u64> = const { Cell::new(u64::MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation (libxxhash 0.8.1, `XXH3_64bits`): the format depends on every bit. The lengths take each of its ways.
    #[test]
    fn the_hash_is_xxh3_with_seed_0() {
        let long = format!("/{}", "0123456789abcdef".repeat(20));
        let golden: [(&str, u64); 8] = [
            ("", 0x2d06_8005_38d3_94c2),
            ("/", 0x4742_9295_3285_562e),
            ("/a", 0xe292_ab48_a6b0_6805),
            ("/zookeeper", 0x4d9f_024b_2e35_ee18),
            ("/zookeeper/quota", 0x8676_efbb_e9d2_c15e),
            ("/a/path/of/more/than/sixteen/bytes", 0x397c_b716_4fcd_02c6),
            (&long[..200], 0x79df_4497_bda9_3868),
            (&long, 0xd110_2255_8287_97f9),
        ];
        for (path, hash) in golden {
            assert_eq!(path_hash(path), hash, "{path}: {:#x}", path_hash(path));
        }
    }

    #[test]
    fn a_znode_lies_with_its_siblings_in_the_order_of_names() {
        assert_eq!(split("/"), ("", "/"));
        assert_eq!(split("/a"), ("/", "a"));
        assert_eq!(split("/a/b"), ("/a", "b"));
        let mut paths = ["/a/b", "/a/ab", "/a/b0", "/a/a"];
        paths.sort_by(|a, b| Place::of_node(a).cmp(&Place::of_node(b)));
        assert_eq!(paths, ["/a/a", "/a/ab", "/a/b", "/a/b0"]);
        assert!(Place::of_children("/a", "") < Place::of_node("/a/a"));
        assert!(Place::of_children("/a", "b") <= Place::of_node("/a/b"));
    }

    #[test]
    fn signed_keys_keep_their_order() {
        let keys = [i64::MIN, -5, -1, 0, 1, 7, i64::MAX];
        assert!(keys.is_sorted_by(|a, b| Place::of_entry(*a, "/z") < Place::of_entry(*b, "/a")));
    }
}
