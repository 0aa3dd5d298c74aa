//! Owned ACLs and path lists in the form that `proto`'s borrowing requests want.

use proto::jute::StrVec;
use proto::{Acl, AclVec, Reader, Writer};

/// An ACL, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclList(Vec<u8>);

impl AclList {
    /// The ACL with these entries; none is allowed here and refused by servers.
    #[must_use]
    pub fn new(acls: &[Acl]) -> AclList {
        let mut bytes = Vec::new();
        Acl::write_vec(acls, &mut Writer::new(&mut bytes));
        AclList(bytes)
    }

    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> AclList {
        AclList::new(&[Acl::open()])
    }

    /// As requests carry it.
    ///
    /// # Panics
    /// Never: the bytes are our own encoding.
    #[must_use]
    pub fn as_vec(&self) -> AclVec<'_> {
        AclVec::read(&mut Reader::new(&self.0)).expect("an ACL that was encoded here can be read")
    }
}

/// A list of strings, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathList(Vec<u8>);

impl PathList {
    /// The list of these strings.
    #[must_use]
    pub fn new<'s>(paths: impl ExactSizeIterator<Item = &'s str>) -> PathList {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).strings(paths);
        PathList(bytes)
    }

    /// As requests carry it.
    ///
    /// # Panics
    /// Never: the bytes are our own encoding.
    #[must_use]
    pub fn as_vec(&self) -> StrVec<'_> {
        let list = StrVec::read_or_null(&mut Reader::new(&self.0)).expect("a list that was encoded here can be read");
        list.unwrap_or(StrVec::EMPTY)
    }
}
