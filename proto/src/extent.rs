//! Where a thing ends that arrives in pieces and has no length in front: the packets between servers.
//!
//! A frame of the client protocol says how long it is. Between servers only the parts do, so that one has to walk them to know whether
//! all of it has come. [`Extent`] is that walk, and it decodes on the way. It must never ask for bytes on the word of a length that is
//! above its limit: such a length is refused as soon as it is seen. The tests that feed every prefix of a packet would catch a mistake
//! here.

use crate::jute::{DecodeError, Reader, Result};

/// What the bytes that have come so far hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The whole thing, and how many bytes it takes.
    Whole(T, usize),
    /// Only a part: it takes this many bytes at least, counted from its first. Fewer are not worth another try.
    NeedsBytes(usize),
}

impl<T> Received<T> {
    /// The same with another thing in it.
    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> Result<U>) -> Result<Received<U>> {
        Ok(match self {
            Received::Whole(thing, len) => Received::Whole(with(thing)?, len),
            Received::NeedsBytes(len) => Received::NeedsBytes(len),
        })
    }
}

/// Why a walk ended early.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    NeedsBytes(usize),
    Refused(DecodeError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Stop {
        Stop::Refused(error)
    }
}

/// What a step of a walk gives.
pub(crate) type Step<T> = std::result::Result<T, Stop>;

/// The walk over one thing that begins at the first of some bytes.
#[derive(Debug)]
pub(crate) struct Extent<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Extent<'a> {
    /// Walks `bytes` with `walk`.
    pub(crate) fn of<T>(bytes: &'a [u8], walk: impl FnOnce(&mut Extent<'a>) -> Step<T>) -> Result<Received<T>> {
        let mut extent = Extent { bytes, at: 0 };
        match walk(&mut extent) {
            Ok(thing) => Ok(Received::Whole(thing, extent.at)),
            Err(Stop::NeedsBytes(len)) => Ok(Received::NeedsBytes(len)),
            Err(Stop::Refused(error)) => Err(error),
        }
    }

    /// How far it has come.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// What was walked over since `start`.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let end = self.at.saturating_add(len);
        let taken = self.bytes.get(self.at..end).ok_or(Stop::NeedsBytes(end))?;
        self.at = end;
        Ok(taken)
    }

    /// A record of a fixed count of bytes.
    pub(crate) fn fixed<T>(&mut self, len: usize, read: impl FnOnce(&mut Reader<'a>) -> Result<T>) -> Step<T> {
        Ok(read(&mut Reader::new(self.take(len)?))?)
    }

    pub(crate) fn int(&mut self) -> Step<i32> {
        self.fixed(4, Reader::int)
    }

    pub(crate) fn long(&mut self) -> Step<i64> {
        self.fixed(8, Reader::long)
    }

    /// A buffer of at most `bytes_max`; `None` for null.
    pub(crate) fn buffer(&mut self, bytes_max: usize) -> Step<Option<&'a [u8]>> {
        match self.int()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| DecodeError::NegativeLength)?;
                if len > bytes_max {
                    return Err(DecodeError::LengthOutOfBounds.into());
                }
                self.take(len).map(Some)
            }
        }
    }

    /// A string of at most `bytes_max`, not null.
    pub(crate) fn string(&mut self, bytes_max: usize) -> Step<&'a str> {
        let bytes = self.buffer(bytes_max)?.ok_or(DecodeError::UnexpectedNull)?;
        Ok(std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)?)
    }

    /// The elements of a vector, each walked over by `element`, which together take at most `bytes_max`; `None` for null. A count below
    /// -1 is an empty vector, as for [`Reader::count`]. Nothing is allocated for the count.
    pub(crate) fn elements(
        &mut self,
        bytes_max: usize,
        mut element: impl FnMut(&mut Extent<'a>) -> Step<()>,
    ) -> Step<Option<(usize, &'a [u8])>> {
        let count = match self.int()? {
            -1 => return Ok(None),
            count => usize::try_from(count).unwrap_or(0),
        };
        let start = self.at;
        for _ in 0..count {
            element(self)?;
            if self.at - start > bytes_max {
                return Err(DecodeError::LengthOutOfBounds.into());
            }
        }
        Ok(Some((count, self.since(start))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_come() {
        let six = [0, 0, 0, 6];
        assert_eq!(Extent::of(&six, |e| e.buffer(6)), Ok(Received::NeedsBytes(10)));
        assert_eq!(Extent::of(&six, |e| e.buffer(5)), Err(DecodeError::LengthOutOfBounds));
        assert_eq!(Extent::of(&[0xff, 0xff, 0xff, 0xfe], |e| e.buffer(5)), Err(DecodeError::NegativeLength));
    }

    #[test]
    fn a_vector_is_bounded_by_its_bytes_whatever_its_count() {
        let ints = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 2];
        let walk = |bytes, max| Extent::of(bytes, |e| e.elements(max, |e| e.int().map(drop)));
        assert_eq!(walk(&ints, 8), Ok(Received::NeedsBytes(16)));
        assert_eq!(walk(&ints, 7), Err(DecodeError::LengthOutOfBounds));
        assert_eq!(walk(&[0, 0, 0, 1, 0, 0, 0, 9, 7], 8), Ok(Received::Whole(Some((1, &[0u8, 0, 0, 9][..])), 8)));
    }
}
