//! Times models of the zoo: `zoo_latency DIRECTORY [RUNTIME]`. tests/zoo/latency.py runs it in turn with Python's onnxruntime.
//!
//! RUNTIME is as in a model's config.yaml; `onnxruntime` is loaded from ORT_DYLIB_PATH. Models it cannot run are left out.
//! One line a model and batch: name, rows, microseconds a run (the median).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the result of a command")]

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model_runtime::onnx;
use model_runtime::tensor::{Tensor, TensorError};
use model_runtime::{ModelRuntime, OnnxRuntime, Parallelism, RunThreads, RuntimeChoice, Runtimes};

const BATCHES: [usize; 3] = [1, 32, 1000];
/// Microseconds of a run after which larger batches are left out.
const SLOW: f64 = 100_000.0;
const TIME_EACH: Duration = Duration::from_millis(300);
const ONE_THREAD: Parallelism = Parallelism {
    runs: 1,
    threads_per_run: 1,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("which directory?")?;
    let choice = match arguments.next() {
        None => RuntimeChoice::Auto,
        Some(name) => RuntimeChoice::parse(&name).ok_or("RUNTIME is auto, onnx_ml, onnxruntime or rten")?,
    };
    let runtimes = match std::env::var_os("ORT_DYLIB_PATH") {
        Some(path) if choice == RuntimeChoice::OnnxRuntime => OnnxRuntime::load(Path::new(&path), ONE_THREAD)?.into(),
        _ => Runtimes::default(),
    };
    let entries = std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut models = entries.collect::<Result<Vec<PathBuf>, _>>()?;
    models.retain(|path| path.with_extension("answers.onnx").exists());
    models.sort();
    // Where the server runs them.
    let threads = RunThreads::new(1);
    for path in models {
        match runtimes.open(std::fs::read(&path)?, choice) {
            Ok(runtime) => {
                let timed = threads.within(|| time(&path, &*runtime).map_err(|error| error.to_string()));
                timed.map_err(|error| format!("{}: {error}", path.display()))?;
            }
            Err(why) => eprintln!("{}: {why}", path.display()),
        }
    }
    Ok(())
}

fn time(path: &Path, runtime: &dyn ModelRuntime) -> Result<(), Box<dyn Error>> {
    let answers = std::fs::read(path.with_extension("answers.onnx"))?;
    let answers = onnx::parse(&answers)?.graph.initializers;
    let inputs = runtime.signature().inputs.iter().map(|spec| {
        let input = answers.iter().find(|tensor| tensor.name == spec.name);
        Ok(input.ok_or("an input is missing")?.read()?)
    });
    let inputs = inputs.collect::<Result<Vec<Tensor>, Box<dyn Error>>>()?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    for batch in BATCHES {
        // Other rows each time, so that no branch predictor knows them; those of a small file more than once.
        let enough = inputs.iter().map(|input| repeated(input, batch));
        let enough = enough.collect::<Result<Vec<Tensor>, _>>()?;
        let part = |index: usize| {
            enough
                .iter()
                .map(move |input| input.part(index * batch, (index + 1) * batch))
        };
        let batches: Vec<Vec<Tensor>> = (0..enough[0].rows() / batch)
            .map(|index| part(index).collect())
            .collect();
        let mut times = Vec::new();
        let begun = Instant::now();
        for input in batches.iter().cycle() {
            let started = Instant::now();
            black_box(runtime.run(black_box(input))?);
            times.push(started.elapsed());
            if begun.elapsed() > TIME_EACH {
                break;
            }
        }
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64() * 1e6;
        println!("{name}\t{batch}\t{median:.3}");
        if median > SLOW {
            break;
        }
    }
    Ok(())
}

fn repeated(tensor: &Tensor, least_rows: usize) -> Result<Tensor, TensorError> {
    let mut whole = tensor.clone();
    while whole.rows() < least_rows {
        whole.append(tensor.clone())?;
    }
    Ok(whole)
}
