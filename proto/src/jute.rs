//! Jute's binary archive: big-endian integers, length-prefixed buffers and strings, counted vectors.
//!
//! | type | bytes |
//! |---|---|
//! | int, long | 4, 8, big-endian |
//! | boolean | 1; any value but 0 is true |
//! | buffer, ustring | int length, then the bytes; length -1 is null |
//! | vector | int count, then the elements; count -1 is null, any other negative one is an empty vector |
//!
//! **Deliberately stricter than Java**, which answers these later or not at all:
//! - A string must be UTF-8, else the request is refused with MarshallingError. Java decodes it with U+FFFD in place of what it does
//!   not understand, and goes on with a string that the client did not send: a path then fails with BadArguments or NoNode. Scheme and id of an
//!   ACL are stored, and are read as Java reads them ([`Reader::text_or_null`]). Java also *writes* characters from U+10000 on as two surrogates of three
//!   bytes each, which is not UTF-8 and which it does not read back itself: such an id in a Java server's txn, snapshot or reply has U+FFFD
//!   for everybody else. We write UTF-8.
//! - Lengths are bounded by the frame, not by `jute.maxbuffer`, which bounds the frame itself.

use std::borrow::Cow;
use std::fmt;

use crate::text::java_text;

/// Why bytes are not the record that was expected. Never carries the bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The frame ends before the record does.
    Truncated,
    /// A length below -1.
    NegativeLength,
    /// A string that is not UTF-8.
    NotUtf8,
    /// A null where the record cannot have one.
    UnexpectedNull,
    /// A create inside a multi without an ACL list: Java trips over it before it has a zxid.
    NullAcl,
    /// A vector announces more elements than the rest of the frame can hold.
    CountTooLarge,
    /// An operation of a multi that is not allowed there, or a mixture of reads and writes.
    InvalidMultiOp,
    /// A txn type that no server logs.
    UnknownTxnType(i32),
    /// A create flag that is none of ZooKeeper's.
    InvalidCreateMode,
    /// A length between servers that is above its named limit, or an empty message where none may be.
    LengthOutOfBounds,
    /// A packet between servers of a type that its sender never sends.
    UnknownPacketType(i32),
    /// An election message with a state that is none of ZooKeeper's four.
    UnknownServerState(i32),
    /// An election connection that begins with neither a server's id nor a known version.
    UnknownElectionVersion(i64),
    /// An election address that is not `host:port`.
    InvalidAddress,
    /// A leader's snapshot that does not end with its signature.
    NoSignature,
    /// An authentication between servers that goes on with something else.
    NoAuthPacket,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated => f.write_str("the record is cut short"),
            DecodeError::NegativeLength => f.write_str("a length is below -1"),
            DecodeError::NotUtf8 => f.write_str("a string is not UTF-8"),
            DecodeError::UnexpectedNull => f.write_str("a field is null that cannot be"),
            DecodeError::NullAcl => f.write_str("an ACL is null that cannot be"),
            DecodeError::CountTooLarge => f.write_str("a vector is longer than its frame"),
            DecodeError::InvalidMultiOp => f.write_str("an operation is not allowed in this multi"),
            DecodeError::UnknownTxnType(ty) => write!(f, "txn type {ty} is unknown"),
            DecodeError::InvalidCreateMode => f.write_str("a create flag is unknown"),
            DecodeError::LengthOutOfBounds => f.write_str("a length is out of its bounds"),
            DecodeError::UnknownPacketType(ty) => write!(f, "packet type {ty} is unknown here"),
            DecodeError::UnknownServerState(state) => write!(f, "server state {state} is unknown"),
            DecodeError::UnknownElectionVersion(version) => write!(f, "election protocol version {version} is unknown"),
            DecodeError::InvalidAddress => f.write_str("an address is not host:port"),
            DecodeError::NoSignature => f.write_str("the snapshot's signature is missing"),
            DecodeError::NoAuthPacket => f.write_str("an authentication packet lacks its magic number"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, DecodeError>;

/// Reads records from a frame, borrowing from it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Has everything been read?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn byte(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// A boolean: any value but 0 is true, as in Java's `DataInput.readBoolean`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.byte()? != 0)
    }

    /// A 32-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A 64-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A length or count; `None` for null.
    fn length(&mut self) -> Result<Option<usize>> {
        match self.int()? {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| DecodeError::NegativeLength),
        }
    }

    /// A buffer; `None` for null.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::NegativeLength`].
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>> {
        match self.length()? {
            None => Ok(None),
            Some(len) => self.take(len).map(Some),
        }
    }

    /// A string; `None` for null.
    ///
    /// # Errors
    /// As [`Reader::buffer`], and [`DecodeError::NotUtf8`].
    pub fn string_or_null(&mut self) -> Result<Option<&'a str>> {
        match self.buffer()? {
            None => Ok(None),
            Some(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::NotUtf8),
        }
    }

    /// A string with U+FFFD in place of what is not UTF-8, as Java reads it; `None` for null.
    ///
    /// # Errors
    /// As [`Reader::buffer`].
    pub fn text_or_null(&mut self) -> Result<Option<Cow<'a, str>>> {
        Ok(self.buffer()?.map(java_text))
    }

    /// A string that cannot be null.
    ///
    /// # Errors
    /// As [`Reader::string_or_null`], and [`DecodeError::UnexpectedNull`].
    pub fn string(&mut self) -> Result<&'a str> {
        self.string_or_null()?.ok_or(DecodeError::UnexpectedNull)
    }

    /// The count of a vector whose elements take at least `element_bytes_min` each; `None` for null. Refuses a count that the rest
    /// of the frame cannot hold, so that nobody allocates for it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::CountTooLarge`].
    pub fn count(&mut self, element_bytes_min: usize) -> Result<Option<usize>> {
        let count = self.int()?;
        match (count != -1).then(|| usize::try_from(count).unwrap_or(0)) {
            None => Ok(None),
            Some(count) if count.saturating_mul(element_bytes_min.max(1)) > self.rest.len() => {
                Err(DecodeError::CountTooLarge)
            }
            Some(count) => Ok(Some(count)),
        }
    }
}

/// A vector of strings, checked when it was read and walked in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrVec<'a> {
    count: usize,
    raw: &'a [u8],
}

impl<'a> StrVec<'a> {
    /// No strings.
    pub const EMPTY: StrVec<'static> = StrVec { count: 0, raw: &[] };

    /// Reads and checks every string of the vector; `None` for null.
    ///
    /// # Errors
    /// As [`Reader::count`] and [`Reader::string`]: null strings are refused.
    pub fn read_or_null(r: &mut Reader<'a>) -> Result<Option<StrVec<'a>>> {
        let Some(count) = r.count(4)? else { return Ok(None) };
        let start = r.rest();
        for _ in 0..count {
            r.string()?;
        }
        let raw = start.get(..start.len() - r.rest().len()).ok_or(DecodeError::Truncated)?;
        Ok(Some(StrVec { count, raw }))
    }

    /// How many strings.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The strings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.raw);
        (0..self.count).map_while(move |_| reader.string().ok())
    }
}

/// Writes records to the end of a buffer.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    /// A writer that appends to `out`.
    pub const fn new(out: &'b mut Vec<u8>) -> Writer<'b> {
        Writer { out }
    }

    /// Bytes in the buffer, what was there before included.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.out.len()
    }

    /// Bytes as they are, with no length before them.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// A 32-bit integer.
    pub fn int(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// A 64-bit integer.
    pub fn long(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// A length or count.
    ///
    /// # Panics
    /// Above `i32::MAX`: every caller is bounded by a frame far below it.
    pub fn length(&mut self, len: usize) {
        self.int(i32::try_from(len).expect("a Jute length fits an int: callers are bounded by the frame limit"));
    }

    /// A buffer, or null.
    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.length(bytes.len());
                self.raw(bytes);
            }
        }
    }

    /// A buffer of this length, whose bytes `append` puts into the writer's: for who looks at them there.
    ///
    /// # Panics
    /// If it appends another count of bytes.
    pub fn buffer_with(&mut self, len: usize, append: impl FnOnce(&mut Vec<u8>)) {
        self.length(len);
        let end = self.out.len() + len;
        append(self.out);
        assert_eq!(self.out.len(), end, "a buffer has the length that is written before it");
    }

    /// A string.
    pub fn string(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    /// A string, or null.
    pub fn string_or_null(&mut self, value: Option<&str>) {
        self.buffer(value.map(str::as_bytes));
    }

    /// A vector of strings.
    pub fn strings<S: AsRef<str>>(&mut self, values: impl ExactSizeIterator<Item = S>) {
        self.length(values.len());
        for value in values {
            self.string(value.as_ref());
        }
    }

    /// A vector of strings as it was read.
    pub fn str_vec(&mut self, values: Option<StrVec<'_>>) {
        match values {
            None => self.int(-1),
            Some(v) => {
                self.length(v.count);
                self.raw(v.raw);
            }
        }
    }
}

/// Appends a frame: `body` writes the record, and the 4-byte length before it is filled in.
///
/// # Panics
/// If the body is larger than `i32::MAX` bytes: callers are bounded far below it.
pub fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(&mut Writer::new(out));
    let len =
        i32::try_from(out.len() - start - 4).expect("a frame fits an int: callers are bounded by the frame limit");
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_the_frame_cannot_hold_is_refused_before_anything_is_allocated() {
        let bytes = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert_eq!(Reader::new(&bytes).count(4), Err(DecodeError::CountTooLarge));
        assert_eq!(StrVec::read_or_null(&mut Reader::new(&bytes)), Err(DecodeError::CountTooLarge));
        assert_eq!(Reader::new(&bytes).buffer(), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_count_below_minus_one_is_an_empty_vector_as_in_java() {
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).count(4), Ok(None));
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).count(4), Ok(Some(0)));
        assert_eq!(Reader::new(&i32::MIN.to_be_bytes()).count(4), Ok(Some(0)));
    }

    #[test]
    fn null_is_minus_one_and_anything_below_is_refused() {
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).buffer(), Ok(None));
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).buffer(), Err(DecodeError::NegativeLength));
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).string(), Err(DecodeError::UnexpectedNull));
    }

    #[test]
    fn a_frame_has_its_length_in_front() {
        let mut out = vec![9];
        frame(&mut out, |w| w.string("ab"));
        assert_eq!(out, [9, 0, 0, 0, 6, 0, 0, 0, 2, b'a', b'b']);
    }
}
