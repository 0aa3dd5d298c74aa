//! An ACL as a client sends it, made fit to be stored: `PrepRequestProcessor.fixupACL` of 3.9.5.
//!
//! Owns what becomes of duplicates, nulls and `auth`, and the bounds of what is stored. It must never store an entry whose scheme could not be
//! checked later. It fails with [`AclRefused`]; `tests.rs` beside it holds it.

use super::{ACL_BYTES_MAX, ACL_ENTRIES_MAX, AuthId, AuthRules};
use ahash::AHashSet;
use proto::{Acl, AclRef, AclVec, ErrorCode, Perms, Writer};

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
        let is_replaced = entry.is_replaced();
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
        let is_valid = rules.id_rule(&scheme).ok_or(ErrorCode::InvalidAcl)?;
        let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
        if !is_valid(&id) {
            return Err(ErrorCode::InvalidAcl.into());
        }
        // U+FFFD may take three times the bytes that it stands for.
        if is_replaced {
            same = false;
            put_in_bytes += scheme.len() + id.len() + ACL_ENTRY_BYTES;
            if put_in_bytes > ACL_BYTES_MAX {
                return Err(AclRefused::TooLarge);
            }
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
pub(super) fn without_duplicates<'a>(sent: &AclVec<'a>) -> Result<Vec<AclRef<'a>>, ErrorCode> {
    let all: Vec<AclRef<'a>> = sent.iter().collect();
    let mut is_first = Vec::with_capacity(all.len());
    let mut perms_seen: AHashSet<Perms> = AHashSet::new();
    let mut schemes_seen: AHashSet<(Perms, &str)> = AHashSet::new();
    let mut ids_seen: AHashSet<(Perms, &str, &str)> = AHashSet::new();
    for AclRef { perms, scheme, id } in &all {
        let (scheme, id) = (scheme.as_deref(), id.as_deref());
        let mut is_known = perms_seen.contains(perms);
        if is_known {
            let scheme = scheme.ok_or(ErrorCode::MarshallingError)?;
            is_known = schemes_seen.contains(&(*perms, scheme));
            if is_known {
                is_known = ids_seen.contains(&(*perms, scheme, id.ok_or(ErrorCode::MarshallingError)?));
            }
        }
        is_first.push(!is_known);
        perms_seen.insert(*perms);
        if let Some(scheme) = scheme {
            schemes_seen.insert((*perms, scheme));
            if let Some(id) = id {
                ids_seen.insert((*perms, scheme, id));
            }
        }
    }
    Ok(all.into_iter().zip(is_first).filter_map(|(entry, is_first)| is_first.then_some(entry)).collect())
}
