//! The scales of the charts' axes, with ends and ticks that are round.

/// From 0 to a round number.
pub(super) struct Linear {
    end: f64,
    step: f64,
}

impl Linear {
    pub(super) fn up_to(highest: f64) -> Self {
        let step = step(highest.max(1.0) / 4.0);
        let end = (highest.max(1.0) / step).ceil() * step;
        Self { end, step }
    }

    pub(super) fn share(&self, value: f64) -> f64 {
        value / self.end
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = (self.end / self.step).round() as u32;
        (0..=count).map(|number| f64::from(number) * self.step)
    }
}

/// The next of 1, 2, 5, 10, 20, 50, … from `least` on.
pub(super) fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// From a 1, 2 or 5 below the lowest value to one above the highest.
pub(super) struct Logarithmic {
    lowest: f64,
    highest: f64,
}

impl Logarithmic {
    /// Nothing with no value.
    pub(super) fn over(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut range: Option<(f64, f64)> = None;
        for value in values.map(|value| value.max(0.001)) {
            let (lowest, highest) = range.unwrap_or((value, value));
            range = Some((lowest.min(value), highest.max(value)));
        }
        let (lowest, highest) = range?;
        let highest = step(highest);
        let power = 10f64.powf(lowest.log10().floor());
        let below = [5.0, 2.0, 1.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|tick| *tick <= lowest * 1.000_001);
        let lowest = below.unwrap_or(power).min(highest / 10.0);
        Some(Self { lowest, highest })
    }

    pub(super) fn share(&self, value: f64) -> f64 {
        (value.max(self.lowest) / self.lowest).log10() / (self.highest / self.lowest).log10()
    }

    /// The powers of ten, and 2 and 5 between them where there is room.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let decades = (self.highest / self.lowest).log10();
        let factors: &[f64] = if decades <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let first = self.lowest.log10().floor() as i32;
        let last = self.highest.log10().ceil() as i32;
        let all = (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
        all.filter(|tick| *tick >= self.lowest * 0.999 && *tick <= self.highest * 1.001)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_linear_axis_holds_every_value_and_few_ticks(highest in 0.0f64..10_000_000.0) {
            let scale = Linear::up_to(highest);
            prop_assert!(scale.share(highest) <= 1.0);
            prop_assert!((2..=8).contains(&scale.ticks().count()), "{}", scale.ticks().count());
        }

        #[test]
        fn a_logarithmic_axis_holds_every_value_and_has_ticks(values in proptest::collection::vec(0.001f64..600_000.0, 1..20)) {
            let scale = Logarithmic::over(values.iter().copied()).expect("values");
            for value in values {
                prop_assert!((-0.001..=1.001).contains(&scale.share(value)), "{value}: {}", scale.share(value));
            }
            prop_assert!((2..=12).contains(&scale.ticks().len()), "{:?}", scale.ticks());
        }
    }

    #[test]
    fn steps_are_round() {
        for (least, expected) in [
            (0.3, 0.5),
            (1.0, 1.0),
            (3.0, 5.0),
            (17.0, 20.0),
            (60.0, 100.0),
            (200.0, 200.0),
        ] {
            assert!((step(least) - expected).abs() < 1e-9, "{least}: {}", step(least));
        }
    }
}
