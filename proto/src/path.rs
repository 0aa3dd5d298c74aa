//! The rules of znode paths (`PathUtils`, 3.9).
//!
//! Java walks UTF-16 code units: a character outside the basic plane is a pair of surrogates, which lie in the forbidden range, so
//! here every character from U+10000 on is refused.

use std::fmt;

/// Why a path is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It has no character.
    Empty,
    /// It does not start with `/`.
    NotAbsolute,
    /// It ends with `/` and is not the root.
    TrailingSlash,
    /// Two slashes in a row.
    EmptyName,
    /// A component `.` or `..`.
    Relative,
    /// A character that no path may have.
    InvalidCharacter,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Empty => "the path is empty",
            PathError::NotAbsolute => "the path does not start with /",
            PathError::TrailingSlash => "the path ends with /",
            PathError::EmptyName => "the path has an empty component",
            PathError::Relative => "the path has a relative component",
            PathError::InvalidCharacter => "the path has a character that is not allowed",
        })
    }
}

impl std::error::Error for PathError {}

/// Checks a path as a client or server does before it creates or changes a znode.
///
/// # Errors
/// The first rule that it breaks.
pub fn validate(path: &str) -> Result<(), PathError> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(if path.is_empty() { PathError::Empty } else { PathError::NotAbsolute });
    };
    if rest.is_empty() {
        return Ok(());
    }
    if rest.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    for name in rest.split('/') {
        match name {
            "" => return Err(PathError::EmptyName),
            "." | ".." => return Err(PathError::Relative),
            _ => {}
        }
        // Bytes of plain ASCII take the short way.
        let plain = name.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !plain && name.chars().any(is_forbidden) {
            return Err(PathError::InvalidCharacter);
        }
    }
    Ok(())
}

const fn is_forbidden(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{d7ff}'..='\u{f8ff}' | '\u{fff0}'..) && c != '\u{d7ff}'
}

/// The parent's path and the last name: `/a/b` → (`/a`, `b`), `/a` → (`/`, `a`). `None` for the root and for what has no slash.
#[must_use]
pub fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    if name.is_empty() && parent.is_empty() {
        return None;
    }
    Some((if parent.is_empty() { "/" } else { parent }, name))
}

/// `/a` and everything below `/a/…` is within `/a`; everything is within `/`.
#[must_use]
pub fn is_within(path: &str, ancestor: &str) -> bool {
    if ancestor == "/" {
        return true;
    }
    match path.strip_prefix(ancestor) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The paths of all ancestors and the path itself, longest first, ending with `/`.
pub fn self_and_ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let current = next?;
        next = split(current).map(|(parent, _)| parent);
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_paths() {
        for path in ["/", "/a", "/a/b.c", "/...", "/.a", "/a..", "/ü", "/a b", "/\u{d7ff}", "/\u{f900}", "/\u{ffef}"] {
            assert_eq!(validate(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn bad_paths() {
        for (path, why) in [
            ("", PathError::Empty),
            ("a", PathError::NotAbsolute),
            ("/a/", PathError::TrailingSlash),
            ("//", PathError::TrailingSlash),
            ("//a", PathError::EmptyName),
            ("/a//b", PathError::EmptyName),
            ("/.", PathError::Relative),
            ("/a/../b", PathError::Relative),
            ("/a/..", PathError::Relative),
            ("/a\0b", PathError::InvalidCharacter),
            ("/a\u{1}", PathError::InvalidCharacter),
            ("/\u{7f}", PathError::InvalidCharacter),
            ("/\u{9f}", PathError::InvalidCharacter),
            ("/\u{e000}", PathError::InvalidCharacter),
            ("/\u{f8ff}", PathError::InvalidCharacter),
            ("/\u{fff0}", PathError::InvalidCharacter),
            ("/\u{1f600}", PathError::InvalidCharacter),
        ] {
            assert_eq!(validate(path), Err(why), "{path:?}");
        }
    }

    #[test]
    fn splitting_and_ancestry() {
        assert_eq!(split("/"), None);
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(self_and_ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(self_and_ancestors("/").collect::<Vec<_>>(), ["/"]);
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", "/"));
        assert!(!is_within("/ab", "/a"));
    }
}
