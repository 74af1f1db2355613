//! A histogram of latencies, in microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;

/// 0.1 % of a value: for what is judged.
const PRECISE: u8 = 3;
/// 1 % of a value, in an eighth of the memory: for what there are many of.
const COARSE: u8 = 2;

/// Longer than any time-out allows.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn precise() -> Self {
        Self::with_digits(PRECISE)
    }

    pub fn coarse() -> Self {
        Self::with_digits(COARSE)
    }

    /// Grows with the largest value.
    fn with_digits(digits: u8) -> Self {
        Self(Histogram::new(digits).expect("the digits are from 0 to 5"))
    }

    pub fn record(&mut self, latency: Duration) {
        let micros = latency.min(LONGEST).as_micros().max(1);
        let micros = u64::try_from(micros).expect("an hour's microseconds fit");
        self.0.record(micros).expect("the histogram grows");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `percent` of the requests did not exceed; `None` without requests.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let value = || Duration::from_micros(self.0.value_at_percentile(percent).min(self.0.max()));
        (!self.0.is_empty()).then(value)
    }

    pub fn min(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.min()))
    }

    pub fn max(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.max()))
    }

    pub fn mean(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_secs_f64(self.0.mean() / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A percentile is a value that was recorded, to the histogram's precision, and has that share of the values below it.
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            mut values in proptest::collection::vec(1u64..10_000_000, 1..300),
            percent in 0.1f64..100.0,
        ) {
            let mut latencies = Latencies::precise();
            for value in &values {
                latencies.record(Duration::from_micros(*value));
            }
            values.sort_unstable();
            let rank = ((values.len() as f64 * percent / 100.0).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64;
            let got = latencies.percentile(percent).expect("there are values").as_micros() as f64;
            // The histogram rounds the rank as floating-point numbers do: the neighbours will do as well.
            let lowest = values[rank.saturating_sub(2)] as f64;
            let highest = values[rank.min(values.len() - 1)] as f64;
            prop_assert!(
                got >= lowest * 0.998 - 1.0 && got <= highest * 1.002 + 1.0,
                "{percent}: {got} instead of {exact}"
            );
            prop_assert_eq!(latencies.count(), values.len() as u64);
            let min = latencies.min().expect("there are values").as_micros() as f64;
            prop_assert!((min - values[0] as f64).abs() <= values[0] as f64 * 0.002, "{min} instead of {}", values[0]);
        }
    }

    #[test]
    fn nothing_recorded_has_no_percentile() {
        assert_eq!(Latencies::coarse().percentile(50.0), None);
        assert_eq!(Latencies::coarse().max(), None);
    }

    #[test]
    fn a_single_value_is_every_percentile() {
        let mut latencies = Latencies::coarse();
        latencies.record(Duration::from_micros(123_456));
        for percent in [0.0, 50.0, 99.9, 100.0] {
            let got = latencies.percentile(percent).expect("a value").as_micros();
            assert!((122_200..=124_700).contains(&got), "{got}");
        }
    }
}
