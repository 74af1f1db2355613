//! The lab's own protocol, spaces included.
//!
//! ```text
//! {"instances": [1.0, 2.0, 5.0]}   → {"predictions": [2.5, 3.0, 4.5], "model": "half_plus_two", "version": "1.0"}
//! {"features": [1, 2, 3, 4, 5]}    → {"prediction": 15.0, "model_version": "v1.0"}
//! ```
//!
//! An instance is a number or a list of any rank, as in TensorFlow Serving's row format; features are numbers. They are read
//! as 64-bit floats and become what the model's one input takes; the answer is the model's first output.
//! The bodies imitate Python's `json.dumps`, which the lab's answers were written by.

mod answer;
mod request;
#[cfg(test)]
mod tests;

pub use answer::{prediction, predictions};
pub use request::{PredictRequest, model_input, parse};
