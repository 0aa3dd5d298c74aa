//! How zxids, sessions, points in time, types and sizes are read from a command line and shown.
//!
//! Owns these spellings, so that what one command prints another takes. They fail with a sentence for the command line; the tests below would catch
//! a mistake.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::{OpCode, SessionId, Zxid};

/// A zxid: `0x` and hexadecimal digits, or decimal.
pub(crate) fn parse_zxid(text: &str) -> Result<Zxid, String> {
    parse_number(text).map(Zxid)
}

/// A session: `0x` and hexadecimal digits, or decimal.
pub(crate) fn parse_session(text: &str) -> Result<SessionId, String> {
    match text.parse() {
        Ok(signed) => Ok(SessionId(signed)),
        Err(_) => parse_number(text).map(|number| SessionId(number.cast_signed())),
    }
}

fn parse_number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a number such as 0x1000001f4 or 500".to_owned())
}

/// A point in time, in ms since 1970: RFC 3339 (in UTC where it names no zone), a number of ms since 1970, or how long ago, as `15m` or `2h`.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(time_ms) = text.parse() {
        return Ok(time_ms);
    }
    let ago = || humantime::parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    let at = humantime::parse_rfc3339_weak(text).ok().or_else(ago);
    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .ok_or_else(|| "expected a time such as 2026-11-21T14:30:00Z, ms since 1970, or how long ago: 15m".to_owned())
}

/// A txn's type by its name, in any case.
pub(crate) fn parse_type(text: &str) -> Result<OpCode, String> {
    let found = OpCode::ALL.iter().find(|op| is_txn(**op) && type_name(**op).eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| {
        let names: Vec<String> = OpCode::ALL.iter().filter(|op| is_txn(**op)).map(|op| type_name(*op)).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn is_txn(op: OpCode) -> bool {
    op.is_write() || matches!(op, OpCode::Error | OpCode::Check | OpCode::DeleteContainer)
}

/// A txn's type as ZooKeeper spells it.
pub(crate) fn type_name(op: OpCode) -> String {
    match op {
        OpCode::CreateTtl => "createTTL".to_owned(),
        OpCode::SetAcl => "setACL".to_owned(),
        other => {
            let mut letters = other.name().chars();
            letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
        }
    }
}

/// A point in time, in UTC; the bare number where it is no time.
pub(crate) fn show_time(time_ms: i64) -> String {
    let since = u64::try_from(time_ms).ok().map(Duration::from_millis);
    // Past the year 9999 the library has no spelling.
    match since.filter(|since| since.as_secs() < 253_402_300_800).and_then(|since| UNIX_EPOCH.checked_add(since)) {
        Some(at) => humantime::format_rfc3339_millis(at).to_string(),
        None => format!("{time_ms} ms"),
    }
}

/// A number of bytes, in the largest unit of which there is one.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match UNITS.iter().find(|(_, shift)| bytes >> shift > 0) {
        None => format!("{bytes} B"),
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_hexadecimal_or_decimal() {
        assert_eq!(parse_zxid("0x1000001f4"), Ok(Zxid(0x1_0000_01f4)));
        assert_eq!(parse_zxid("500"), Ok(Zxid(500)));
        assert!(parse_zxid("1f4").is_err() && parse_zxid("").is_err() && parse_zxid("-1").is_err());
        assert_eq!(parse_session("0xffffffffffffffff"), Ok(SessionId(-1)));
        assert_eq!(parse_session("-1"), Ok(SessionId(-1)));
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for time_ms in [0, 1, 1_700_000_000_123, 253_402_300_799_999] {
            assert_eq!(parse_time(&show_time(time_ms)), Ok(time_ms));
        }
        assert_eq!(parse_time("1970-01-01 00:00:01"), Ok(1000));
        assert_eq!(show_time(-1), "-1 ms");
        assert_eq!(show_time(i64::MAX), format!("{} ms", i64::MAX));
        assert!(parse_time("15m").is_ok_and(|at| at > 1_700_000_000_000));
        assert!(parse_time("yesterday").is_err());
        for op in OpCode::ALL.iter().filter(|op| is_txn(**op)) {
            assert_eq!(parse_type(&type_name(*op)), Ok(*op));
        }
        assert_eq!(parse_type("CREATEttl"), Ok(OpCode::CreateTtl));
        assert!(parse_type("getData").is_err_and(|words| words.contains("createTTL")));
    }

    #[test]
    fn bytes_have_units() {
        let shown = [0, 1023, 1024, 1536, 1 << 20, (5 << 30) + (1 << 29), u64::MAX].map(show_bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.5 GiB", "16777215.9 TiB"]);
    }
}
