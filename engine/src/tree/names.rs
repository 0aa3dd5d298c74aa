//! The children of a directory in a layer, by position, in pieces that whoever lists them may share.
//!
//! A directory may have a million children in a layer, and nobody may hold the tree while so many are walked: [`Names::share`] takes a pointer for
//! every [`PIECE_LEN`] of them and copies only the last ones. Who changes a piece that is shared copies that piece first. Small directories have
//! one plain vector and nothing else.

use super::layer::NodeId;
use std::sync::Arc;

/// A child: its entry, and its path for those who have let go of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) id: NodeId,
    pub(super) path: Arc<str>,
}

/// Children in a piece: what a listing copies at the most, and what a change copies once while a listing has the piece.
const PIECE_LEN: usize = 512;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Pieces of [`PIECE_LEN`] each.
    full: Vec<Arc<Vec<Child>>>,
    /// What follows them: fewer than that.
    last: Vec<Child>,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.full.len() * PIECE_LEN + self.last.len()
    }

    pub(super) fn get(&self, position: usize) -> Option<&Child> {
        let piece = self.full.get(position / PIECE_LEN).map_or(&self.last, |piece| &**piece);
        piece.get(position % PIECE_LEN)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.full.iter().flat_map(|piece| piece.iter()).chain(&self.last)
    }

    /// Puts a child behind the others, and tells at which position.
    pub(super) fn push(&mut self, id: NodeId, path: Arc<str>) -> u32 {
        let position = self.len();
        self.last.push(Child { id, path });
        if self.last.len() == PIECE_LEN {
            self.full.push(Arc::new(std::mem::take(&mut self.last)));
        }
        u32::try_from(position).expect("fewer than 2^32 children")
    }

    /// Takes out the child at this position. The last one takes its place: which one that is, unless it was the last itself.
    pub(super) fn swap_remove(&mut self, position: u32) -> Option<&Child> {
        if self.last.is_empty() {
            self.last = self.full.pop().map(Arc::unwrap_or_clone).unwrap_or_default();
        }
        let moved = self.last.pop().expect("a child that is taken out is there");
        // A directory that was large once does not hold its memory for ever.
        if self.last.capacity() > 64 && self.last.len() < self.last.capacity() / 4 {
            self.last.shrink_to(self.last.len() * 2);
        }
        let position = position as usize;
        if position == self.len() {
            return None;
        }
        let piece = match self.full.get_mut(position / PIECE_LEN) {
            Some(piece) => Arc::make_mut(piece),
            None => &mut self.last,
        };
        let place = piece.get_mut(position % PIECE_LEN).expect("a position below the count");
        *place = moved;
        Some(place)
    }

    /// The same children, to be kept. Takes a pointer for every [`PIECE_LEN`] of them.
    pub(super) fn share(&self) -> Names {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn child(number: usize) -> Child {
        Child { id: NodeId(u32::try_from(number).unwrap()), path: number.to_string().into() }
    }

    proptest! {
        #[test]
        fn children_come_and_go_as_in_a_vector_and_what_is_shared_stays_as_it_was(
            count in 0..3 * PIECE_LEN,
            moves in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..2 * PIECE_LEN),
        ) {
            let (mut names, mut plain) = (Names::default(), Vec::new());
            let push = |names: &mut Names, plain: &mut Vec<Child>, number| {
                let Child { id, path } = child(number);
                assert_eq!(names.push(id, path) as usize, plain.len());
                plain.push(child(number));
            };
            (0..count).for_each(|number| push(&mut names, &mut plain, number));
            let (shared, before) = (names.share(), plain.clone());
            for (number, (adds, at)) in moves.into_iter().enumerate() {
                if adds || plain.is_empty() {
                    push(&mut names, &mut plain, count + number);
                } else {
                    let at = at.index(plain.len());
                    plain.swap_remove(at);
                    prop_assert_eq!(names.swap_remove(u32::try_from(at).unwrap()), plain.get(at));
                }
            }
            prop_assert_eq!(names.len(), plain.len());
            prop_assert!(names.iter().eq(&plain));
            prop_assert!((0..=plain.len()).all(|at| names.get(at) == plain.get(at)));
            prop_assert!(shared.iter().eq(&before));
        }
    }
}
