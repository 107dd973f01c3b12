use std::sync::Arc;

use parking_lot::Mutex;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The only source of randomness.
pub trait Entropy: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;

    /// An independent stream, named by its purpose.
    fn stream(&self, purpose: &str) -> Arc<dyn Entropy>;
}

/// What is commonly drawn from an [`Entropy`].
pub trait EntropyExt: Entropy {
    /// A number below `bound`; 0 if `bound` is 0.
    fn below(&self, bound: u64) -> u64 {
        // Lemire's multiply-shift: the bias is below bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given probability.
    fn chance(&self, probability: f64) -> bool {
        self.unit() < probability
    }
}

impl<T: Entropy + ?Sized> EntropyExt for T {}

/// ChaCha8 streams derived from one seed: the stream of a purpose depends on the seed and the names
/// on the way to it, and on nothing that was drawn before.
pub struct SeededEntropy {
    seed: u64,
    rng: Mutex<ChaCha8Rng>,
}

impl SeededEntropy {
    /// The root stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
        }
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        self.rng.lock().next_u64()
    }

    fn stream(&self, purpose: &str) -> Arc<dyn Entropy> {
        Arc::new(Self::new(xxh3_64_with_seed(purpose.as_bytes(), self.seed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_and_purpose_only() {
        let root = SeededEntropy::new(7);
        let first = root.stream("queue choice").next_u64();
        root.next_u64();
        root.stream("another purpose").next_u64();
        assert_eq!(root.stream("queue choice").next_u64(), first);
        assert_ne!(root.stream("another purpose").next_u64(), first);
        assert_ne!(
            SeededEntropy::new(8).stream("queue choice").next_u64(),
            first
        );
    }

    #[test]
    fn below_stays_below_its_bound() {
        let entropy = SeededEntropy::new(1);
        assert!((0..1000).all(|_| entropy.below(3) < 3));
        assert_eq!(entropy.below(0), 0);
    }
}
