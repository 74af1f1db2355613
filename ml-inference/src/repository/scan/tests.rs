//! Directories as people and programs fill them, and what a scan makes of them.

use shared::test_util::Scratch;

use super::*;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("makes directories");
    fs::write(path, text).expect("writes");
}

#[test]
fn versions_are_found_by_their_numbers_and_the_rest_is_told() {
    let scratch = Scratch::new("layout");
    let root = scratch.path();
    put(root, "iris/1/model.onnx", "one");
    put(root, "iris/20/model.onnx", "twenty");
    put(
        root,
        "iris/00000123/model.onnx",
        "as TensorFlow Serving's exporters write it",
    );
    put(root, "iris/00/model.onnx", "there is no version 0");
    put(root, "iris/4/weights.bin", "four");
    put(root, "iris/config.yaml", "");
    put(root, "iris/.registry/5/model.onnx", "five");
    put(root, "wine.onnx", "wine");
    put(root, "notes.txt", "");
    put(root, "a model/1/model.onnx", "");
    put(root, "..data/1/model.onnx", "");

    let scan = scan(root).expect("can be seen");
    let names: Vec<&str> = scan.models.keys().map(String::as_str).collect();
    assert_eq!(names, ["iris", "wine"]);
    let iris = &scan.models["iris"];
    assert_eq!(iris.versions.keys().copied().collect::<Vec<u64>>(), [1, 20, 123]);
    assert!(iris.config.is_some());
    assert_eq!(iris.warnings.len(), 2, "{:?}", iris.warnings);
    assert!(iris.warnings[0].ends_with("iris/00: neither config.yaml nor a version such as 1"));
    assert!(iris.warnings[1].ends_with("iris/4: there is no model.onnx"));
    assert_eq!(scan.models["wine"].versions[&1].path, root.join("wine.onnx"));
    assert_eq!(scan.warnings.len(), 1);
    assert!(scan.warnings[0].ends_with("a model: a model's name is made of letters, digits, '-', '_' and '.'"));
}

#[test]
fn two_directories_of_one_number_are_both_named_and_neither_is_taken() {
    let scratch = Scratch::new("numbers");
    let root = scratch.path();
    put(root, "iris/3/model.onnx", "three");
    put(root, "iris/003/model.onnx", "three too");
    put(root, "wine/4/model.onnx", "four");
    put(root, "wine/04/notes.txt", "no model");
    let scan = scan(root).expect("can be seen");
    assert_eq!(scan.models.keys().collect::<Vec<_>>(), ["wine"]);
    let (one, other) = (root.join("iris/003/model.onnx"), root.join("iris/3/model.onnx"));
    let expected = format!(
        "{} and {} are both version 3; remove one of them",
        one.display(),
        other.display()
    );
    assert_eq!(scan.unreadable["iris"], expected);
}

#[test]
fn a_name_is_one_that_a_directory_of_models_is_looked_for_by() {
    let longest = "a".repeat(LONGEST_NAME);
    for name in ["iris", "_", "-", "a..b", "iris.v2", "7", &longest] {
        let scratch = Scratch::new("names");
        put(scratch.path(), &format!("{name}/1/model.onnx"), "");
        assert_eq!(check_name(name), Ok(()), "{name:?}");
        let scan = scan(scratch.path()).expect("can be seen");
        assert!(scan.models.contains_key(name), "{name:?}");
    }
    let too_long = "a".repeat(LONGEST_NAME + 1);
    for name in ["", ".", "..", ".iris", "a/b", "a b", "m\u{fc}", &too_long] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
}

#[test]
fn every_change_of_a_file_shows() {
    let scratch = Scratch::new("fingerprints");
    let root = scratch.path();
    put(root, "iris/1/model.onnx", "one");
    let before = scan(root).expect("can be seen");
    assert_eq!(scan(root).expect("can be seen"), before);
    put(root, "new", "two");
    fs::rename(root.join("new"), root.join("iris/1/model.onnx")).expect("renames");
    assert_ne!(
        scan(root).expect("can be seen"),
        before,
        "another file of the same size"
    );
}

#[test]
fn a_directory_that_cannot_be_seen_is_an_error_and_not_empty() {
    let scratch = Scratch::new("missing");
    let error = scan(&scratch.path().join("nowhere")).expect_err("there is none");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn what_cannot_be_looked_at_hides_nothing_else() {
    let scratch = Scratch::new("loops");
    let root = scratch.path();
    put(root, "iris/1/model.onnx", "one");
    put(root, "wine/config.yaml", "");
    for (link, target) in [("self", "self"), ("wine/2", "2"), ("file.onnx", "file.onnx")] {
        std::os::unix::fs::symlink(target, root.join(link)).expect("links");
    }
    let scan = scan(root).expect("can be seen");
    assert_eq!(scan.models.keys().collect::<Vec<_>>(), ["iris"]);
    assert_eq!(scan.unreadable.keys().collect::<Vec<_>>(), ["file", "self", "wine"]);
}

#[test]
fn beyond_the_limits_the_rest_is_seen() {
    let scratch = Scratch::new("many");
    let root = scratch.path();
    for number in 0..=MOST_MODELS {
        put(root, &format!("m{number:03}.onnx"), "");
    }
    for number in 1..=MOST_VERSIONS + 1 {
        put(root, &format!("a/{number}/model.onnx"), "");
    }
    let scan = scan(root).expect("can be seen");
    assert_eq!(scan.models.len(), MOST_MODELS);
    assert_eq!(scan.unreadable.keys().collect::<Vec<_>>(), ["m255", "m256"]);
    let newest = &scan.models["a"];
    assert_eq!(
        (newest.versions.len(), newest.versions.contains_key(&1)),
        (MOST_VERSIONS, false)
    );
    assert!(newest.warnings[0].ends_with("a: version 1 has 1024 newer ones"));
}

#[test]
fn a_directory_wins_over_a_file_of_its_name() {
    let scratch = Scratch::new("both");
    put(scratch.path(), "iris/2/model.onnx", "two");
    put(scratch.path(), "iris.onnx", "one");
    let scan = scan(scratch.path()).expect("can be seen");
    assert_eq!(scan.models["iris"].versions.keys().copied().collect::<Vec<u64>>(), [2]);
}
