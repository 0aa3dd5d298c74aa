//! Kinds of values: what a key allows, how it is read, and how the permitted form is put into words.
//!
//! Pure. Reading is stricter than Java's, which takes every unknown word for `false` and every unparsable number for
//! the default: a typing error must not pass for a setting. Numbers may be decimal or, as ZooKeeper's documents write
//! `jute.maxbuffer`, hexadecimal with `0x`.

use std::fmt;
use std::time::Duration;

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Bool,
    /// `yes` or `no`; `true` and `false` are taken as well.
    YesNo,
    /// A whole number in a closed range.
    Int {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// `auto` or a whole number in a closed range.
    AutoOrInt {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A number in a closed range.
    Float {
        /// Smallest allowed.
        min: f64,
        /// Largest allowed.
        max: f64,
    },
    /// One of a few words, in any case.
    Choice(&'static [&'static str]),
    /// Words separated by commas.
    List,
    /// A path, not empty.
    Path,
    /// A host name or an address, not empty.
    Host,
    /// Any text, not empty.
    Text,
    /// Any text; never shown.
    Secret,
    /// Bytes as a plain number or with `K`, `M`, `G` or `T`, or percent with `%`; 0 switches off.
    BytesOrShare,
    /// Hours as a plain number, or a number with `s`, `m`, `h` or `d`; 0 and negative numbers switch off.
    Interval,
}

/// A value of the kind that its key asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`] and [`Kind::YesNo`].
    Bool(bool),
    /// Of [`Kind::Int`], and of [`Kind::AutoOrInt`] where it is a number.
    Int(i64),
    /// `auto` of [`Kind::AutoOrInt`].
    Auto,
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of [`Kind::Choice`]: the word as the table spells it.
    Word(&'static str),
    /// Of [`Kind::List`].
    List(Vec<String>),
    /// Of [`Kind::Path`], [`Kind::Host`] and [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Secret`].
    Secret(Secret),
    /// Of [`Kind::BytesOrShare`].
    Memory(MemoryMax),
    /// Of [`Kind::Interval`]; `None` is off.
    Interval(Option<Duration>),
}

/// A bound of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryMax {
    /// None.
    Off,
    /// So many bytes.
    Bytes(u64),
    /// So many percent of what there is, 1 to 100.
    Share(u8),
}

/// A password or a digest: it has no `Display`, and its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself: for comparing and hashing, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Kind {
    /// Reads `text`; `None` where the kind does not allow it.
    pub fn read(self, text: &str) -> Option<Value> {
        match self {
            Kind::Bool => read_bool(text, false).map(Value::Bool),
            Kind::YesNo => read_bool(text, true).map(Value::Bool),
            Kind::Int { min, max } => read_int(text, min, max).map(Value::Int),
            Kind::AutoOrInt { .. } if text.eq_ignore_ascii_case("auto") => Some(Value::Auto),
            Kind::AutoOrInt { min, max } => read_int(text, min, max).map(Value::Int),
            Kind::Float { min, max } => text.parse::<f64>().ok().filter(|x| (min..=max).contains(x)).map(Value::Float),
            Kind::Choice(words) => words.iter().find(|w| w.eq_ignore_ascii_case(text)).map(|w| Value::Word(w)),
            Kind::List => Some(Value::List(read_list(text))),
            Kind::Path | Kind::Host | Kind::Text => {
                (!text.is_empty() && !text.contains('\0')).then(|| Value::Text(text.to_owned()))
            }
            Kind::Secret => Some(Value::Secret(Secret::new(text))),
            Kind::BytesOrShare => read_memory(text).map(Value::Memory),
            Kind::Interval => read_interval(text).map(Value::Interval),
        }
    }

    /// What is allowed, as a noun phrase for a message and for the reference page.
    pub fn allowed(self) -> String {
        match self {
            Kind::Bool => "true or false".into(),
            Kind::YesNo => "yes or no".into(),
            Kind::Int { min, max } => int_range(min, max),
            Kind::AutoOrInt { min, max } => format!("auto, or {}", int_range(min, max)),
            Kind::Float { min, max } if max == f64::MAX => format!("a number not below {min}"),
            Kind::Float { min, max } => format!("a number from {min} to {max}"),
            Kind::Choice(words) => {
                let named: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
                let or_nothing = if named.len() < words.len() { ", or nothing" } else { "" };
                format!("one of {}{or_nothing}", named.join(", "))
            }
            Kind::List => "words separated by commas".into(),
            Kind::Path => "a path".into(),
            Kind::Host => "a host name, an IPv4 or an IPv6 address".into(),
            Kind::Text | Kind::Secret => "a text".into(),
            Kind::BytesOrShare => {
                "a number of bytes, plain or with K, M, G or T, or a share from 1% to 100%; 0 switches off".into()
            }
            Kind::Interval => "a whole number of hours, or a number with s, m, h or d; 0 switches off".into(),
        }
    }
}

fn int_range(min: i64, max: i64) -> String {
    if min == max {
        return format!("only {min}");
    }
    format!("a whole number from {min} to {max}")
}

fn read_bool(text: &str, yes_no: bool) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        "yes" if yes_no => Some(true),
        "no" if yes_no => Some(false),
        _ => None,
    }
}

/// Decimal with an optional sign, or `0x` and hexadecimal digits.
fn read_int(text: &str, min: i64, max: i64) -> Option<i64> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.starts_with(['+', '-']) => return None,
        Some(digits) => i64::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    (min..=max).contains(&number).then_some(number)
}

fn read_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn read_memory(text: &str) -> Option<MemoryMax> {
    let digits =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    if let Some(percent) = text.strip_suffix('%') {
        let percent = digits(percent).and_then(|percent| u8::try_from(percent).ok());
        return percent.filter(|percent| (1..=100).contains(percent)).map(MemoryMax::Share);
    }
    let (number, shift) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (text.get(..at)?, 10),
        (at, 'm' | 'M') => (text.get(..at)?, 20),
        (at, 'g' | 'G') => (text.get(..at)?, 30),
        (at, 't' | 'T') => (text.get(..at)?, 40),
        _ => (text, 0),
    };
    let bytes = digits(number)?.checked_mul(1 << shift)?;
    Some(if bytes == 0 { MemoryMax::Off } else { MemoryMax::Bytes(bytes) })
}

fn read_interval(text: &str) -> Option<Option<Duration>> {
    let (digits, unit_s) = match text.char_indices().next_back()? {
        (at, 's') => (text.get(..at)?, 1),
        (at, 'm') => (text.get(..at)?, 60),
        (at, 'h') => (text.get(..at)?, 3_600),
        (at, 'd') => (text.get(..at)?, 86_400),
        _ => (text, 3_600),
    };
    let count: i32 = digits.trim().parse().ok()?;
    let off = Duration::ZERO;
    let interval = u64::try_from(count).map_or(off, |count| Duration::from_secs(count * unit_s));
    Some((interval > off).then_some(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_reads_what_it_says_it_allows() {
        let ms = Kind::Int { min: 1, max: 1_000 };
        let minutes = |n: u64| Some(Value::Interval(Some(Duration::from_secs(60 * n))));
        let table: Vec<(Kind, &str, Option<Value>)> = vec![
            (Kind::Bool, "TRUE", Some(Value::Bool(true))),
            (Kind::Bool, "false", Some(Value::Bool(false))),
            (Kind::Bool, "yes", None),
            (Kind::Bool, "", None),
            (Kind::YesNo, "Yes", Some(Value::Bool(true))),
            (Kind::YesNo, "false", Some(Value::Bool(false))),
            (Kind::YesNo, "on", None),
            (ms, "1", Some(Value::Int(1))),
            (ms, "+7", Some(Value::Int(7))),
            (ms, "0x3e8", Some(Value::Int(1_000))),
            (ms, "0", None),
            (ms, "1001", None),
            (ms, "1.5", None),
            (ms, "1s", None),
            (ms, "0x-1", None),
            (ms, "99999999999999999999", None),
            (ms, "", None),
            (Kind::AutoOrInt { min: 1, max: 4 }, "AUTO", Some(Value::Auto)),
            (Kind::AutoOrInt { min: 1, max: 4 }, "4", Some(Value::Int(4))),
            (Kind::AutoOrInt { min: 1, max: 4 }, "5", None),
            (Kind::Float { min: 0.0, max: 1.0 }, "0.33", Some(Value::Float(0.33))),
            (Kind::Float { min: 0.0, max: 1.0 }, "NaN", None),
            (Kind::Choice(&["auto", "on"]), "On", Some(Value::Word("on"))),
            (Kind::Choice(&["auto", "on"]), "off", None),
            (Kind::List, " a, b ,,c", Some(Value::List(vec!["a".into(), "b".into(), "c".into()]))),
            (Kind::Path, "", None),
            (Kind::Path, "a\0b", None),
            (Kind::BytesOrShare, "80%", Some(Value::Memory(MemoryMax::Share(80)))),
            (Kind::BytesOrShare, "100%", Some(Value::Memory(MemoryMax::Share(100)))),
            (Kind::BytesOrShare, "101%", None),
            (Kind::BytesOrShare, "0%", None),
            (Kind::BytesOrShare, "%", None),
            (Kind::BytesOrShare, "1073741824", Some(Value::Memory(MemoryMax::Bytes(1 << 30)))),
            (Kind::BytesOrShare, "512m", Some(Value::Memory(MemoryMax::Bytes(512 << 20)))),
            (Kind::BytesOrShare, "2G", Some(Value::Memory(MemoryMax::Bytes(2 << 30)))),
            (Kind::BytesOrShare, "0", Some(Value::Memory(MemoryMax::Off))),
            (Kind::BytesOrShare, "0k", Some(Value::Memory(MemoryMax::Off))),
            (Kind::BytesOrShare, "-1", None),
            (Kind::BytesOrShare, "1.5g", None),
            (Kind::BytesOrShare, "g", None),
            (Kind::BytesOrShare, "99999999999t", None),
            (Kind::BytesOrShare, "", None),
            (Kind::Interval, "1", minutes(60)),
            (Kind::Interval, "90m", minutes(90)),
            (Kind::Interval, "2d", minutes(2_880)),
            (Kind::Interval, "0", Some(Value::Interval(None))),
            (Kind::Interval, "-1", Some(Value::Interval(None))),
            (Kind::Interval, "1w", None),
            (Kind::Interval, "h", None),
            (Kind::Interval, "", None),
            (Kind::Interval, "2147483647d", minutes(2_147_483_647 * 1_440)),
        ];
        for (kind, text, expected) in table {
            assert_eq!(kind.read(text), expected, "{kind:?} of {text:?}");
        }
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", Value::Secret(Secret::new("hunter2"))).contains("hunter2"));
    }
}
