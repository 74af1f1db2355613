//! What onnxruntime answers, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model_runtime::tensor::Tensor;
use model_runtime::{
    Dim, LoadError, ModelRuntime, OnnxRuntime, OnnxRuntimeError, Parallelism, RuntimeChoice, RuntimeError, Runtimes,
};

use crate::compare::{compare_all, models, small};
use crate::{library, only_onnxruntime};

fn runtimes() -> Runtimes {
    let parallelism = Parallelism {
        runs: 2,
        threads_per_run: 2,
    };
    let onnxruntime = OnnxRuntime::load(&library(), parallelism);
    onnxruntime.unwrap_or_else(|error| panic!("{error}")).into()
}

fn open(file: &[u8], choice: RuntimeChoice) -> Result<Box<dyn ModelRuntime>, LoadError> {
    runtimes().open(file.to_vec(), choice)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn zoo(name: &str) -> Vec<u8> {
    read(&small().join(name).with_extension("onnx"))
}

fn special(name: &str) -> Vec<u8> {
    read(&only_onnxruntime().join(name).with_extension("onnx"))
}

fn loaded(file: &[u8], choice: RuntimeChoice) -> Box<dyn ModelRuntime> {
    open(file, choice).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(outcome: Result<Vec<Tensor>, RuntimeError>) -> String {
    outcome.expect_err("is refused").to_string()
}

#[test]
fn the_small_models_answer_as_in_python() {
    compare_all(&small(), &|file| open(file, RuntimeChoice::OnnxRuntime));
}

#[test]
fn the_large_models_answer_as_in_python() {
    if let Some(directory) = std::env::var_os("ZOO_DIR") {
        compare_all(&PathBuf::from(directory), &|file| {
            open(file, RuntimeChoice::OnnxRuntime)
        });
    }
}

#[test]
fn models_that_nothing_else_runs_answer_as_in_python() {
    compare_all(&only_onnxruntime(), &|file| open(file, RuntimeChoice::Auto));
    for path in models(&only_onnxruntime()) {
        let file = read(&path);
        assert_eq!(loaded(&file, RuntimeChoice::Auto).name(), "onnxruntime");
        let without = Runtimes::default().open(file, RuntimeChoice::Auto);
        assert!(without.is_err(), "{} runs without onnxruntime", path.display());
    }
}

/// A model may refuse zeros; what it gives is what its signature says.
#[test]
fn outputs_are_what_the_signature_says() {
    let paths = [models(&small()), models(&only_onnxruntime())].concat();
    let mut asked = 0;
    for path in &paths {
        let model = loaded(&read(path), RuntimeChoice::OnnxRuntime);
        let signature = model.signature();
        let zeros = signature.zeros(1).expect("small tensors");
        let Ok(outputs) = model.run(&zeros) else { continue };
        asked += 1;
        for (spec, output) in signature.outputs.iter().zip(&outputs) {
            let is_of = |(dim, length): (&Dim, &usize)| matches!(dim, Dim::Free(_)) || *dim == Dim::Fixed(*length);
            let fits = spec.shape.len() == output.shape().len() && spec.shape.iter().zip(output.shape()).all(is_of);
            let name = path.display();
            assert!(
                spec.any_shape || fits,
                "{name}: {} is {spec}, found {}",
                spec.name,
                output.describe()
            );
            assert_eq!(spec.data_type, output.data_type(), "{name}: {}", spec.name);
        }
    }
    assert!(asked * 10 > paths.len() * 9, "{asked} of {} take zeros", paths.len());
}

#[test]
fn each_model_goes_to_the_runtime_that_is_best_or_asked_for() {
    use RuntimeChoice::{Auto, OnnxMl, OnnxRuntime, Rten};
    let (forest, network) = (zoo("forest_classifier"), zoo("neural_cnn"));
    let name = |file: &[u8], choice| loaded(file, choice).name();
    assert_eq!(name(&forest, Auto), "onnx_ml");
    assert_eq!(name(&forest, OnnxRuntime), "onnxruntime");
    assert_eq!(name(&network, Auto), "onnxruntime");
    assert_eq!(name(&network, Rten), "rten");
    assert!(open(&network, OnnxMl).is_err_and(|error| error.to_string().contains("Conv")));
    assert!(open(&forest, Rten).is_err());

    let without = Runtimes::default();
    let opened = without.open(network.clone(), Auto).expect("rten runs it");
    assert_eq!(opened.name(), "rten");
    let asked = without.open(network, OnnxRuntime);
    assert_eq!(
        asked.expect_err("there is none"),
        LoadError::Runtime(OnnxRuntimeError::NotLoaded)
    );
}

#[test]
fn the_signature_is_the_files_own_with_classes_for_the_maps() {
    let model = loaded(&zoo("logistic_words"), RuntimeChoice::OnnxRuntime);
    let ours = loaded(&zoo("logistic_words"), RuntimeChoice::OnnxMl);
    assert_eq!(model.signature(), ours.signature());
    let targets = loaded(&zoo("forest_two_targets"), RuntimeChoice::OnnxRuntime);
    let output = targets.signature().outputs[0].to_string();
    assert_eq!(output, "FP32[-1,2]", "the file says one column");
}

/// More threads than sessions, each with questions of its own.
#[test]
fn runs_at_the_same_time_do_not_mix() {
    let model = loaded(&special("determinant"), RuntimeChoice::Auto);
    let run = |scale: u16| {
        let scale = f32::from(scale);
        let matrix = vec![scale, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let input = Tensor::of(vec![1, 3, 3], matrix).expect("a tensor");
        let outputs = model.run(&[input]).expect("runs");
        assert_eq!(outputs, [Tensor::of(vec![1], vec![scale]).expect("a tensor")]);
    };
    std::thread::scope(|threads| {
        for thread in 0..4_u16 {
            threads.spawn(move || (0..200).for_each(|turn| run(thread * 1000 + turn)));
        }
    });
}

#[test]
fn texts_that_onnxruntime_would_change_are_refused() {
    let model = loaded(&special("texts"), RuntimeChoice::Auto);
    let ask = |text: &'static [u8]| {
        let texts = vec![Bytes::from_static(b"sun"), Bytes::from_static(text)];
        model.run(&[Tensor::of(vec![2], texts).expect("a tensor")])
    };
    assert!(ask(b"snow").is_ok());
    let not_unicode = refusal(ask(b"\xff"));
    assert!(
        not_unicode.ends_with("text: element 1 is no UTF-8, which onnxruntime needs"),
        "{not_unicode}"
    );
    let cut = refusal(ask(b"snow\0rain"));
    assert!(cut.contains("text: element 1 has a zero byte"), "{cut}");
}

#[test]
fn what_a_run_cannot_take_is_told_in_onnxruntimes_words_and_the_next_run_works() {
    let model = loaded(&zoo("neural_transformer"), RuntimeChoice::Auto);
    let ask = |id: i64| {
        let ids = Tensor::of(vec![1, 2], vec![1, id]).expect("a tensor");
        let mask = Tensor::of(vec![1, 2], vec![1_i64, 1]).expect("a tensor");
        model.run(&[ids, mask])
    };
    for _ in 0..4 {
        let problem = refusal(ask(1 << 40));
        assert!(
            problem.contains("Gather") && problem.contains("1099511627776"),
            "{problem}"
        );
    }
    assert!(ask(2).is_ok());
}

#[test]
fn a_file_that_cannot_be_loaded_names_its_operator() {
    let renamed = |name: &str, from: &str, to: &str| {
        let file = special(name);
        let at = file.windows(from.len()).position(|window| window == from.as_bytes());
        let at = at.expect("it is in the file");
        let mut file = file;
        file[at..at + to.len()].copy_from_slice(to.as_bytes());
        file
    };
    let unknown = open(&renamed("determinant", "Det", "Dot"), RuntimeChoice::Auto);
    let problem = unknown.expect_err("there is no such operator").to_string();
    assert!(
        problem.starts_with("onnxruntime: ") && problem.contains("Dot"),
        "{problem}"
    );
    let broken = open(&special("determinant")[..60], RuntimeChoice::Auto);
    assert!(matches!(broken, Err(LoadError::File(_))), "{broken:?}");
}
