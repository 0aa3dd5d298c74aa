//! The hash of the scheme `digest` (`zookeeper.DigestAuthenticationProvider.digestAlg`), by the names that Java's `MessageDigest` has.
//!
//! Owns the names and nothing else: the hashes are RustCrypto's. A name that is not in the table is `None`, and the configuration refuses it, as
//! Java's server does. `every_hash_agrees_with_javas` would catch a mistake.

use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// A hash that digests of passwords can be made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum HashName {
    Md5,
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512t224,
    Sha512t256,
    Sha3t224,
    Sha3t256,
    Sha3t384,
    Sha3t512,
}

/// The names of Java 17, its aliases included; case does not matter. `MD2` is left out: nobody should use it, and no maintained library has it.
const NAMES: [(&str, HashName); 20] = [
    ("MD5", HashName::Md5),
    ("SHA1", HashName::Sha1),
    ("SHA-1", HashName::Sha1),
    ("SHA", HashName::Sha1),
    ("SHA-224", HashName::Sha224),
    ("SHA224", HashName::Sha224),
    ("SHA-256", HashName::Sha256),
    ("SHA256", HashName::Sha256),
    ("SHA-384", HashName::Sha384),
    ("SHA384", HashName::Sha384),
    ("SHA-512", HashName::Sha512),
    ("SHA512", HashName::Sha512),
    ("SHA-512/224", HashName::Sha512t224),
    ("SHA512/224", HashName::Sha512t224),
    ("SHA-512/256", HashName::Sha512t256),
    ("SHA512/256", HashName::Sha512t256),
    ("SHA3-224", HashName::Sha3t224),
    ("SHA3-256", HashName::Sha3t256),
    ("SHA3-384", HashName::Sha3t384),
    ("SHA3-512", HashName::Sha3t512),
];

impl HashName {
    /// Finds a hash by its name in Java; `None` where we have none of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<HashName> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, hash)| *hash)
    }

    /// The hash of `bytes`.
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            HashName::Md5 => Md5::digest(bytes).to_vec(),
            HashName::Sha1 => Sha1::digest(bytes).to_vec(),
            HashName::Sha224 => Sha224::digest(bytes).to_vec(),
            HashName::Sha256 => Sha256::digest(bytes).to_vec(),
            HashName::Sha384 => Sha384::digest(bytes).to_vec(),
            HashName::Sha512 => Sha512::digest(bytes).to_vec(),
            HashName::Sha512t224 => Sha512_224::digest(bytes).to_vec(),
            HashName::Sha512t256 => Sha512_256::digest(bytes).to_vec(),
            HashName::Sha3t224 => Sha3_224::digest(bytes).to_vec(),
            HashName::Sha3t256 => Sha3_256::digest(bytes).to_vec(),
            HashName::Sha3t384 => Sha3_384::digest(bytes).to_vec(),
            HashName::Sha3t512 => Sha3_512::digest(bytes).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    #[test]
    fn every_hash_agrees_with_javas() {
        // Made with `MessageDigest` of OpenJDK 17.
        for (name, expected) in [
            ("MD5", "W9+IFipwZ1Koym/l6rOmDw=="),
            ("SHA1", "7RJfAeIvrl4zdj6sS2fXrQHDvHM="),
            ("SHA-1", "7RJfAeIvrl4zdj6sS2fXrQHDvHM="),
            ("SHA", "7RJfAeIvrl4zdj6sS2fXrQHDvHM="),
            ("SHA-224", "OJWkIunG/Q/SJGRWZUWEMYuTdvtAHNu5AUolqg=="),
            ("SHA224", "OJWkIunG/Q/SJGRWZUWEMYuTdvtAHNu5AUolqg=="),
            ("SHA-256", "gW+b8HZum3TwTstGfpl32bPArFr4tjcyRtV13gDSyK0="),
            ("SHA256", "gW+b8HZum3TwTstGfpl32bPArFr4tjcyRtV13gDSyK0="),
            ("SHA-384", "Sl0dTVBjjRRRX5iyGW057QMtzMofC5ylGHCoRsF7YguIenlsgHuMZLd22RA2u07S"),
            ("SHA384", "Sl0dTVBjjRRRX5iyGW057QMtzMofC5ylGHCoRsF7YguIenlsgHuMZLd22RA2u07S"),
            ("SHA-512", "lVMYHROV+NGkSUWy/Es9qho4J4cgm1epH8EgdfP8F7i0eLt92R/Aea8IKNSohiaNjifc0cxJFw64HTSR91JmxQ=="),
            ("SHA512", "lVMYHROV+NGkSUWy/Es9qho4J4cgm1epH8EgdfP8F7i0eLt92R/Aea8IKNSohiaNjifc0cxJFw64HTSR91JmxQ=="),
            ("SHA-512/224", "65LFPMiwcclqkFEj7I5So3prwhc89CR+Y4LQlg=="),
            ("SHA512/224", "65LFPMiwcclqkFEj7I5So3prwhc89CR+Y4LQlg=="),
            ("SHA-512/256", "0nlpfagTfAyCMPESuxR3AtoEBB7CxUYBYY5sp5DfFlA="),
            ("SHA512/256", "0nlpfagTfAyCMPESuxR3AtoEBB7CxUYBYY5sp5DfFlA="),
            ("SHA3-224", "/YDYe9JphHPr1ohAxR4DsruJny/+vwYzueasgg=="),
            ("SHA3-256", "UX6NEyZzCavaSL9pxCOlQRya9nMGxytoMcPFAs8Q+FA="),
            ("SHA3-384", "I1zW0Bjn0LbEewJjDiVJ5S66UN9PApxGR1hTZiOjU5q0JZsbRuJIrp/nzDRmfxR5"),
            ("SHA3-512", "AswKAWbiORNycGwK0vwot9AI1O2CzQltnjRt8yoRoMly3WoEEeoNHry3RTCgJzSSL/VFuGnknKZzNmIDDQCo9Q=="),
        ] {
            let hash = HashName::parse(name).unwrap();
            assert_eq!(BASE64.encode(hash.hash(b"ann:secret")), expected, "{name}");
        }
        assert_eq!(HashName::parse("sha-256"), Some(HashName::Sha256));
        assert_eq!(HashName::parse("MD2"), None);
    }
}
