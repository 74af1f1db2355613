//! The two widths of numbers in trees.

use std::ops::{Add, Div, Sub};

use crate::tensor::Element;

/// Number type of thresholds and weights.
pub(super) trait Number:
    Element + Copy + PartialOrd + Into<f64> + Add<Output = Self> + Sub<Output = Self> + Div<Output = Self>
{
    const NAN: Self;
    const HALF: Self;
    fn is_nan(self) -> bool;
    fn count(count: usize) -> Self;
}

impl Number for f32 {
    const NAN: Self = Self::NAN;
    const HALF: Self = 0.5;

    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn count(count: usize) -> Self {
        count as Self
    }
}

impl Number for f64 {
    const NAN: Self = Self::NAN;
    const HALF: Self = 0.5;

    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn count(count: usize) -> Self {
        count as Self
    }
}
