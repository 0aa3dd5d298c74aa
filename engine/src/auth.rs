//! Identities of a connection, and what an ACL allows them: the schemes `world`, `auth`, `digest`, `ip` and the super user.
//!
//! Mirrors `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL` and the providers of 3.9. It fails with
//! [`ErrorCode::NoAuth`], [`ErrorCode::InvalidAcl`] and [`ErrorCode::AuthFailed`]; the tests below and the Java and kazoo suites hold it.

use crate::tree::{AclId, Node};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::{Acl, AclRef, AclVec, ErrorCode, Perms, Writer};
use sha1::{Digest as _, Sha1};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who a connection has proved to be, one of possibly several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthId {
    /// How it was proved.
    pub scheme: Box<str>,
    /// Who.
    pub id: Box<str>,
}

impl AuthId {
    /// Where a connection comes from: every connection has this one. As Java writes addresses: all eight groups of an IPv6 one, and an
    /// IPv4 one as such though it came in on an IPv6 socket.
    #[must_use]
    pub fn of_address(address: IpAddr) -> AuthId {
        let id = match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
        };
        AuthId { scheme: "ip".into(), id: id.into() }
    }

    /// The user's name, as whoAmI tells it: without the digest.
    #[must_use]
    pub fn user(&self) -> &str {
        if &*self.scheme == "digest" { self.id.split(':').next().unwrap_or_default() } else { &self.id }
    }
}

/// Identities that one connection may gather: more are refused with AuthFailed, so that a client cannot make every check long.
pub const AUTH_IDS_MAX: usize = 64;

/// What an auth request adds to the identities.
///
/// # Errors
/// [`ErrorCode::AuthFailed`] for a scheme that is not known, or one that cannot be proved this way.
pub fn authenticate(
    scheme: Option<&str>,
    auth: Option<&[u8]>,
    peer: IpAddr,
    super_digest: Option<&str>,
) -> Result<Vec<AuthId>, ErrorCode> {
    match scheme {
        Some("ip") => Ok(vec![AuthId::of_address(peer)]),
        Some("digest") => {
            // Java trips over a null token and takes that for a failure.
            let user_password = String::from_utf8_lossy(auth.ok_or(ErrorCode::AuthFailed)?);
            let digest = digest_id(&user_password);
            let is_super = super_digest == Some(&*digest);
            let mut ids = Vec::new();
            if is_super {
                ids.push(AuthId { scheme: "super".into(), id: "".into() });
            }
            ids.push(AuthId { scheme: "digest".into(), id: digest.into() });
            Ok(ids)
        }
        _ => Err(ErrorCode::AuthFailed),
    }
}

/// `user:password` → `user:base64(sha1(user:password))`, as ACLs hold it.
#[must_use]
pub fn digest_id(user_password: &str) -> String {
    let user = user_password.split(':').next().unwrap_or_default();
    format!("{user}:{}", BASE64.encode(Sha1::digest(user_password.as_bytes())))
}

/// May somebody with `ids` do this to `node`?
///
/// # Errors
/// [`ErrorCode::NoAuth`] if not.
pub fn check(node: &Node<'_>, perms: Perms, ids: &[AuthId]) -> Result<(), ErrorCode> {
    if node.acl_id() == AclId::OPEN { Ok(()) } else { check_acl(node.acl(), perms, ids) }
}

/// May somebody with `ids` do this under `acl`? Any of the permissions asked for is enough.
///
/// # Errors
/// [`ErrorCode::NoAuth`] if not.
pub fn check_acl(acl: &[Acl], perms: Perms, ids: &[AuthId]) -> Result<(), ErrorCode> {
    let allowed = acl.is_empty()
        || ids.iter().any(|id| &*id.scheme == "super")
        || acl.iter().filter(|entry| entry.perms.intersects(perms)).any(|entry| matches(entry, ids));
    if allowed { Ok(()) } else { Err(ErrorCode::NoAuth) }
}

fn matches(entry: &Acl, ids: &[AuthId]) -> bool {
    match &*entry.scheme {
        "world" => &*entry.id == "anyone",
        "digest" => ids.iter().any(|id| &*id.scheme == "digest" && id.id == entry.id),
        "ip" => {
            let Some(range) = IpRange::parse(&entry.id) else { return false };
            ids.iter().any(|id| &*id.scheme == "ip" && parse_ip(&id.id).is_some_and(|ip| range.contains(ip)))
        }
        _ => false,
    }
}

/// An ACL that is fit to be stored, in the bytes of a txn and in memory.
#[derive(Debug)]
pub(crate) struct FixedAcl {
    /// The entries.
    pub(crate) acl: Vec<Acl>,
    /// Their bytes, count included, where they differ from what the client sent.
    pub(crate) rewritten: Option<Vec<u8>>,
}

/// Drops entries that are there twice, checks each, and puts the caller's identities in place of `auth`.
///
/// # Errors
/// [`ErrorCode::InvalidAcl`]; a null id is a [`ErrorCode::MarshallingError`], as in Java.
pub(crate) fn fix_acl(sent: &AclVec<'_>, ids: &[AuthId]) -> Result<FixedAcl, ErrorCode> {
    if sent.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    let entries = without_duplicates(sent)?;
    let mut acl: Vec<Acl> = Vec::with_capacity(entries.len());
    let mut same = entries.len() == sent.len();
    for entry in entries {
        let scheme = entry.scheme.ok_or(ErrorCode::InvalidAcl)?;
        if scheme == "auth" {
            same = false;
            let before = acl.len();
            acl.extend(ids.iter().filter(|id| &*id.scheme == "digest").map(|id| Acl {
                perms: entry.perms,
                scheme: id.scheme.clone(),
                id: id.id.clone(),
            }));
            if acl.len() == before {
                return Err(ErrorCode::InvalidAcl);
            }
            continue;
        }
        // A scheme that nobody knows is refused before its id is looked at.
        let is_valid: fn(&str) -> bool = match scheme {
            "world" => |id| id == "anyone",
            "digest" => is_digest_id,
            "ip" => |id| IpRange::parse(id).is_some(),
            _ => return Err(ErrorCode::InvalidAcl),
        };
        let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
        if !is_valid(id) {
            return Err(ErrorCode::InvalidAcl);
        }
        acl.push(Acl { perms: entry.perms, scheme: scheme.into(), id: id.into() });
    }
    let rewritten = (!same).then(|| {
        let mut bytes = Vec::new();
        Acl::write_vec(&acl, &mut Writer::new(&mut bytes));
        bytes
    });
    Ok(FixedAcl { acl, rewritten })
}

/// The entries, each once. Java compares permissions, scheme and id in that order, and trips over a null that it has to compare.
fn without_duplicates<'a>(sent: &AclVec<'a>) -> Result<Vec<AclRef<'a>>, ErrorCode> {
    let mut entries: Vec<AclRef<'a>> = Vec::with_capacity(sent.len());
    for entry in sent.iter() {
        let mut is_known = false;
        for before in entries.iter().filter(|before| before.perms == entry.perms) {
            let scheme = entry.scheme.ok_or(ErrorCode::MarshallingError)?;
            if before.scheme == Some(scheme) {
                let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
                if before.id == Some(id) {
                    is_known = true;
                    break;
                }
            }
        }
        if !is_known {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Two parts around one colon; Java's split forgets empty parts at the end.
fn is_digest_id(id: &str) -> bool {
    let trimmed = id.trim_end_matches(':');
    trimmed.matches(':').count() == 1
}

/// Digest ids as somebody without ADMIN sees them in getACL: the digest is hidden.
#[must_use]
pub fn masked(entry: &Acl) -> Acl {
    match (&*entry.scheme, entry.id.split_once(':')) {
        ("digest", Some((user, _))) => Acl { id: format!("{user}:x").into(), ..entry.clone() },
        _ => entry.clone(),
    }
}

/// An address with the count of bits that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IpRange {
    address: IpAddr,
    bits: u32,
}

impl IpRange {
    fn parse(text: &str) -> Option<IpRange> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (parse_ip(address)?, Some(bits.parse::<u32>().ok()?)),
            None => (parse_ip(text)?, None),
        };
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        (bits <= bits_max).then_some(IpRange { address, bits })
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(range), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                (u32::from(range) ^ u32::from(ip)) & mask == 0
            }
            (IpAddr::V6(range), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                (u128::from(range) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }
}

/// Java takes each part of an IPv4 address as an int, so that leading zeros are fine.
fn parse_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(parts.next()?.parse::<i32>().ok()?).ok()?;
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Reader;

    fn ids(list: &[(&str, &str)]) -> Vec<AuthId> {
        list.iter().map(|(scheme, id)| AuthId { scheme: (*scheme).into(), id: (*id).into() }).collect()
    }

    fn acl(perms: Perms, scheme: &str, id: &str) -> Acl {
        Acl { perms, scheme: scheme.into(), id: id.into() }
    }

    fn fix(acl: &[Acl], ids: &[AuthId]) -> Result<Vec<Acl>, ErrorCode> {
        let mut bytes = Vec::new();
        Acl::write_vec(acl, &mut Writer::new(&mut bytes));
        let sent = AclVec::read(&mut Reader::new(&bytes)).unwrap();
        let fixed = fix_acl(&sent, ids)?;
        if let Some(rewritten) = fixed.rewritten {
            assert_eq!(AclVec::read(&mut Reader::new(&rewritten)).unwrap().to_vec().unwrap(), fixed.acl);
        } else {
            assert_eq!(sent.to_vec().unwrap(), fixed.acl);
        }
        Ok(fixed.acl)
    }

    #[test]
    fn the_documented_digest_of_super_test() {
        // From ZooKeeper's administrator guide.
        assert_eq!(digest_id("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        let peer = IpAddr::from([127, 0, 0, 1]);
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        let ids = authenticate(Some("digest"), Some(b"super:test"), peer, super_digest).unwrap();
        assert_eq!(check_acl(&[acl(Perms::READ, "digest", "a:b")], Perms::WRITE, &ids), Ok(()));
        assert_eq!(authenticate(Some("nope"), None, peer, None), Err(ErrorCode::AuthFailed));
        assert_eq!(authenticate(Some("digest"), None, peer, super_digest), Err(ErrorCode::AuthFailed));
        assert!(authenticate(Some("ip"), None, peer, None).is_ok());
    }

    #[test]
    fn ip_ranges() {
        for (range, ip, expected) in [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
            ("10.0.0.0/8", "::1", false),
        ] {
            let entry = [acl(Perms::READ, "ip", range)];
            assert_eq!(check_acl(&entry, Perms::READ, &ids(&[("ip", ip)])).is_ok(), expected, "{range} {ip}");
        }
        for bad in ["10.0.0.0/33", "10.0.0", "10.0.0.256", "10.0.0.0/x", "::1/129", "host", "1.2.3.4.5"] {
            assert_eq!(fix(&[acl(Perms::READ, "ip", bad)], &[]), Err(ErrorCode::InvalidAcl), "{bad}");
        }
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_known_by_its_ipv4_address() {
        for (address, id) in [
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("2001:db8::a:0", "2001:db8:0:0:0:0:a:0"),
        ] {
            assert_eq!(&*AuthId::of_address(address.parse().unwrap()).id, id);
        }
        let own = [AuthId::of_address("::ffff:10.1.2.3".parse().unwrap())];
        assert_eq!(check_acl(&[acl(Perms::READ, "ip", "10.0.0.0/8")], Perms::READ, &own), Ok(()));
        let own = [AuthId::of_address("::1".parse().unwrap())];
        assert_eq!(check_acl(&[acl(Perms::READ, "ip", "::1")], Perms::READ, &own), Ok(()));
    }

    #[test]
    fn auth_becomes_the_callers_digests_and_needs_one() {
        let caller = ids(&[("ip", "1.2.3.4"), ("digest", "a:x"), ("digest", "b:y")]);
        let fixed = fix(&[acl(Perms::ALL, "auth", "")], &caller).unwrap();
        assert_eq!(fixed, [acl(Perms::ALL, "digest", "a:x"), acl(Perms::ALL, "digest", "b:y")]);
        assert_eq!(fix(&[acl(Perms::ALL, "auth", "")], &ids(&[("ip", "1.2.3.4")])), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn entries_that_are_there_twice_count_once_and_bad_ones_are_refused() {
        assert_eq!(fix(&[Acl::open(), Acl::open()], &[]).unwrap(), [Acl::open()]);
        for (scheme, id) in
            [("world", "other"), ("digest", "nocolon"), ("digest", "a:b:c"), ("digest", "a:"), ("foo", "x")]
        {
            assert_eq!(fix(&[acl(Perms::ALL, scheme, id)], &[]), Err(ErrorCode::InvalidAcl), "{scheme}:{id}");
        }
        assert_eq!(fix(&[], &[]), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn getacl_hides_digests() {
        assert_eq!(&*masked(&acl(Perms::ALL, "digest", "user:hash")).id, "user:x");
        assert_eq!(&*masked(&acl(Perms::ALL, "ip", "1.2.3.4")).id, "1.2.3.4");
    }
}
