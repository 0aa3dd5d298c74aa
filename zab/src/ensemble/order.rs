//! The order in which a Java server prints an ensemble's lines: that of its hash tables.
//!
//! Owns the order in which `java.util.HashMap<Long, _>` and `java.util.Properties` (of JDK 9 and newer) go through their keys. Nothing may depend on it
//! but the bytes of a text. Trees in place of long bins are left out: eight keys of one bin in a table of 64 do not come
//! of ids up to 255. The vectors of `tests/ensemble.rs`, whose ids collide, would catch a mistake.

/// How `HashMap<Long, _>` goes through keys that were put into it in this order.
pub(super) fn hash_map(keys: &[i64]) -> Vec<i64> {
    let mut capacity = CAPACITY;
    for (count, key) in keys.iter().enumerate() {
        let in_bin =
            keys.iter().take(count).filter(|other| bin(long_hash(**other), capacity) == bin(long_hash(*key), capacity));
        if in_bin.count() >= BIN_MAX && capacity < TREE_CAPACITY_MIN {
            capacity *= 2;
        }
        if count + 1 > capacity / 4 * 3 {
            capacity *= 2;
        }
    }
    // Growing keeps the order within a bin, so that it is that of the keys' coming.
    let mut keys = keys.to_vec();
    keys.sort_by_key(|key| bin(long_hash(*key), capacity));
    keys
}

/// How `Properties` goes through keys that were loaded in this order: their places in `keys`.
pub(super) fn properties(keys: &[String]) -> Vec<usize> {
    let mut bins: Vec<Bin> = vec![Bin::new(); CAPACITY];
    for (place, key) in keys.iter().enumerate() {
        let hash = string_hash(key);
        let at = bin(hash, bins.len());
        let Some(entries) = bins.get_mut(at) else { continue };
        entries.push((hash, place));
        if entries.len() > BIN_MAX && bins.len() < TREE_CAPACITY_MIN {
            let wanted = (3 * bins.len() + 1).next_power_of_two();
            while bins.len() / 4 * 3 < wanted {
                bins = doubled(bins);
            }
        }
        while place + 1 >= bins.len() / 4 * 3 {
            bins = doubled(bins);
        }
    }
    bins.into_iter().flatten().map(|(_, place)| place).collect()
}

/// Hash and place of each key.
type Bin = Vec<(u32, usize)>;

/// Both tables' first number of bins.
const CAPACITY: usize = 16;
/// A bin with more keys becomes a tree, or the table grows if it is smaller than [`TREE_CAPACITY_MIN`].
const BIN_MAX: usize = 8;
const TREE_CAPACITY_MIN: usize = 64;

/// `ConcurrentHashMap.transfer`: of each bin the last run of keys that stay together keeps its order, and the others come before it in reverse.
fn doubled(bins: Vec<Bin>) -> Vec<Bin> {
    let capacity = bins.len();
    let is_high = |hash: u32| bin(hash, 2 * capacity) >= capacity;
    let (mut low, mut high): (Vec<Bin>, Vec<Bin>) = (Vec::new(), Vec::new());
    for entries in bins {
        let last = entries.last().is_some_and(|(hash, _)| is_high(*hash));
        let run = entries.iter().rposition(|(hash, _)| is_high(*hash) != last).map_or(0, |before| before + 1);
        let (others, run) = entries.split_at(run);
        let half = |wanted: bool| -> Bin {
            let others = others.iter().rev().filter(|(hash, _)| is_high(*hash) == wanted);
            others.chain(if wanted == last { run } else { &[] }).copied().collect()
        };
        low.push(half(false));
        high.push(half(true));
    }
    low.append(&mut high);
    low
}

/// Which bin of a table of `capacity`, a power of two.
fn bin(hash: u32, capacity: usize) -> usize {
    let spread = hash ^ (hash >> 16);
    usize::try_from(spread).unwrap_or(usize::MAX) & (capacity - 1)
}

/// `Long.hashCode`.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn long_hash(key: i64) -> u32 {
    let key = key.cast_unsigned();
    (key ^ (key >> 32)) as u32
}

/// `String.hashCode`.
fn string_hash(key: &str) -> u32 {
    key.encode_utf16().fold(0, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ids_stand_in_order_and_others_by_their_bins() {
        assert_eq!(hash_map(&[3, 1, 2]), [1, 2, 3]);
        assert_eq!(hash_map(&[10, 20, 30]), [20, 10, 30]);
        assert_eq!(hash_map(&[17, 1]), [17, 1], "one bin: as they came");
        // Thirteen keys are too many for sixteen bins.
        let ids: Vec<i64> = (10..23).collect();
        assert_eq!(hash_map(&ids), ids);
        assert_eq!(hash_map(&[-1, 20]), [-1, 20]);
    }

    #[test]
    fn a_table_grows_when_one_bin_is_too_long() {
        let ids: Vec<i64> = (1..=9).map(|id| id * 16).collect();
        assert_eq!(hash_map(&ids[..8]), ids[..8]);
        // In 32 bins the even multiples are in bin 0 and the odd ones in bin 16.
        assert_eq!(hash_map(&ids), [32, 64, 96, 128, 16, 48, 80, 112, 144]);
    }

    #[test]
    fn strings_hash_as_in_java() {
        assert_eq!(string_hash("server.1").cast_signed(), 1_379_102_790);
        assert_eq!(string_hash(""), 0);
    }
}
