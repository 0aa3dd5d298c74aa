//! A segment's two tables: the look-up by path and the order of the records.
//!
//! Owns the lines they consist of, each of 64 bytes (a cache line) with a checksum of its own, begun with the segment's salt and the
//! line's number. It must never tell anything from a line whose checksum does not hold. It fails with [`Damage`];
//! `tests/base_flips.rs` would catch a mistake.
//!
//! Line: crc32c u32 of the rest, then 60 bytes.
//!
//! - Look-up line: entries u8, flags u8 (1: it overflows into the next line, the last one into the first), 0 u16, then 14 × (tag u16,
//!   place u16). A path with the hash h begins in the line `(h >> 32) × lines >> 32`, its tag is the low 16 bits of h.
//! - Order line: 30 × place u16, in the order of the records.
//!
//! A **place** is a record's offset within the segment's records, divided by 8; thus within 512 KiB.

use super::copied::copied;
use crate::Damage;

/// A look-up line: a copy that was checked.
#[derive(Debug)]
pub(crate) struct LookupLine {
    line: [u8; LINE_BYTES],
    count: usize,
    overflows: bool,
}

impl LookupLine {
    /// Copies a line and checks the copy; `number` is its place within the segment's lines.
    pub(crate) fn open(line: &[u8; LINE_BYTES], salt: u32, number: u32) -> Result<LookupLine, Damage> {
        let line = copied(line);
        let Some(([count, flags, 0, 0], entries)) =
            check(&line, salt, number)?.split_first_chunk::<LOOKUP_HEAD_BYTES>()
        else {
            return Err(Damage::Field("the zeros of a look-up line"));
        };
        let (count, overflows) = (usize::from(*count), *flags == OVERFLOWS);
        if entries.len() < count * LOOKUP_ENTRY_BYTES || !matches!(*flags, 0 | OVERFLOWS) {
            return Err(Damage::Field("the count and flags of a look-up line"));
        }
        Ok(LookupLine { line, count, overflows })
    }

    /// The places of the records that may be the one with this tag.
    pub(crate) fn places(&self, tag: u16) -> impl Iterator<Item = u16> {
        let tag = tag.to_le_bytes();
        let entries = self.line.as_chunks::<LOOKUP_ENTRY_BYTES>().0.iter();
        let entries = entries.skip((CRC_BYTES + LOOKUP_HEAD_BYTES) / LOOKUP_ENTRY_BYTES).take(self.count);
        entries.filter(move |[a, b, ..]| [*a, *b] == tag).map(|[_, _, a, b]| u16::from_le_bytes([*a, *b]))
    }

    /// Whether what should be in this line may be in the next one.
    pub(crate) fn overflows(&self) -> bool {
        self.overflows
    }
}

/// An order line: a copy that was checked.
#[derive(Debug)]
pub(crate) struct OrderLine([u8; LINE_BYTES]);

impl OrderLine {
    /// Copies a line and checks the copy; `number` is its place within the segment's lines.
    pub(crate) fn open(line: &[u8; LINE_BYTES], salt: u32, number: u32) -> Result<OrderLine, Damage> {
        let line = copied(line);
        check(&line, salt, number)?;
        Ok(OrderLine(line))
    }

    /// The place that it has at `at`, which is below [`ORDER_ENTRIES`].
    pub(crate) fn place(&self, at: usize) -> u16 {
        let places = self.0.as_chunks::<2>().0;
        let Some(place) = places.get(CRC_BYTES / 2 + at) else { panic!("an order line has {ORDER_ENTRIES} places") };
        u16::from_le_bytes(*place)
    }
}

/// Where a path with this hash begins to be looked for, and its tag.
pub(crate) fn line_and_tag(hash: u64, lines: u32) -> (u32, u16) {
    let [a, b, ..] = hash.to_le_bytes();
    let line = ((hash >> 32) * u64::from(lines)) >> 32;
    let Ok(line) = u32::try_from(line) else { unreachable!("it is below the count of lines") };
    (line, u16::from_le_bytes([a, b]))
}

/// How many look-up lines so many records get: 8 of 14 places are taken on average, so that about one line in fifty overflows.
pub(crate) fn lookup_lines(records: usize) -> usize {
    records.div_ceil(LOOKUP_ENTRIES_MEAN)
}

/// How many order lines so many records have.
pub(crate) const fn order_lines(records: usize) -> usize {
    records.div_ceil(ORDER_ENTRIES)
}

/// The look-up lines for records with these hashes and places.
pub(crate) fn encode_lookup(records: &[(u64, u16)], salt: u32) -> Vec<u8> {
    let lines = lookup_lines(records.len());
    let Ok(count) = u32::try_from(lines) else { panic!("a segment has at most 2^16 records") };
    let mut table = vec![(Vec::with_capacity(LOOKUP_ENTRIES), false); lines];
    for &(hash, place) in records {
        let (line, tag) = line_and_tag(hash, count);
        let mut at = line as usize;
        loop {
            let Some((entries, overflows)) = table.get_mut(at) else { panic!("a line lies within its table") };
            if entries.len() < LOOKUP_ENTRIES {
                entries.push((tag, place));
                break;
            }
            *overflows = true;
            at = (at + 1) % lines;
        }
    }
    let mut out = Vec::with_capacity(lines * LINE_BYTES);
    for (number, (entries, overflows)) in (0..).zip(table) {
        let Ok(count) = u8::try_from(entries.len()) else { panic!("a line has at most 14 entries") };
        let mut rest = vec![count, u8::from(overflows), 0, 0];
        for (tag, place) in entries {
            rest.extend_from_slice(&tag.to_le_bytes());
            rest.extend_from_slice(&place.to_le_bytes());
        }
        seal(&mut out, rest, salt, number);
    }
    out
}

/// The order lines for records at these places; `first` is the number of the first of them.
pub(crate) fn encode_order(places: &[u16], salt: u32, first: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(order_lines(places.len()) * LINE_BYTES);
    for (number, places) in (first..).zip(places.chunks(ORDER_ENTRIES)) {
        seal(&mut out, places.iter().flat_map(|place| place.to_le_bytes()).collect(), salt, number);
    }
    out
}

fn check(line: &[u8; LINE_BYTES], salt: u32, number: u32) -> Result<&[u8], Damage> {
    let Some((crc, rest)) = line.split_first_chunk() else { unreachable!("a line is longer than its checksum") };
    let (found, computed) = (u32::from_le_bytes(*crc), line_crc(rest, salt, number));
    if found == computed { Ok(rest) } else { Err(Damage::Checksum { found, computed }) }
}

fn seal(out: &mut Vec<u8>, mut rest: Vec<u8>, salt: u32, number: u32) {
    rest.resize(LINE_BYTES - CRC_BYTES, 0);
    out.extend_from_slice(&line_crc(&rest, salt, number).to_le_bytes());
    out.extend_from_slice(&rest);
}

/// Two sums over the same bytes that begin with different numbers differ always: a line in another's place never passes.
fn line_crc(rest: &[u8], salt: u32, number: u32) -> u32 {
    crc32c::crc32c_append(salt.wrapping_add(LINES_SEED).wrapping_add(number), rest)
}

/// Bytes of a line.
pub(crate) const LINE_BYTES: usize = 64;
/// Places in an order line.
pub(crate) const ORDER_ENTRIES: usize = 30;
/// Set apart from the seeds of records and data.
const LINES_SEED: u32 = 0x8000_0000;
const CRC_BYTES: usize = 4;
const LOOKUP_HEAD_BYTES: usize = 4;
const LOOKUP_ENTRY_BYTES: usize = 4;
const LOOKUP_ENTRIES: usize = 14;
const LOOKUP_ENTRIES_MEAN: usize = 8;
const OVERFLOWS: u8 = 1;

const _: () = assert!(
    CRC_BYTES + LOOKUP_HEAD_BYTES + LOOKUP_ENTRIES * LOOKUP_ENTRY_BYTES == LINE_BYTES
        && (CRC_BYTES + LOOKUP_HEAD_BYTES).is_multiple_of(LOOKUP_ENTRY_BYTES)
        && CRC_BYTES + ORDER_ENTRIES * 2 == LINE_BYTES
);

#[cfg(test)]
mod tests {
    use super::*;

    fn find(table: &[u8], salt: u32, hash: u64) -> Vec<u16> {
        let lines = table.as_chunks::<LINE_BYTES>().0;
        let count = u32::try_from(lines.len()).unwrap();
        let (mut number, tag) = line_and_tag(hash, count);
        let mut found = Vec::new();
        for _ in 0..count {
            let line = LookupLine::open(&lines[number as usize], salt, number).unwrap();
            found.extend(line.places(tag));
            if !line.overflows() {
                break;
            }
            number = (number + 1) % count;
        }
        found
    }

    #[test]
    fn full_lines_overflow_and_everything_is_found() {
        // All of them begin in the last line and run over its end.
        let records: Vec<(u64, u16)> = (0..40_u16).map(|n| (u64::MAX - 0xffff + u64::from(n), n * 3)).collect();
        let table = encode_lookup(&records, 77);
        assert_eq!(table.len(), 5 * LINE_BYTES);
        for (hash, place) in records {
            assert_eq!(find(&table, 77, hash), [place]);
        }
        assert!(find(&table, 77, u64::MAX - 0xffff + 41).is_empty());
    }

    #[test]
    fn a_line_in_the_wrong_place_or_segment_does_not_pass() {
        let table = encode_lookup(&[(1, 2), (3, 4)], 9);
        let line = &table.as_chunks::<LINE_BYTES>().0[0];
        assert!(LookupLine::open(line, 9, 0).is_ok());
        assert!(LookupLine::open(line, 9, 1).is_err() && LookupLine::open(line, 8, 0).is_err());
        let order = encode_order(&[5, 6, 7], 9, 3);
        let line = &order.as_chunks::<LINE_BYTES>().0[0];
        assert_eq!(OrderLine::open(line, 9, 3).unwrap().place(2), 7);
        assert!(OrderLine::open(line, 9, 2).is_err());
    }
}
