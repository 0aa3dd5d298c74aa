//! Access control lists: permissions for identities, each a scheme and an id.
//!
//! Scheme and id are texts as Java reads them ([`crate::java_text`]). Their bytes may be others: what is sent on or logged as it came is read the
//! same way by the next one, what is compared or kept in the tree is the text.

use std::borrow::Cow;

use crate::jute::{DecodeError, Reader, Result, Writer};

/// The permissions of one ACL entry, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Perms(pub i32);

impl Perms {
    /// Read data and children.
    pub const READ: Perms = Perms(1);
    /// Set data.
    pub const WRITE: Perms = Perms(2);
    /// Create children.
    pub const CREATE: Perms = Perms(4);
    /// Delete children.
    pub const DELETE: Perms = Perms(8);
    /// Set the ACL.
    pub const ADMIN: Perms = Perms(16);
    /// All of them.
    pub const ALL: Perms = Perms(31);

    /// Do the two sets share a permission?
    #[must_use]
    pub const fn intersects(self, other: Perms) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Perms) -> Perms {
        Perms(self.0 | other.0)
    }
}

/// An entry of an ACL, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    /// What is allowed.
    pub perms: Perms,
    /// How identities are proved: `world`, `auth`, `digest`, `ip`, …
    pub scheme: Box<str>,
    /// Who.
    pub id: Box<str>,
}

impl Acl {
    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> Acl {
        Acl { perms: Perms::ALL, scheme: "world".into(), id: "anyone".into() }
    }

    /// Everybody may read.
    #[must_use]
    pub fn world_read() -> Acl {
        Acl { perms: Perms::READ, ..Acl::open() }
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.perms.0);
        w.string(&self.scheme);
        w.string(&self.id);
    }

    /// Writes a vector of them.
    pub fn write_vec(acls: &[Acl], w: &mut Writer<'_>) {
        w.length(acls.len());
        for acl in acls {
            acl.write(w);
        }
    }
}

/// An entry of an ACL in a frame. Scheme and id may be null on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRef<'a> {
    /// What is allowed.
    pub perms: Perms,
    /// How identities are proved.
    pub scheme: Option<Cow<'a, str>>,
    /// Who.
    pub id: Option<Cow<'a, str>>,
}

impl<'a> AclRef<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// As [`Reader::text_or_null`].
    pub fn read(r: &mut Reader<'a>) -> Result<AclRef<'a>> {
        Ok(AclRef { perms: Perms(r.int()?), scheme: r.text_or_null()?, id: r.text_or_null()? })
    }

    /// Moves on behind one. Nothing is allocated for what is not UTF-8.
    fn skip(r: &mut Reader<'a>) -> Result<()> {
        r.int()?;
        r.buffer()?;
        r.buffer()?;
        Ok(())
    }

    /// Whether its texts are other than the bytes that were read.
    #[must_use]
    pub const fn is_replaced(&self) -> bool {
        matches!(self.scheme, Some(Cow::Owned(_))) || matches!(self.id, Some(Cow::Owned(_)))
    }

    /// The owned form.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedNull`] if scheme or id is null.
    pub fn to_owned(&self) -> Result<Acl> {
        let scheme = self.scheme.as_deref().ok_or(DecodeError::UnexpectedNull)?.into();
        let id = self.id.as_deref().ok_or(DecodeError::UnexpectedNull)?.into();
        Ok(Acl { perms: self.perms, scheme, id })
    }
}

/// A vector of ACL entries, checked when it was read and walked in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclVec<'a> {
    count: usize,
    raw: &'a [u8],
    null: bool,
}

impl<'a> AclVec<'a> {
    /// No entries.
    pub const EMPTY: AclVec<'static> = AclVec { count: 0, raw: &[], null: false };
    /// The null vector. It has no entries either.
    pub const NULL: AclVec<'static> = AclVec { count: 0, raw: &[], null: true };

    /// Least bytes of an entry: permissions and two lengths.
    const ENTRY_BYTES_MIN: usize = 12;

    /// Reads and checks every entry.
    ///
    /// # Errors
    /// As [`Reader::count`] and [`AclRef::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<AclVec<'a>> {
        let Some(count) = r.count(Self::ENTRY_BYTES_MIN)? else { return Ok(AclVec::NULL) };
        let start = r.rest();
        for _ in 0..count {
            AclRef::skip(r)?;
        }
        let raw = start.get(..start.len() - r.rest().len()).ok_or(DecodeError::Truncated)?;
        Ok(AclVec { count, raw, null: false })
    }

    /// How many entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Are there none? True of a null vector too.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Was it the null vector?
    #[must_use]
    pub const fn is_null(&self) -> bool {
        self.null
    }

    /// The entries' bytes without the count: equal bytes are equal ACLs, and so may others be.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = AclRef<'a>> + use<'a> {
        let mut reader = Reader::new(self.raw);
        (0..self.count).map_while(move |_| AclRef::read(&mut reader).ok())
    }

    /// The owned form.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedNull`] if a scheme or id is null.
    pub fn to_vec(&self) -> Result<Vec<Acl>> {
        self.iter().map(|acl| acl.to_owned()).collect()
    }

    /// Writes it back as it was read.
    pub fn write(&self, w: &mut Writer<'_>) {
        if self.null {
            w.int(-1);
            return;
        }
        w.length(self.count);
        w.raw(self.raw);
    }
}
