//! A multi-layer perceptron that costs CPU as real models do: 64 numbers, six rectified layers of 1024, one number.
//!
//! It has learned nothing. Its weights are pseudo-random and the same everywhere, and what it is for is load: a row takes
//! 5.3 million multiplications and additions, and the weights 20.3 MiB. Each sum runs from left to right, so that the
//! result is the same on every machine, bit by bit.

use crate::interface::{Cost, ModelRuntime, RuntimeError};
use crate::signature::{Dim, Signature, TensorSpec};
use crate::tensor::{DataType, Tensor};

/// How many numbers a row has.
pub const INPUTS: usize = 64;

const WIDTHS: [usize; 8] = [INPUTS, 1024, 1024, 1024, 1024, 1024, 1024, 1];
const SEED: u64 = 0x6d6c_7020_6d6f_6465;

#[derive(Debug)]
pub struct Mlp {
    signature: Signature,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// As many for each output as there are inputs, output by output.
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl Mlp {
    pub fn untrained() -> Self {
        let mut random = SplitMix64(SEED);
        let layers = WIDTHS
            .windows(2)
            .map(|widths| Layer::random(widths[0], widths[1], &mut random));
        let rows = || Dim::Free(None);
        Self {
            layers: layers.collect(),
            signature: Signature {
                inputs: vec![TensorSpec::new("x", DataType::Fp32, vec![rows(), Dim::Fixed(INPUTS)])],
                outputs: vec![TensorSpec::new("y", DataType::Fp32, vec![rows()])],
            },
        }
    }
}

impl Layer {
    /// He's initialization, which keeps the size of the numbers from layer to layer.
    fn random(inputs: usize, outputs: usize, random: &mut SplitMix64) -> Self {
        let bound = (6.0 / inputs as f32).sqrt();
        let mut draw = |count| (0..count).map(|_| bound * random.next_signed()).collect();
        Self {
            weights: draw(inputs * outputs),
            biases: draw(outputs),
        }
    }
}

impl ModelRuntime for Mlp {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn cost(&self) -> Cost {
        Cost::Compute
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let refused = |problem: String| RuntimeError::Refused { problem };
        let numbers = inputs.first().and_then(Tensor::values::<f32>);
        let numbers = numbers.ok_or_else(|| refused("expected rows of FP32".to_owned()))?;
        let results = predict_rows(&self.layers, numbers);
        let output = Tensor::of(vec![results.len()], results);
        Ok(vec![output.map_err(|error| refused(error.to_string()))?])
    }
}

fn predict_rows(layers: &[Layer], rows: &[f32]) -> Vec<f32> {
    rows.chunks_exact(INPUTS).map(|row| predict(layers, row)).collect()
}

fn predict(layers: &[Layer], row: &[f32]) -> f32 {
    let mut values = row.to_vec();
    for (index, layer) in layers.iter().enumerate() {
        if index > 0 {
            rectify(&mut values);
        }
        values = dense(&layer.weights, &layer.biases, &values);
    }
    values[0]
}

/// Each output is its bias and the inputs times their weights.
fn dense(weights: &[f32], biases: &[f32], inputs: &[f32]) -> Vec<f32> {
    let weigh = |(bias, weights): (&f32, &[f32])| {
        let products = weights.iter().zip(inputs).map(|(weight, input)| weight * input);
        products.fold(*bias, |sum, product| sum + product)
    };
    biases
        .iter()
        .zip(weights.chunks_exact(inputs.len()))
        .map(weigh)
        .collect()
}

/// Rectifier: values below zero become zero. A NaN stays one, so that an overflow shows at the end.
fn rectify(values: &mut [f32]) {
    for value in values {
        if *value < 0.0 {
            *value = 0.0;
        }
    }
}

/// Steele, Lea and Flood's generator: the same numbers on every machine and in every version of this program.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From -1 to 1. Of 24 bits, which an f32 holds exactly.
    fn next_signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(rows: &[[f32; INPUTS]]) -> Vec<f32> {
        let input = Tensor::of(vec![rows.len(), INPUTS], rows.concat()).expect("a tensor");
        let outputs = Mlp::untrained().run(&[input]).expect("runs");
        assert_eq!(outputs[0].shape(), [rows.len()]);
        outputs[0].values().expect("FP32").to_vec()
    }

    /// The same network in double precision, written index by index.
    fn reference(layers: &[Layer], row: &[f32]) -> f64 {
        let mut values: Vec<f64> = row.iter().copied().map(f64::from).collect();
        for (depth, layer) in layers.iter().enumerate() {
            let mut sums = Vec::new();
            for output in 0..WIDTHS[depth + 1] {
                let mut sum = f64::from(layer.biases[output]);
                for (input, value) in values.iter().enumerate() {
                    sum += value * f64::from(layer.weights[output * WIDTHS[depth] + input]);
                }
                let last = depth + 1 == layers.len();
                sums.push(if last { sum } else { sum.max(0.0) });
            }
            values = sums;
        }
        values[0]
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    /// The answers are those of a program in another language that rounds every step to single precision.
    #[test]
    fn known_rows_have_their_known_answers() {
        let row = std::array::from_fn(|k| k as f32 / 64.0);
        assert_eq!(run(&[row, [0.0; INPUTS]]), [-0.465_249_18, -0.132_575_15]);
    }

    #[test]
    fn an_overflow_on_the_way_shows_in_the_result() {
        let results = run(&[[1.0; INPUTS], [f32::MAX; INPUTS]]);
        assert!(results[0].is_finite() && !results[1].is_finite(), "{results:?}");
    }

    #[test]
    fn only_rows_of_64_numbers_fit() {
        let model = Mlp::untrained();
        let fits = |shape: &[usize]| {
            let input = Tensor::zeros(DataType::Fp32, shape.to_vec()).expect("a tensor");
            model.signature().check(&[input]).is_ok()
        };
        assert!(fits(&[1, 64]) && fits(&[3, 64]) && fits(&[0, 64]));
        assert!(!fits(&[64]) && !fits(&[1, 63]) && !fits(&[1, 8, 8]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_computes_what_double_precision_does(row in prop::array::uniform(-10.0_f32..10.0)) {
            let exact = reference(&Mlp::untrained().layers, &row);
            let answered = f64::from(run(&[row])[0]);
            prop_assert!((answered - exact).abs() < 1e-4 * (1.0 + exact.abs()), "{} instead of {}", answered, exact);
        }
    }
}
