//! Which txns are wanted. The conditions hold together; each is open where it is not given.

use clap::Args;
use proto::txn::{Txn, TxnRecord};
use proto::{OpCode, SessionId, Zxid};

use crate::units::{parse_session, parse_time, parse_type, parse_zxid};

/// The conditions, as they stand on the command line.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Not before this zxid
    #[arg(long, value_name = "ZXID", value_parser = parse_zxid)]
    from: Option<Zxid>,
    /// Not after this zxid
    #[arg(long, value_name = "ZXID", value_parser = parse_zxid)]
    to: Option<Zxid>,
    /// Not before this time: 2026-11-21T14:30:00Z, ms since 1970, or how long ago: 15m
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,
    /// Not after this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,
    /// Of this session
    #[arg(long, value_name = "ID", value_parser = parse_session)]
    session: Option<SessionId>,
    /// About this znode or one below it; a multi if one of its operations is
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Of this type; a multi if one of its operations is
    #[arg(long = "type", value_name = "NAME", value_parser = parse_type)]
    op: Option<OpCode>,
}

impl Filter {
    /// Everything wanted comes after this zxid.
    pub(crate) fn after(&self) -> Zxid {
        Zxid(self.from.map_or(0, |from| from.0.saturating_sub(1)))
    }

    /// Whether nothing that follows this zxid is wanted.
    pub(crate) fn ends_before(&self, zxid: Zxid) -> bool {
        self.to.is_some_and(|to| zxid > to)
    }

    /// Whether this txn, which comes after [`Filter::after`], is wanted.
    pub(crate) fn takes(&self, record: &TxnRecord<'_>) -> bool {
        let header = &record.header;
        !self.ends_before(header.zxid)
            && self.since.is_none_or(|since| header.time_ms >= since)
            && self.until.is_none_or(|until| header.time_ms <= until)
            && self.session.is_none_or(|session| header.session == session)
            && self.op.is_none_or(|op| header.op == op || parts(&record.txn).any(|part| part.op() == op))
            && self.path.as_deref().is_none_or(|prefix| paths(&record.txn).any(|path| is_below(path, prefix)))
    }
}

/// A txn's operations: itself, unless it is a multi.
pub(crate) fn parts<'t, 'a>(txn: &'t Txn<'a>) -> impl Iterator<Item = &'t Txn<'a>> {
    match txn {
        Txn::Multi(parts) => parts.iter(),
        single => std::slice::from_ref(single).iter(),
    }
}

/// The paths that a txn is about; the end of a session is about its ephemerals.
pub(crate) fn paths<'t, 'a>(txn: &'t Txn<'a>) -> impl Iterator<Item = &'a str> + 't {
    parts(txn).flat_map(|part| {
        let (own, ended) = match part {
            Txn::Create(create) => (Some(create.path), None),
            Txn::Delete { path, .. }
            | Txn::SetData { path, .. }
            | Txn::SetAcl { path, .. }
            | Txn::Check { path, .. } => (Some(*path), None),
            Txn::CloseSession(paths) => (None, *paths),
            Txn::CreateSession { .. } | Txn::Error(_) | Txn::Multi(_) => (None, None),
        };
        own.into_iter().chain(ended.into_iter().flat_map(|paths| paths.iter()))
    })
}

/// Whether `path` is `prefix` or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_prefix_ends_where_a_name_ends() {
        for (path, prefix) in [("/a", "/a"), ("/a/b", "/a"), ("/a/b", "/a/"), ("/a", "/"), ("/", "/")] {
            assert!(is_below(path, prefix), "{path} {prefix}");
        }
        for (path, prefix) in [("/ab", "/a"), ("/a", "/a/b"), ("/b", "/a")] {
            assert!(!is_below(path, prefix), "{path} {prefix}");
        }
    }
}
