//! Chance that can be repeated.

/// `SplitMix64`: the same numbers from the same seed, on every machine.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let index = self.below(all.len() as u64);
        &all[usize::try_from(index).expect("an index")]
    }

    /// Up to a number of a list's places, for cutting it somewhere.
    pub fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit.max(1) as u64)).expect("an index")
    }

    pub fn word(&mut self) -> String {
        (0..self.between(3, 20))
            .map(|_| char::from(b'a' + self.below(26) as u8))
            .collect()
    }

    pub fn bytes(&mut self, number: u64) -> Vec<u8> {
        (0..number).map(|_| self.next() as u8).collect()
    }
}
