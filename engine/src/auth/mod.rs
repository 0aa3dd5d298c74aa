//! Identities of a connection, and what an ACL allows them: the schemes `world`, `auth`, `digest`, `ip`, `sasl`, `ensemble` and the super user.
//!
//! Owns the rules that the configuration gives ([`AuthRules`]). Mirrors `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`,
//! `AuthenticationHelper` and the providers of 3.9.5; as there, a scheme whose provider is not loaded is unknown in ACLs too. It never does
//! I/O and never waits. It fails with [`ErrorCode::NoAuth`], [`ErrorCode::InvalidAcl`] and [`ErrorCode::AuthFailed`]; `tests.rs` beside it,
//! `tests/tests/sasl.rs` and the Java and kazoo suites hold it.

mod fix;
mod hash;
mod ip;

pub(crate) use fix::{AclRefused, FixedAcl, fix_acl};
pub use hash::HashName;

use crate::sasl::SaslUsers;
use crate::tree::{AclId, Node};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ip::IpRange;
use proto::{Acl, ErrorCode, Perms, java_text};
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
                let digest = digest_id(hash, &java_text(auth));
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
mod tests;
