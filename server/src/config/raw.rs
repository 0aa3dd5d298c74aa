//! The configuration as written: one entry per logical line, with the place it stands at.
//!
//! Owns the syntax of `java.util.Properties` (comments, separators, continuation, escapes), which `zoo.cfg`, the
//! dynamic configuration file and nothing else use. Knows no key and no meaning. Key and value are trimmed as
//! ZooKeeper trims them (`String.trim`: everything up to U+0020 at both ends).
//!
//! One difference, on purpose: Java reads the bytes as ISO 8859-1. We read UTF-8 where the bytes are valid UTF-8, so
//! that a path with an umlaut names the file that the operator meant, and ISO 8859-1 otherwise.
//!
//! Fails only on a malformed `\uXXXX` escape, on which Java fails too. The property test
//! `parsing_any_bytes_never_panics` and the table `syntax_follows_java_properties` would catch a mistake.

use std::path::Path;
use std::sync::Arc;

use super::diagnostics::{ConfigError, Origin};

/// A parsed file, or the properties of a command line: what was written, in order, duplicates included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawConfig {
    /// Entries in the order in which they were written.
    pub entries: Vec<RawEntry>,
}

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// Unescaped and trimmed.
    pub key: String,
    /// Unescaped and trimmed; may be empty.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

impl RawConfig {
    /// Parses the bytes of a properties file. Malformed escapes go to `errors`, one per line; that line is left out.
    pub fn parse(path: &Path, bytes: &[u8], errors: &mut Vec<ConfigError>) -> Self {
        let text = decode(bytes);
        let path: Arc<Path> = Arc::from(path);
        let mut entries = Vec::new();
        for line in logical_lines(&text) {
            let origin = Origin::File { path: Arc::clone(&path), line: line.number };
            let (key, value) = split_entry(&line.text);
            match (unescape(key), unescape(value)) {
                (Ok(key), Ok(value)) => {
                    entries.push(RawEntry { key: trim(&key).into(), value: trim(&value).into(), origin });
                }
                (Err(escape), _) | (_, Err(escape)) => errors.push(ConfigError::BadEscape { origin, escape: escape.0 }),
            }
        }
        RawConfig { entries }
    }

    /// Adds one entry.
    pub fn push(&mut self, key: &str, value: &str, origin: Origin) {
        self.entries.push(RawEntry { key: trim(key).into(), value: trim(value).into(), origin });
    }
}

/// A line after continuation lines were joined to it; `number` is that of its first line, counted from 1.
struct LogicalLine {
    number: u32,
    text: String,
}

/// The text of a malformed escape.
struct BadEscape(String);

/// UTF-8 where valid, ISO 8859-1 otherwise.
fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// `java.lang.String.trim`.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Splits at `\n`, `\r` and `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let Some((line, tail)) = current.split_once(['\n', '\r']) else {
            rest = None;
            return Some(current);
        };
        let ended_by_return = current.as_bytes().get(line.len()) == Some(&b'\r');
        rest = Some(if ended_by_return { tail.strip_prefix('\n').unwrap_or(tail) } else { tail });
        Some(line)
    })
}

/// Joins continued lines and leaves out blank lines and comments. A comment is one only at the start of a logical
/// line, and is never continued; a blank line ends a continuation.
fn logical_lines(text: &str) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    let mut open: Option<LogicalLine> = None;
    for (number, natural) in (1_u32..).zip(natural_lines(text)) {
        let content = natural.trim_start_matches(is_blank);
        if open.is_none() && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = content.chars().rev().take_while(|c| *c == '\\').count();
        let continued = backslashes % 2 == 1;
        let content = if continued { content.strip_suffix('\\').unwrap_or(content) } else { content };
        let mut line = open.take().unwrap_or(LogicalLine { number, text: String::new() });
        line.text.push_str(content);
        if continued {
            open = Some(line);
        } else {
            lines.push(line);
        }
    }
    lines.extend(open);
    lines.retain(|line| !line.text.is_empty());
    lines
}

/// Splits a logical line at its first separator that is not escaped: `=`, `:` or blanks, and one `=` or `:` among
/// the blanks.
fn split_entry(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends_key = !escaped && (matches!(c, '=' | ':') || is_blank(*c));
        escaped = !escaped && *c == '\\';
        ends_key
    });
    let Some((key, rest)) = end.and_then(|(at, _)| line.split_at_checked(at)) else {
        return (line, "");
    };
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

/// Resolves `\t \n \r \f \uXXXX`; before any other character the backslash is dropped. Two `\u` escapes that form a
/// surrogate pair are one character; a surrogate alone is malformed (Java keeps it, but no file name can hold it).
fn unescape(text: &str) -> Result<String, BadEscape> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => out.push(unicode_escape(&mut chars)?),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

/// Reads what follows `\u`.
fn unicode_escape(chars: &mut std::str::Chars<'_>) -> Result<char, BadEscape> {
    let (high, mut written) = hex_unit(chars, "\\u".into())?;
    if let Some(c) = char::from_u32(high) {
        return Ok(c);
    }
    let mut ahead = chars.clone();
    if ahead.next() == Some('\\') && ahead.next() == Some('u') {
        written.push_str("\\u");
        let (low, written) = hex_unit(&mut ahead, written)?;
        *chars = ahead;
        return combine(high, low).ok_or(BadEscape(written));
    }
    Err(BadEscape(written))
}

/// Reads four hexadecimal digits; `written` collects the escape for the message.
fn hex_unit(chars: &mut std::str::Chars<'_>, mut written: String) -> Result<(u32, String), BadEscape> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().inspect(|c| written.push(*c)).and_then(|c| c.to_digit(16));
        let Some(digit) = digit else { return Err(BadEscape(written)) };
        unit = unit * 16 + digit;
    }
    Ok((unit, written))
}

fn combine(high: u32, low: u32) -> Option<char> {
    let units = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
    let mut decoded = char::decode_utf16(units);
    let c = decoded.next()?.ok()?;
    decoded.next().is_none().then_some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        let raw = RawConfig::parse(Path::new("t.cfg"), text.as_bytes(), &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        raw.entries.into_iter().map(|e| (e.key, e.value)).collect()
    }

    #[test]
    fn syntax_follows_java_properties() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("# c\n! c\n\n   # c\n", &[]),
            ("a=b", &[("a", "b")]),
            ("a:b", &[("a", "b")]),
            ("a b", &[("a", "b")]),
            ("a \t= b", &[("a", "b")]),
            ("a : = b", &[("a", "= b")]),
            ("a==b", &[("a", "=b")]),
            ("a", &[("a", "")]),
            ("  a = b  ", &[("a", "b")]),
            ("a=b # not a comment", &[("a", "b # not a comment")]),
            ("a=b\\\n   c", &[("a", "bc")]),
            ("a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]),
            ("a=b\\\n# part of the value", &[("a", "b# part of the value")]),
            ("# no continuation \\\na=b", &[("a", "b")]),
            ("a=b\\\n\nc=d", &[("a", "b"), ("c", "d")]),
            ("a=b\r\nc=d\re=f", &[("a", "b"), ("c", "d"), ("e", "f")]),
            ("a\\=b=c", &[("a=b", "c")]),
            ("a\\ b=c", &[("a b", "c")]),
            ("a=\\u0041\\t\\q", &[("a", "A\tq")]),
            ("a=\\uD83D\\uDE00", &[("a", "😀")]),
            ("a=b\\", &[("a", "b")]),
            ("=b", &[("", "b")]),
            ("server.1=h:1:2;3", &[("server.1", "h:1:2;3")]),
            ("\u{feff}a=b", &[("a", "b")]),
        ];
        for (text, expected) in table {
            let expected: Vec<(String, String)> = expected.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            assert_eq!(pairs(text), expected, "for {text:?}");
        }
    }

    #[test]
    fn an_entry_knows_the_first_line_of_its_logical_line() {
        let raw = RawConfig::parse(Path::new("t.cfg"), b"# x\r\n\r\na=1\\\r\n 2\r\nb=3", &mut Vec::new());
        let at: Vec<String> = raw.entries.iter().map(|e| e.origin.to_string()).collect();
        assert_eq!(at, ["t.cfg:3", "t.cfg:5"]);
    }

    #[test]
    fn a_malformed_escape_is_an_error_with_its_line_and_the_rest_still_parses() {
        for bad in ["\\u12", "\\u12g4", "\\uD83D", "\\uD83Dx", "\\uDE00", "\\uD83D\\u0041"] {
            let mut errors = Vec::new();
            let text = format!("x=1\na={bad}\nb=2");
            let raw = RawConfig::parse(Path::new("t.cfg"), text.as_bytes(), &mut errors);
            assert_eq!(raw.entries.len(), 2, "{bad}");
            assert!(
                matches!(errors.as_slice(), [ConfigError::BadEscape { origin, .. }] if origin.to_string() == "t.cfg:2")
            );
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_read_as_latin1() {
        let raw = RawConfig::parse(Path::new("t.cfg"), b"dataDir=/d\xe4ta", &mut Vec::new());
        assert_eq!(raw.entries.first().map(|e| e.value.as_str()), Some("/däta"));
    }
}
