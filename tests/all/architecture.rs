//! What the architecture promises about dependencies, names and sizes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use sensorium_modalities::ModalityConfig;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What each part may depend on; the test of the other direction is that nothing else is here.
const MAY_KNOW: [(&str, &[&str]); 18] = [
    ("contract", &[]),
    ("state", &["contract"]),
    ("samples", &["contract"]),
    ("cases", &["contract", "samples"]),
    ("kernels", &["contract"]),
    ("backbone", &["contract", "kernels"]),
    ("modalities", &["contract", "kernels", "backbone"]),
    ("objectives", &["contract", "kernels", "backbone"]),
    ("model", &["contract", "state", "kernels", "backbone", "modalities", "objectives"]),
    ("families", &["contract", "state", "kernels", "backbone", "objectives"]),
    ("train", &["contract", "state", "samples", "kernels"]),
    ("retrieve", &["contract", "state", "samples", "metrics"]),
    ("metrics", &["contract"]),
    ("report", &["contract", "metrics"]),
    ("serve", &["contract"]),
    ("recipe", &["contract", "samples", "modalities", "objectives", "model", "train"]),
    (
        "adapt",
        &[
            "contract",
            "state",
            "samples",
            "cases",
            "backbone",
            "modalities",
            "objectives",
            "model",
            "train",
            "recipe",
            "metrics",
        ],
    ),
    ("datasets", &["contract", "samples"]),
];

#[test]
fn dependencies_point_one_way() {
    let found: BTreeSet<String> = packages().iter().map(|folder| name(folder)).collect();
    let listed: BTreeSet<String> = MAY_KNOW.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed, "a new part says here what it may know");
    for folder in packages() {
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        let allowed = MAY_KNOW.iter().find(|(part, _)| *part == name(&folder)).unwrap().1;
        for (kind, table) in &manifest {
            let (true, Some(table)) = (kind.ends_with("dependencies") && kind != "dev-dependencies", table.as_table())
            else {
                continue;
            };
            for dependency in table.keys().filter_map(|dependency| dependency.strip_prefix("sensorium-")) {
                assert!(allowed.contains(&dependency), "{} must not know {dependency}", name(&folder));
            }
        }
    }
}

fn packages() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    crates.chain([root().join("modalities"), root().join("datasets")]).collect()
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The Rust files below a folder that are part of the program, with their code alone: neither
/// comments nor tests.
fn code(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "reference");
        if is_test {
            continue;
        }
        if path.is_dir() {
            found.extend(code(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines: Vec<&str> = program.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            found.push((path, lines.join("\n")));
        }
    }
    found
}

/// Identifiers and the words within them: `ImageConfig` and `image_size` hold `image`.
fn words(code: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for identifier in code.split(|letter: char| !letter.is_alphanumeric()) {
        let mut word = String::new();
        for letter in identifier.chars() {
            if letter.is_uppercase() && !word.is_empty() {
                words.insert(std::mem::take(&mut word));
            }
            word.extend(letter.to_lowercase());
        }
        words.insert(word);
    }
    words
}

#[test]
fn parts_above_the_modalities_know_none_by_name() {
    for part in ["backbone", "objectives", "train", "retrieve"] {
        for (path, code) in code(&root().join("crates").join(part).join("src")) {
            // A text or a table can be of another kind; as a name it would be written in quotes.
            for modality in ["image", "audio"] {
                assert!(!words(&code).contains(modality), "{} names `{modality}`", path.display());
            }
            for modality in ModalityConfig::KINDS {
                assert!(!code.contains(&format!("\"{modality}\"")), "{} names `{modality}`", path.display());
            }
        }
    }
}

#[test]
fn a_modality_is_a_folder_and_a_line() {
    let folders = fs::read_dir(root().join("modalities/src")).unwrap().map(|entry| entry.unwrap().path());
    let folders: BTreeSet<String> = folders.filter(|path| path.is_dir()).map(|path| name(&path)).collect();
    let kinds: BTreeSet<String> = ModalityConfig::KINDS.iter().map(|kind| (*kind).to_owned()).collect();
    assert_eq!(folders, kinds);
}

#[test]
fn attention_is_in_the_kernels_alone() {
    let crates = packages().into_iter().filter(|folder| name(folder) != "kernels").map(|folder| folder.join("src"));
    for folder in crates.chain([root().join("src")]) {
        for (path, code) in code(&folder) {
            let softmax = code.replace("log_softmax", "").contains("softmax");
            assert!(!softmax, "{}: attention of its own?", path.display());
        }
    }
}

#[test]
fn one_file_knows_devices_by_name() {
    let crates = packages().into_iter().filter(|folder| name(folder) != "kernels").map(|folder| folder.join("src"));
    for folder in crates.chain([root().join("src")]) {
        for (path, code) in code(&folder).into_iter().filter(|(path, _)| !path.ends_with("src/device.rs")) {
            for device in ["Device::flex", "Device::wgpu", "Device::vulkan", "Device::cuda"] {
                assert!(!code.contains(device), "{}: {device}", path.display());
            }
        }
    }
}

#[test]
fn the_entry_point_stays_small() {
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 100);
}

#[test]
fn the_library_s_examples_are_short() {
    for example in ["pretrain", "embed", "search"] {
        let text = fs::read_to_string(root().join(format!("examples/{example}.rs"))).unwrap();
        assert!(text.lines().count() < 30, "{example}");
    }
}

#[test]
fn every_recipe_says_its_goal_and_its_command() {
    for path in crate::recipes::configs() {
        let text = fs::read_to_string(&path).unwrap();
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.contains(&format!("pretrain configs/{}", name(&path))), "{}: {head}", path.display());
    }
}
