//! Values in numbered places that never move: a walk by number goes on where it ended, whatever came or went meanwhile, and shows each
//! value that stays exactly once. Free places are used again, the last freed first.

/// See the module.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts in what `value` makes of its place.
    ///
    /// # Panics
    /// At 2^32 values, far beyond what memory holds.
    pub(super) fn insert_with(&mut self, value: impl FnOnce(u32) -> T) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.places.get_mut(number as usize)
        {
            *place = Some(value(number));
            return number;
        }
        let number = u32::try_from(self.places.len()).expect("fewer than 2^32 watches");
        self.places.push(Some(value(number)));
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.places.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    /// Frees a place. The last value takes the memory with it.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.places.get_mut(number as usize)?.take()?;
        self.free.push(number);
        if self.is_empty() {
            *self = Slots::default();
        }
        Some(value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Places, free ones included.
    pub(super) fn place_count(&self) -> usize {
        self.places.len()
    }

    /// The values in the `count` places from `from` on, and the place after those; `None` at the end.
    pub(super) fn piece(&self, from: usize, count: usize) -> (impl Iterator<Item = &T>, Option<usize>) {
        let rest = self.places.get(from..).unwrap_or_default();
        (rest.iter().take(count).flatten(), (rest.len() > count).then_some(from + count))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_a_walk_shows_all_that_stays_once() {
        let mut slots = Slots::default();
        let first: Vec<u32> = (0..10).map(|value| slots.insert_with(|_| value)).collect();
        let (begun, next) = slots.piece(0, 4);
        assert_eq!(begun.copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
        // One of those shown goes and one that is not, one comes in place of the first.
        assert_eq!((slots.remove(first[7]), slots.remove(first[2])), (Some(7), Some(2)));
        assert_eq!(slots.insert_with(|_| 100), first[2]);
        let (rest, end) = slots.piece(next.unwrap(), 6);
        assert_eq!((rest.copied().collect::<Vec<_>>(), end), (vec![4, 5, 6, 8, 9], None));
        assert_eq!(slots.piece(10, 5).1, None);
        for number in first {
            slots.remove(number);
        }
        assert!(slots.is_empty() && slots.places.is_empty() && slots.remove(3).is_none());
    }
}
