//! A list that is allocated in pieces, so that growing it does not copy its items. Items keep their numbers.

/// A list that grows by one piece at a time.
pub(super) struct Slab<T> {
    pieces: Vec<Vec<T>>,
}

/// Number of items in a piece, a power of two.
const PIECE: usize = 1024;

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.pieces.get(at as usize / PIECE)?.get(at as usize % PIECE)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.pieces.get_mut(at as usize / PIECE)?.get_mut(at as usize % PIECE)
    }

    /// Appends an item and returns its number.
    pub(super) fn push(&mut self, thing: T) -> u32 {
        let at = self.len();
        match self.pieces.last_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push(thing),
            None => {
                // The first piece grows on demand, because most tables are small.
                let mut piece = Vec::with_capacity(if self.pieces.is_empty() { 0 } else { PIECE });
                piece.push(thing);
                self.pieces.push(piece);
            }
        }
        u32::try_from(at).expect("a partition of a table has fewer than 2^32 keys in memory")
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_numbers() {
        let mut slab = Slab::new();
        let count = u32::try_from(2 * PIECE + 1).expect("small");
        for number in 0..count {
            assert_eq!((slab.len(), slab.get(number)), (number as usize, None));
            assert_eq!(slab.push(number), number);
        }
        *slab.get_mut(1024).expect("it is there") += 1;
        assert_eq!((slab.get(1023), slab.get(1024), slab.get(count)), (Some(&1023), Some(&1025), None));
        assert!((0..count).all(|number| slab.get(number) == Some(&if number == 1024 { 1025 } else { number })));
        assert_eq!(slab.len(), count as usize);
    }
}
