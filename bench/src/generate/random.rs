//! Repeatable numbers: a mixer of 64 bits, a generator, and a Zipf distribution drawn in constant time.

/// Scatters the bits of a number: neighbours become unlike (the finaliser of SplitMix64).
#[inline]
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        let now = self.0;
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(now)
    }

    /// Below `n`, by multiplication; `n` is not 0.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        scale(self.draw(), n)
    }
}

/// The upper half of a random number brought below `n`.
#[inline]
pub fn scale(random: u64, n: u32) -> u32 {
    (((random >> 32) * u64::from(n)) >> 32) as u32
}

/// Ranks 0, 1, … with probability proportional to 1/(rank + 1)^s, drawn by the alias method (Walker 1977).
#[derive(Clone, Debug)]
pub struct Zipf {
    /// For each rank: the share of its column that is its own, of 2^32, and the rank that has the rest.
    columns: Vec<(u32, u32)>,
}

impl Zipf {
    /// Prepares `n` ranks (at least one) with this exponent; 0 makes all equal.
    pub fn new(n: u32, exponent: f64) -> Self {
        let n = n.max(1);
        let weights: Vec<f64> = (1..=n).map(|rank| f64::from(rank).powf(-exponent)).collect();
        let mean = weights.iter().sum::<f64>() / f64::from(n);
        let mut left: Vec<f64> = weights.into_iter().map(|w| w / mean).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..n).partition(|&rank| left[rank as usize] < 1.0);
        let mut columns: Vec<(u32, u32)> = (0..n).map(|rank| (u32::MAX, rank)).collect();
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            let share = left[low as usize];
            columns[low as usize] = ((share * 4_294_967_296.0) as u32, high);
            left[high as usize] -= 1.0 - share;
            if left[high as usize] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { columns }
    }

    /// A rank.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> u32 {
        let r = random.draw();
        let column = scale(r, self.columns.len() as u32);
        let (own, other) = self.columns[column as usize];
        if (r as u32) <= own { column } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_the_law() {
        const DRAWS: u32 = 200_000;
        let zipf = Zipf::new(100, 1.0);
        let mut random = Random::new(1);
        let mut seen = [0_u32; 100];
        for _ in 0..DRAWS {
            seen[zipf.draw(&mut random) as usize] += 1;
        }
        // The 100th harmonic number is 5.187.
        for rank in [0_u32, 1, 9, 99] {
            let expected = f64::from(DRAWS) / 5.187_377 / f64::from(rank + 1);
            let off = (f64::from(seen[rank as usize]) - expected).abs();
            assert!(
                off < 6.0 * expected.sqrt(),
                "rank {rank}: {} for {expected}",
                seen[rank as usize]
            );
        }
    }

    #[test]
    fn an_exponent_of_zero_is_uniform() {
        let zipf = Zipf::new(4, 0.0);
        let mut random = Random::new(2);
        let mut seen = [0_u32; 4];
        (0..40_000).for_each(|_| seen[zipf.draw(&mut random) as usize] += 1);
        assert!(seen.iter().all(|&n| n.abs_diff(10_000) < 600), "{seen:?}");
    }
}
