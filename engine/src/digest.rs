//! The digest of the tree: a wrapping sum over all znodes of CRC-32 over path, data and stat (`DigestCalculator`, `AdHash`).
//!
//! The CRC of path and data is kept per znode, so that a change of the stat alone hashes 60 bytes. Everything below `/zookeeper/` is left
//! out, and the root counts under the empty path. `proto/vectors/txnlog_digest.txt`, from the real server, is its test.

use proto::StatPersisted;

/// CRC-32 (zlib's) over path and data: the part of a znode's digest that a change of its stat leaves alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentCrc(u32);

impl ContentCrc {
    /// Over a znode's path and data.
    #[must_use]
    pub fn of(path: &str, data: Option<&[u8]>) -> ContentCrc {
        let mut crc = crc32fast::Hasher::new();
        crc.update(if path == "/" { b"" } else { path.as_bytes() });
        crc.update(data.unwrap_or_default());
        ContentCrc(crc.finalize())
    }

    /// As it was stored beside a znode.
    #[must_use]
    pub const fn from_stored(stored: u32) -> ContentCrc {
        ContentCrc(stored)
    }

    /// To be stored beside a znode.
    #[must_use]
    pub const fn stored(self) -> u32 {
        self.0
    }

    /// Goes on over the stat: the znode's share of the sum.
    #[must_use]
    pub fn digest(self, stat: &StatPersisted) -> u64 {
        let mut bytes = [0; StatPersisted::BYTES];
        let fields: [&[u8]; 9] = [
            &stat.czxid.0.to_be_bytes(),
            &stat.mzxid.0.to_be_bytes(),
            &stat.pzxid.0.to_be_bytes(),
            &stat.ctime.to_be_bytes(),
            &stat.mtime.to_be_bytes(),
            &stat.version.to_be_bytes(),
            &stat.cversion.to_be_bytes(),
            &stat.aversion.to_be_bytes(),
            &stat.ephemeral_owner.0.to_be_bytes(),
        ];
        let mut rest = &mut bytes[..];
        for field in fields {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        let mut crc = crc32fast::Hasher::new_with_initial(self.0);
        crc.update(&bytes);
        u64::from(crc.finalize())
    }
}

/// Does the znode count in the digest?
#[must_use]
pub fn counts(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}
