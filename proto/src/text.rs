//! Text as Java reads it: with U+FFFD in place of whatever is not UTF-8 (`new String(bytes, UTF_8)`).
//!
//! A name that a client made up, in an ACL or in its identities, may hold anything; a Java server keeps what it has read, and we keep the same. It
//! never fails. How many U+FFFD there are counts too: an ACL is compared as a text. The vectors `texts-3.9.5.txt`, read by ZooKeeper's own
//! archive, would catch a mistake.
//!
//! Rust agrees with Java but for surrogates, which are not UTF-8 either: three bytes that would be one, or the first two of them, are one mistake to Java
//! and one each to Rust. Java itself writes them, as the two halves of a character above U+FFFF, so that what one of its servers knows as such a
//! character all others know as two U+FFFD, and it too after a restart.

use std::borrow::Cow;

/// The text that Java sees. It has at most three times the bytes, and is borrowed where nothing had to be replaced.
#[must_use]
pub fn java_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(replaced(bytes)),
    }
}

fn replaced(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(chunk) = rest.utf8_chunks().next() {
        text.push_str(chunk.valid());
        let wrong = rest.get(chunk.valid().len()..).unwrap_or_default();
        if !wrong.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        let wrong_len = match wrong {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            [0xed, 0xa0..=0xbf, ..] => 2,
            _ => chunk.invalid().len(),
        };
        rest = wrong.get(wrong_len..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surrogate_is_one_mistake_whole_or_cut_short() {
        assert_eq!(java_text(b"\xed\xa0\xbd\xed\xb8\x80:x"), "\u{fffd}\u{fffd}:x");
        assert_eq!(java_text(b"\xed\xbf"), "\u{fffd}");
        assert_eq!(java_text(b"\xed\x9f"), "\u{fffd}");
        assert_eq!(java_text(b"\xff\xffa"), "\u{fffd}\u{fffd}a");
        assert!(matches!(java_text("j\u{f6}rg \u{1f600}".as_bytes()), Cow::Borrowed(_)));
    }
}
