//! Times models of the zoo: `zoo_latency DIRECTORY`. tests/zoo/latency.py runs it in turn with Python's onnxruntime.
//!
//! One line a model and batch: name, rows, microseconds a run (the median).

#![expect(clippy::print_stdout, reason = "the result of a command")]

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ml_inference::model::Model;
use ml_inference::onnx;
use ml_inference::tensor::Tensor;
use ml_inference::version::ModelVersion;

const BATCHES: [usize; 3] = [1, 32, 1000];
const TIME_EACH: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("which directory?")?;
    let entries = std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut models = entries.collect::<Result<Vec<PathBuf>, _>>()?;
    models.retain(|path| path.with_extension("answers.onnx").exists());
    models.sort();
    for path in models {
        time(&path)?;
    }
    Ok(())
}

fn time(path: &Path) -> Result<(), Box<dyn Error>> {
    let version = ModelVersion::parse("1").ok_or("1 is a version")?;
    let model = Model::from_onnx("zoo", version, &std::fs::read(path)?)?;
    let answers = std::fs::read(path.with_extension("answers.onnx"))?;
    let answers = onnx::parse(&answers)?.graph.initializers;
    let input = &model.runtime.signature().inputs[0].name;
    let rows = answers
        .iter()
        .find(|tensor| tensor.name == input)
        .ok_or("no input")?
        .read()?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    for batch in BATCHES {
        // Other rows each time, so that no branch predictor knows them.
        let batches: Vec<[Tensor; 1]> = (0..rows.rows() / batch)
            .map(|index| [rows.part(index * batch, (index + 1) * batch)])
            .collect();
        let mut times = Vec::new();
        let begun = Instant::now();
        for input in batches.iter().cycle() {
            let started = Instant::now();
            black_box(model.runtime.run(black_box(input))?);
            times.push(started.elapsed());
            if begun.elapsed() > TIME_EACH {
                break;
            }
        }
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64() * 1e6;
        println!("{name}\t{batch}\t{median:.3}");
    }
    Ok(())
}
