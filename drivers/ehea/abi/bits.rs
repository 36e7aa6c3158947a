// SPDX-License-Identifier: GPL-2.0

//! Bit ranges in IBM numbering.

/// A range of bits of a `UNIT`-bit value, given in IBM numbering: bit 0 is the most significant bit
/// of the unit.
///
/// Values are handled as `u64`, with the unit in the low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits<const UNIT: u32> {
    shift: u32,
    width: u32,
}

impl<const UNIT: u32> Bits<UNIT> {
    /// Returns the range from bit `first` to bit `last`, inclusive.
    ///
    /// It is evaluated at compile time for all ranges of this crate, so that a range outside the
    /// unit does not build.
    pub const fn range(first: u32, last: u32) -> Self {
        assert!(UNIT <= 64 && first <= last && last < UNIT);
        Self {
            shift: UNIT - 1 - last,
            width: last - first + 1,
        }
    }

    /// Returns the single bit `n`.
    pub const fn bit(n: u32) -> Self {
        Self::range(n, n)
    }

    /// Returns the largest value that the range can hold.
    pub const fn max(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    /// Returns a value in which exactly the bits of the range are set.
    pub const fn mask(self) -> u64 {
        self.max() << self.shift
    }

    /// Returns the value that `unit` holds in the range.
    pub const fn get(self, unit: u64) -> u64 {
        (unit >> self.shift) & self.max()
    }

    /// Checks whether any bit of the range is set in `unit`.
    pub const fn is_set(self, unit: u64) -> bool {
        self.get(unit) != 0
    }

    /// Returns a unit with `value` in the range and zeros elsewhere. Bits of `value` that do not
    /// fit the range are dropped.
    pub const fn set(self, value: u64) -> u64 {
        (value & self.max()) << self.shift
    }

    /// Returns the mask of the range if `on`, else zero.
    pub const fn flag(self, on: bool) -> u64 {
        if on {
            self.mask()
        } else {
            0
        }
    }

    /// Returns `unit` with the range replaced by `value`.
    pub const fn replace(self, unit: u64, value: u64) -> u64 {
        (unit & !self.mask()) | self.set(value)
    }
}

/// A range of bits of a 64-bit register or doubleword.
pub type Bits64 = Bits<64>;
/// A range of bits of a byte.
pub type Bits8 = Bits<8>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ibm_numbering() {
        assert_eq!(Bits64::bit(0).mask(), 0x8000_0000_0000_0000);
        assert_eq!(Bits64::bit(63).mask(), 1);
        assert_eq!(Bits64::range(0, 63).mask(), u64::MAX);
        assert_eq!(Bits64::range(40, 47).mask(), 0x0000_0000_00ff_0000);
        assert_eq!(Bits64::range(16, 63).max(), 0x0000_ffff_ffff_ffff);
        assert_eq!(Bits8::bit(0).mask(), 0x80);
        assert_eq!(Bits8::range(1, 2).get(0x40), 2);
    }

    #[test]
    fn set_get_replace() {
        let f = Bits64::range(8, 31);
        assert_eq!(f.get(f.set(0x123456)), 0x123456);
        assert_eq!(f.set(0x1_ffff_ffff), f.mask());
        assert_eq!(f.replace(u64::MAX, 0), !f.mask());
        assert!(Bits64::bit(5).is_set(f.replace(Bits64::bit(5).flag(true), 1)));
    }
}
