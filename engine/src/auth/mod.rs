//! Identities of a connection, and what an ACL allows them: the schemes `world`, `auth`, `digest`, `ip`, `sasl`, `ensemble` and the super user.
//!
//! Owns the rules that the configuration gives ([`AuthRules`]). Mirrors `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`,
//! `AuthenticationHelper` and the providers of 3.9.5; as there, a scheme whose provider is not loaded is unknown in ACLs too. It never does
//! I/O and never waits. It fails with [`ErrorCode::NoAuth`], [`ErrorCode::InvalidAcl`] and [`ErrorCode::AuthFailed`]; the tests below,
//! `tests/tests/sasl.rs` and the Java and kazoo suites hold it.

mod hash;
mod ip;

pub use hash::HashName;

use crate::sasl::SaslUsers;
use crate::tree::{AclId, Node};
use ahash::AHashSet;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ip::IpRange;
use proto::{Acl, AclRef, AclVec, ErrorCode, Perms, Writer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq as _;

/// Who a connection has proved to be, one of possibly several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthId {
    /// How it was proved.
    pub scheme: Box<str>,
    /// Who.
    pub id: Box<str>,
}

impl AuthId {
    /// Where a connection comes from: every connection has this one.
    #[must_use]
    pub fn of_address(peer: SocketAddr) -> AuthId {
        AuthId { scheme: "ip".into(), id: java_host(peer).into() }
    }

    /// Whom no ACL stops.
    fn super_user() -> AuthId {
        AuthId { scheme: "super".into(), id: "".into() }
    }

    /// The user's name, as whoAmI tells it: without the digest.
    #[must_use]
    pub fn user(&self) -> &str {
        if &*self.scheme == "digest" { self.id.split(':').next().unwrap_or_default() } else { &self.id }
    }
}

/// The host of an address as Java writes it: all eight groups of an IPv6 one, with the number of its zone where it has one (no ACL can name
/// such an address), and an IPv4 one as such though it came in on an IPv6 socket.
#[must_use]
pub fn java_host(peer: SocketAddr) -> String {
    match (peer.ip().to_canonical(), peer) {
        (IpAddr::V6(ip), SocketAddr::V6(whole)) => {
            let groups = ip.segments().map(|group| format!("{group:x}")).join(":");
            if whole.scope_id() == 0 { groups } else { format!("{groups}%{}", whole.scope_id()) }
        }
        (ip, _) => ip.to_string(),
    }
}

/// Identities that one connection may gather: more are refused with AuthFailed, so that a client cannot make every check long.
pub const AUTH_IDS_MAX: usize = 64;
/// Bytes of all identities of a connection together.
pub const AUTH_IDS_BYTES_MAX: usize = 64 << 10;
/// Entries of an ACL, as sent and with the caller's identities put in. More are refused: each check of the znode would walk them.
pub const ACL_ENTRIES_MAX: usize = 1_024;
/// Bytes of an ACL with the caller's identities put in, and of all the ACLs in a multi: so that a txn fits into the log whatever a client sends.
pub const ACL_BYTES_MAX: usize = 1 << 20;

/// Which schemes there are, who may log in, and who must. The default is ZooKeeper's.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthRules {
    /// The scheme `digest`; `None`: there is none (`DigestAuthenticationProvider.enabled=false`).
    pub digest: Option<HashName>,
    /// `superDigest`: whose user and password have this digest is the super user.
    pub super_digest: Option<String>,
    /// May ACLs name SASL users? (`authProvider.N` is the `SASLAuthenticationProvider`.)
    pub sasl_acls: bool,
    /// `letAnySaslUserDoX`: what an ACL gives this SASL user, every SASL user has.
    pub sasl_any: Option<String>,
    /// Who may log in with SASL; `None`: nobody is asked, as where Java finds no JAAS section.
    pub sasl_users: Option<SaslUsers>,
    /// `superUser`: SASL users that are the super user.
    pub sasl_super_users: Vec<String>,
    /// `allowSaslFailedClients`: the connection of a client that failed stays open.
    pub sasl_failed_stay: bool,
    /// The names for which a client may take this ensemble: the scheme `ensemble`. `None`: there is no such scheme; empty: any name will do.
    pub ensemble_names: Option<Vec<String>>,
    /// Whoever has none of these schemes is turned away (`enforce.auth.*`, `sessionRequireClientSASLAuth`); empty: nobody is.
    pub required: Vec<String>,
    /// `skipACL`: ACLs are stored, and everything is allowed to everybody.
    pub skip_acl: bool,
}

impl Default for AuthRules {
    fn default() -> AuthRules {
        AuthRules {
            digest: Some(HashName::default()),
            super_digest: None,
            sasl_acls: false,
            sasl_any: None,
            sasl_users: None,
            sasl_super_users: Vec::new(),
            sasl_failed_stay: false,
            ensemble_names: None,
            required: Vec::new(),
            skip_acl: false,
        }
    }
}

impl fmt::Debug for AuthRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Everything but the digest of the super user.
        f.debug_struct("AuthRules")
            .field("digest", &self.digest)
            .field("sasl_acls", &self.sasl_acls)
            .field("sasl_users", &self.sasl_users)
            .field("sasl_super_users", &self.sasl_super_users)
            .field("sasl_failed_stay", &self.sasl_failed_stay)
            .field("ensemble_names", &self.ensemble_names)
            .field("required", &self.required)
            .field("skip_acl", &self.skip_acl)
            .finish_non_exhaustive()
    }
}

/// Why an auth request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The client is told, and its connection closed.
    AuthFailed,
    /// The same, since it has [`AUTH_IDS_MAX`] identities or [`AUTH_IDS_BYTES_MAX`] bytes of them.
    TooManyIds,
    /// The client means another ensemble: its connection is closed without a word, so that it tries another server.
    WrongEnsemble,
}

impl AuthRules {
    /// What an auth request adds to the identities.
    ///
    /// # Errors
    /// [`Refused`] for a scheme that is not known, or one that cannot be proved this way.
    pub fn authenticate(
        &self,
        scheme: Option<&str>,
        auth: Option<&[u8]>,
        peer: SocketAddr,
    ) -> Result<Vec<AuthId>, Refused> {
        if scheme == Some("digest") && auth.is_none() {
            // Java trips over a null token there, and takes that for a failure.
            return Err(Refused::AuthFailed);
        }
        let auth = auth.unwrap_or_default();
        match (scheme, self.digest, &self.ensemble_names) {
            (Some("ip"), ..) => Ok(vec![AuthId::of_address(peer)]),
            (Some("digest"), Some(hash), _) => {
                let digest = digest_id(hash, &String::from_utf8_lossy(auth));
                let is_super =
                    self.super_digest.as_ref().is_some_and(|wanted| wanted.as_bytes().ct_eq(digest.as_bytes()).into());
                let mut ids = Vec::new();
                if is_super {
                    ids.push(AuthId::super_user());
                }
                ids.push(AuthId { scheme: "digest".into(), id: digest.into() });
                Ok(ids)
            }
            (Some("ensemble"), _, Some(names)) => {
                let is_ours = names.iter().any(|name| name.as_bytes() == auth);
                if auth.is_empty() || names.is_empty() || is_ours {
                    Ok(Vec::new())
                } else {
                    Err(Refused::WrongEnsemble)
                }
            }
            _ => Err(Refused::AuthFailed),
        }
    }

    /// The identities of a SASL user.
    #[must_use]
    pub fn sasl_ids(&self, user: &str) -> Vec<AuthId> {
        let mut ids = vec![AuthId { scheme: "sasl".into(), id: user.into() }];
        if self.sasl_super_users.iter().any(|name| name == user) {
            ids.push(AuthId::super_user());
        }
        ids
    }

    /// Whether somebody with `ids` is served at all.
    #[must_use]
    pub fn admits(&self, ids: &[AuthId]) -> bool {
        self.required.is_empty() || ids.iter().any(|id| self.required.iter().any(|scheme| *scheme == *id.scheme))
    }

    /// Must clients use SASL? Then a failed exchange is told by the code for that.
    #[must_use]
    pub fn requires_sasl(&self) -> bool {
        self.required.iter().any(|scheme| scheme == "sasl")
    }

    /// Is there such a scheme? What `enforce.auth.schemes` may name.
    #[must_use]
    pub fn has_scheme(&self, scheme: &str) -> bool {
        match scheme {
            "ip" => true,
            "digest" => self.digest.is_some(),
            "sasl" => self.sasl_acls,
            "ensemble" => self.ensemble_names.is_some(),
            _ => false,
        }
    }

    /// May somebody with `ids` do this to `node`?
    ///
    /// # Errors
    /// [`ErrorCode::NoAuth`] if not.
    pub fn check(&self, node: &Node<'_>, perms: Perms, ids: &[AuthId]) -> Result<(), ErrorCode> {
        if node.acl_id() == AclId::OPEN { Ok(()) } else { self.check_acl(node.acl(), perms, ids) }
    }

    /// May somebody with `ids` do this under `acl`? Any of the permissions asked for is enough.
    ///
    /// # Errors
    /// [`ErrorCode::NoAuth`] if not.
    pub fn check_acl(&self, acl: &[Acl], perms: Perms, ids: &[AuthId]) -> Result<(), ErrorCode> {
        let allowed = self.skip_acl
            || acl.is_empty()
            || ids.iter().any(|id| &*id.scheme == "super")
            || acl.iter().filter(|entry| entry.perms.intersects(perms)).any(|entry| self.matches(entry, ids));
        if allowed { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    fn matches(&self, entry: &Acl, ids: &[AuthId]) -> bool {
        let mut same_scheme = ids.iter().filter(|id| id.scheme == entry.scheme);
        match &*entry.scheme {
            "world" => &*entry.id == "anyone",
            "digest" if self.digest.is_some() => same_scheme.any(|id| id.id == entry.id),
            "sasl" if self.sasl_acls => {
                let is_for_all = self.sasl_any.as_deref() == Some(&*entry.id);
                same_scheme.any(|id| id.id == entry.id || &*id.id == "super" || is_for_all)
            }
            "ip" => {
                let Some(range) = IpRange::parse(&entry.id) else { return false };
                same_scheme.any(|id| ip::parse(&id.id).is_some_and(|ip| range.contains(ip)))
            }
            _ => false,
        }
    }

    /// Does an entry of an ACL with `auth` stand for this identity?
    fn is_authenticated(&self, id: &AuthId) -> bool {
        matches!(&*id.scheme, "digest" | "sasl") && self.has_scheme(&id.scheme)
    }

    /// How the ids of a scheme are checked before an ACL is stored; `None`: ACLs cannot name the scheme.
    fn id_rule(&self, scheme: &str) -> Option<fn(&str) -> bool> {
        match scheme {
            "world" => Some(|id| id == "anyone"),
            "digest" if self.digest.is_some() => Some(is_digest_id),
            "sasl" if self.sasl_acls => Some(is_sasl_id),
            "ip" => Some(|id| IpRange::parse(id).is_some()),
            _ => None,
        }
    }
}

/// `user:password` → `user:base64(hash(user:password))`, as ACLs hold it.
#[must_use]
pub fn digest_id(hash: HashName, user_password: &str) -> String {
    let user = user_password.split(':').next().unwrap_or_default();
    format!("{user}:{}", BASE64.encode(hash.hash(user_password.as_bytes())))
}

/// An ACL that is fit to be stored, in the bytes of a txn and in memory.
#[derive(Debug)]
pub(crate) struct FixedAcl {
    /// The entries.
    pub(crate) acl: Vec<Acl>,
    /// Their bytes, count included, where they differ from what the client sent.
    pub(crate) rewritten: Option<Vec<u8>>,
}

/// Why an ACL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclRefused {
    /// For what is in it: [`ErrorCode::InvalidAcl`]; for a null id [`ErrorCode::MarshallingError`], as in Java.
    Code(ErrorCode),
    /// For its size: [`ErrorCode::InvalidAcl`] too, and the operator is told.
    TooLarge,
}

impl From<ErrorCode> for AclRefused {
    fn from(code: ErrorCode) -> AclRefused {
        AclRefused::Code(code)
    }
}

/// What an entry takes beside its scheme and id.
const ACL_ENTRY_BYTES: usize = 12;

/// Drops entries that are there twice, checks each, and puts the caller's identities in place of `auth`.
///
/// # Errors
/// [`AclRefused`].
pub(crate) fn fix_acl(rules: &AuthRules, sent: &AclVec<'_>, ids: &[AuthId]) -> Result<FixedAcl, AclRefused> {
    if sent.len() > ACL_ENTRIES_MAX {
        return Err(AclRefused::TooLarge);
    }
    if sent.is_empty() {
        return Err(ErrorCode::InvalidAcl.into());
    }
    let entries = without_duplicates(sent)?;
    let mut acl: Vec<Acl> = Vec::with_capacity(entries.len());
    let mut same = entries.len() == sent.len();
    let mut put_in_bytes = 0;
    for entry in entries {
        let scheme = entry.scheme.ok_or(ErrorCode::InvalidAcl)?;
        if scheme == "auth" {
            same = false;
            let before = acl.len();
            for id in ids.iter().filter(|id| rules.is_authenticated(id)) {
                put_in_bytes += id.scheme.len() + id.id.len() + ACL_ENTRY_BYTES;
                if acl.len() >= ACL_ENTRIES_MAX || put_in_bytes > ACL_BYTES_MAX {
                    return Err(AclRefused::TooLarge);
                }
                acl.push(Acl { perms: entry.perms, scheme: id.scheme.clone(), id: id.id.clone() });
            }
            if acl.len() == before {
                return Err(ErrorCode::InvalidAcl.into());
            }
            continue;
        }
        // A scheme that nobody knows is refused before its id is looked at.
        let is_valid = rules.id_rule(scheme).ok_or(ErrorCode::InvalidAcl)?;
        let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
        if !is_valid(id) {
            return Err(ErrorCode::InvalidAcl.into());
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

/// The entries, each once, where it first stood. Java compares permissions, scheme and id in that order, and trips over a null that it has to
/// compare. It does so pair by pair; here each entry is looked up once, since this is the core's time.
fn without_duplicates<'a>(sent: &AclVec<'a>) -> Result<Vec<AclRef<'a>>, ErrorCode> {
    let mut entries: Vec<AclRef<'a>> = Vec::with_capacity(sent.len());
    let mut perms_seen: AHashSet<Perms> = AHashSet::new();
    let mut schemes_seen: AHashSet<(Perms, &str)> = AHashSet::new();
    let mut ids_seen: AHashSet<(Perms, &str, &str)> = AHashSet::new();
    for entry in sent.iter() {
        if perms_seen.contains(&entry.perms) {
            let scheme = entry.scheme.ok_or(ErrorCode::MarshallingError)?;
            if schemes_seen.contains(&(entry.perms, scheme)) {
                let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
                if ids_seen.contains(&(entry.perms, scheme, id)) {
                    continue;
                }
            }
        }
        perms_seen.insert(entry.perms);
        if let Some(scheme) = entry.scheme {
            schemes_seen.insert((entry.perms, scheme));
            if let Some(id) = entry.id {
                ids_seen.insert((entry.perms, scheme, id));
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Two parts around one colon; Java's split forgets empty parts at the end.
fn is_digest_id(id: &str) -> bool {
    let trimmed = id.trim_end_matches(':');
    trimmed.matches(':').count() == 1
}

/// A plain name, or a Kerberos principal: `name@realm` or `name/host@realm`.
fn is_sasl_id(id: &str) -> bool {
    match id.split_once('@') {
        None => true,
        Some((name, realm)) => !realm.contains(['/', '@']) && name.matches('/').count() <= 1,
    }
}

/// Digest ids as somebody without ADMIN sees them in getACL: the digest is hidden.
#[must_use]
pub fn masked(entry: &Acl) -> Acl {
    match (&*entry.scheme, entry.id.split_once(':')) {
        ("digest", Some((user, _))) => Acl { id: format!("{user}:x").into(), ..entry.clone() },
        _ => entry.clone(),
    }
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

    fn fix_by(rules: &AuthRules, acl: &[Acl], ids: &[AuthId]) -> Result<Vec<Acl>, ErrorCode> {
        let mut bytes = Vec::new();
        Acl::write_vec(acl, &mut Writer::new(&mut bytes));
        let sent = AclVec::read(&mut Reader::new(&bytes)).unwrap();
        let fixed = fix_acl(rules, &sent, ids).map_err(|refused| match refused {
            AclRefused::Code(code) => code,
            AclRefused::TooLarge => ErrorCode::InvalidAcl,
        })?;
        if let Some(rewritten) = fixed.rewritten {
            assert_eq!(AclVec::read(&mut Reader::new(&rewritten)).unwrap().to_vec().unwrap(), fixed.acl);
        } else {
            assert_eq!(sent.to_vec().unwrap(), fixed.acl);
        }
        Ok(fixed.acl)
    }

    fn fix(acl: &[Acl], ids: &[AuthId]) -> Result<Vec<Acl>, ErrorCode> {
        fix_by(&AuthRules::default(), acl, ids)
    }

    fn check_acl(acl: &[Acl], perms: Perms, ids: &[AuthId]) -> Result<(), ErrorCode> {
        AuthRules::default().check_acl(acl, perms, ids)
    }

    /// Java's way: each entry beside each one before it.
    fn pair_by_pair<'a>(sent: &AclVec<'a>) -> Result<Vec<AclRef<'a>>, ErrorCode> {
        let mut entries: Vec<AclRef<'a>> = Vec::new();
        'entries: for entry in sent.iter() {
            for before in entries.iter().filter(|before| before.perms == entry.perms) {
                let scheme = entry.scheme.ok_or(ErrorCode::MarshallingError)?;
                if before.scheme == Some(scheme) {
                    let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
                    if before.id == Some(id) {
                        continue 'entries;
                    }
                }
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn duplicates_and_nulls_are_what_they_are_pair_by_pair() {
        const TEXTS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("")];
        let mut outcomes = [0; 3];
        // Every list of up to three entries of 2 permissions, 4 schemes and 4 ids.
        for number in 0..32_u32.pow(3) {
            for len in 1..=3 {
                let mut bytes = Vec::new();
                let mut w = Writer::new(&mut bytes);
                w.length(len);
                let mut code = usize::try_from(number).unwrap();
                for _ in 0..len {
                    w.int(if code % 2 == 0 { 1 } else { 31 });
                    w.string_or_null(TEXTS[code / 2 % 4]);
                    w.string_or_null(TEXTS[code / 8 % 4]);
                    code /= 32;
                }
                let sent = AclVec::read(&mut Reader::new(&bytes)).unwrap();
                let expected = pair_by_pair(&sent);
                assert_eq!(without_duplicates(&sent), expected, "{:?}", sent.iter().collect::<Vec<_>>());
                outcomes[match expected {
                    Err(_) => 0,
                    Ok(entries) if entries.len() == len => 1,
                    Ok(_) => 2,
                }] += 1;
            }
        }
        assert!(outcomes.iter().all(|count| *count > 1_000), "each outcome comes up: {outcomes:?}");
    }

    #[test]
    fn the_documented_digest_of_super_test() {
        // From ZooKeeper's administrator guide.
        assert_eq!(digest_id(HashName::Sha1, "super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
        let rules = AuthRules { super_digest, ..AuthRules::default() };
        let ids = rules.authenticate(Some("digest"), Some(b"super:test"), peer).unwrap();
        assert_eq!(check_acl(&[acl(Perms::READ, "digest", "a:b")], Perms::WRITE, &ids), Ok(()));
        assert_eq!(rules.authenticate(Some("nope"), None, peer), Err(Refused::AuthFailed));
        assert_eq!(rules.authenticate(Some("digest"), Some(b"super:test2"), peer).map(|ids| ids.len()), Ok(1));
        assert_eq!(rules.authenticate(Some("digest"), None, peer), Err(Refused::AuthFailed));
        assert!(rules.authenticate(Some("ip"), None, peer).is_ok());
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_known_by_its_ipv4_address() {
        for (peer, id, ip_acl, expected) in [
            ("[::ffff:10.1.2.3]:5", "10.1.2.3", "10.0.0.0/8", Ok(())),
            ("10.1.2.3:5", "10.1.2.3", "10.1.2.3", Ok(())),
            ("[::1]:5", "0:0:0:0:0:0:0:1", "::1", Ok(())),
            ("[2001:db8::a:0]:5", "2001:db8:0:0:0:0:a:0", "2001:db8::/32", Ok(())),
            // Asked of ZooKeeper 3.9.5: it tells the zone by its number, and cannot read that back.
            ("[fe80::7%3]:5", "fe80:0:0:0:0:0:0:7%3", "fe80::/10", Err(ErrorCode::NoAuth)),
        ] {
            let own = [AuthId::of_address(peer.parse().unwrap())];
            assert_eq!(&*own.first().unwrap().id, id);
            assert_eq!(check_acl(&[acl(Perms::READ, "ip", ip_acl)], Perms::READ, &own), expected, "{peer}");
        }
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

    #[test]
    fn sasl_ids_in_acls_need_the_provider() {
        let bob = [acl(Perms::ALL, "sasl", "bob")];
        let caller = ids(&[("ip", "1.2.3.4"), ("sasl", "bob")]);
        assert_eq!(fix(&bob, &[]), Err(ErrorCode::InvalidAcl));
        assert_eq!(check_acl(&bob, Perms::READ, &caller), Err(ErrorCode::NoAuth));
        let rules = AuthRules { sasl_acls: true, sasl_any: Some("all".into()), ..AuthRules::default() };
        assert_eq!(fix_by(&rules, &bob, &[]).unwrap(), bob);
        assert_eq!(fix_by(&rules, &[acl(Perms::ALL, "auth", "")], &caller).unwrap(), bob);
        let eve = ids(&[("sasl", "eve"), ("digest", "bob")]);
        assert_eq!(rules.check_acl(&bob, Perms::READ, &caller), Ok(()));
        assert_eq!(rules.check_acl(&bob, Perms::READ, &eve), Err(ErrorCode::NoAuth));
        assert_eq!(rules.check_acl(&bob, Perms::READ, &ids(&[("sasl", "super")])), Ok(()));
        assert_eq!(rules.check_acl(&[acl(Perms::READ, "sasl", "all")], Perms::READ, &eve), Ok(()));
        for (id, valid) in [
            ("", true),
            ("a/b", true),
            ("a/b/c", true),
            ("a@b", true),
            ("a/b@c", true),
            ("a/b/c@d", false),
            ("a@b@c", false),
            ("a@b/c", false),
        ] {
            assert_eq!(fix_by(&rules, &[acl(Perms::ALL, "sasl", id)], &[]).is_ok(), valid, "{id}");
        }
    }

    #[test]
    fn a_sasl_super_user_is_named_by_its_whole_name() {
        let rules = AuthRules { sasl_super_users: vec!["root".into()], ..AuthRules::default() };
        assert_eq!(rules.sasl_ids("root"), ids(&[("sasl", "root"), ("super", "")]));
        assert_eq!(rules.sasl_ids("roo"), ids(&[("sasl", "roo")]));
    }

    #[test]
    fn the_digest_scheme_can_be_switched_off_or_hash_otherwise() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let ann = [acl(Perms::ALL, "digest", "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=")];
        let rules = AuthRules { digest: None, ..AuthRules::default() };
        assert_eq!(rules.authenticate(Some("digest"), Some(b"ann:secret"), peer), Err(Refused::AuthFailed));
        assert_eq!(fix_by(&rules, &ann, &[]), Err(ErrorCode::InvalidAcl));
        let caller = AuthRules::default().authenticate(Some("digest"), Some(b"ann:secret"), peer).unwrap();
        assert_eq!(check_acl(&ann, Perms::READ, &caller), Ok(()));
        assert_eq!(rules.check_acl(&ann, Perms::READ, &caller), Err(ErrorCode::NoAuth));
        let rules = AuthRules { digest: Some(HashName::Sha256), ..AuthRules::default() };
        let caller = rules.authenticate(Some("digest"), Some(b"ann:secret"), peer).unwrap();
        assert_eq!(caller, ids(&[("digest", "ann:gW+b8HZum3TwTstGfpl32bPArFr4tjcyRtV13gDSyK0=")]));
    }

    #[test]
    fn a_client_of_another_ensemble_is_sent_away_without_a_word() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let ask = |names: Option<&[&str]>, name: &[u8]| {
            let ensemble_names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            AuthRules { ensemble_names, ..AuthRules::default() }.authenticate(Some("ensemble"), Some(name), peer)
        };
        assert_eq!(ask(None, b"prod"), Err(Refused::AuthFailed));
        assert_eq!(ask(Some(&[]), b"prod"), Ok(Vec::new()));
        assert_eq!(ask(Some(&["prod", "test"]), b"test"), Ok(Vec::new()));
        assert_eq!(ask(Some(&["prod"]), b""), Ok(Vec::new()));
        assert_eq!(ask(Some(&["prod"]), b"test"), Err(Refused::WrongEnsemble));
    }

    #[test]
    fn who_must_authenticate_is_told_by_the_schemes() {
        let rules = AuthRules { required: vec!["sasl".into(), "digest".into()], ..AuthRules::default() };
        assert!(!rules.admits(&ids(&[("ip", "1.2.3.4"), ("super", "")])));
        assert!(rules.admits(&ids(&[("ip", "1.2.3.4"), ("digest", "a:b")])));
        assert!(AuthRules::default().admits(&[]));
    }

    #[test]
    fn with_skip_acl_everybody_may_do_everything_and_acls_must_still_be_well_formed() {
        let rules = AuthRules { skip_acl: true, ..AuthRules::default() };
        assert_eq!(rules.check_acl(&[acl(Perms::READ, "digest", "a:b")], Perms::ADMIN, &[]), Ok(()));
        assert_eq!(fix_by(&rules, &[acl(Perms::READ, "nope", "a")], &[]), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn the_callers_identities_in_an_acl_are_bounded_in_number_and_bytes() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let rules = AuthRules::default();
        let digest = |n: u32| rules.authenticate(Some("digest"), Some(format!("user{n}:x").as_bytes()), peer).unwrap();
        let ids: Vec<AuthId> = (0..64).flat_map(digest).collect();
        let entries = |count: i32| (0..count).map(|perms| acl(Perms(perms), "auth", "")).collect::<Vec<_>>();
        let fix = |sent: &[Acl], ids: &[AuthId]| fix_by(&rules, sent, ids).map(|fixed| fixed.len());
        assert_eq!(fix(&entries(16), &ids), Ok(ACL_ENTRIES_MAX));
        assert_eq!(fix(&entries(17), &ids), Err(ErrorCode::InvalidAcl));
        let many: Vec<Acl> = (0..=1_024).map(|n| acl(Perms::READ, "digest", &format!("u{n}:x"))).collect();
        assert_eq!(fix(&many, &[]), Err(ErrorCode::InvalidAcl));
        let long = [AuthId { scheme: "digest".into(), id: format!("{}:x", "u".repeat(ACL_BYTES_MAX / 3)).into() }];
        assert_eq!((fix(&entries(2), &long), fix(&entries(3), &long)), (Ok(2), Err(ErrorCode::InvalidAcl)));
    }
}
