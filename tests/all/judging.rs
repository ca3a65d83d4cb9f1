//! Classes told from vectors, and what carries a match, as a user asks for them.

use std::{fs, path::Path};

use serde_json::Value;

use crate::program::{emoji, fail, recipe, run, succeed};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A model of a few steps, and the folder that holds it.
fn model() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 2);
    let out = home.path().join("run");
    succeed(&["pretrain", text(&recipe), "--out", text(&out), "--quiet"]);
    let model = out.join("model");
    (home, model)
}

#[test]
fn classes_are_told_in_three_ways() {
    let (home, model) = model();
    let [train, judged] = ["emoji-train.tar", "emoji-validation.tar"].map(|name| emoji().join(name));
    let page = home.path().join("page.html");
    for (task, more) in [("zero-shot", &[][..]), ("knn", &[]), ("knn", &["--train"]), ("linear-probe", &["--train"])] {
        let mut arguments = vec!["evaluate", text(&model), text(&judged), "--task", task, "--label", "category"];
        arguments.extend(more);
        arguments.extend(more.iter().map(|_| text(&train)));
        arguments.extend(["--json", "--report", text(&page)]);
        let found: Value = serde_json::from_str(&succeed(&arguments)).unwrap();
        assert_eq!((&found["task"], &found["label"]), (&task.into(), &"category".into()));
        let subsets: Vec<String> =
            found["subsets"].as_array().unwrap().iter().map(|subset| subset["modalities"].to_string()).collect();
        // The table holds the category, and prompts are texts.
        let expected = match task {
            "zero-shot" => vec![r#"["audio"]"#, r#"["image"]"#, r#"["audio","image"]"#],
            _ => vec![r#"["audio"]"#, r#"["image"]"#, r#"["text"]"#, r#"["audio","image","text"]"#],
        };
        assert_eq!(subsets, expected, "{task}");
        let accuracy = &found["subsets"][0]["report"]["measures"][0];
        assert_eq!(accuracy["metric"], "accuracy");
        assert!(accuracy["interval"][0].as_f64() <= accuracy["value"].as_f64(), "{accuracy}");
        let page = fs::read_to_string(&page).unwrap();
        assert!(page.contains("What was taken for what") && page.contains("Most confident mistakes"), "{task}");
    }
    let arguments = ["evaluate", text(&model), text(&judged), "--task", "knn", "--label", "category"];
    let told = run(&[&arguments[..], &["--subset", "table,image", "-k", "3"]].concat());
    assert!(String::from_utf8(told.stderr).unwrap().contains("it is told the answer"));
    assert!(String::from_utf8(told.stdout).unwrap().contains("image + table"));
}

#[test]
fn a_subset_keeps_the_queries_that_are_made_of_it() {
    let (_home, model) = model();
    let judged = emoji().join("emoji-validation.tar");
    let arguments = ["evaluate", text(&model), text(&judged), "--json", "--subset", "image", "--subset", "image,audio"];
    let found: Value = serde_json::from_str(&succeed(&arguments)).unwrap();
    assert_eq!(found["directions"].as_array().unwrap().len(), 3);
    assert_eq!(found["several"].as_array().unwrap().len(), 2, "to table and to text");
}

#[test]
fn wrong_questions_name_what_is_wrong() {
    let (home, model) = model();
    let judged = emoji().join("emoji-validation.tar");
    let asked = |more: &[&str]| {
        let mut arguments = vec!["evaluate", text(&model), text(&judged)];
        arguments.extend(more);
        fail(&arguments, 2)
    };
    assert!(asked(&["--task", "knn"]).contains("--label"));
    let message = asked(&["--task", "knn", "--label", "kategory"]);
    assert!(message.contains("`kategory`") && message.contains("category"), "{message}");
    let prompts = home.path().join("prompts.toml");
    for (content, wanted) in [
        ("templates = [\"a picture\"]", "`{}`"),
        ("template = []", "template"),
        ("[classes]\nNothing = \"nothing\"", "lacks the label"),
    ] {
        fs::write(&prompts, content).unwrap();
        let message = asked(&["--task", "zero-shot", "--label", "category", "--prompts", text(&prompts)]);
        assert!(message.contains(wanted), "{message}");
    }
    let png = home.path().join("map.png");
    let explain = |more: &[&str]| {
        let mut arguments = vec!["explain", text(&model), "--out", text(&png)];
        arguments.extend(more);
        fail(&arguments, 2)
    };
    assert!(explain(&["--text", "a dog"]).contains("give two of"));
    assert!(explain(&["--text", "a dog", "--row", "{\"code_points\": 1}"]).contains(".html"));
    assert!(explain(&["--text", "a dog", "--row", "[1]"]).contains("JSON object"));
    assert!(!png.exists());
}

#[test]
fn what_carries_a_match_is_drawn() {
    let (home, model) = model();
    let [picture, png, page] = ["red.bmp", "map.png", "map.html"].map(|name| home.path().join(name));
    fs::write(&picture, bitmap()).unwrap();
    let arguments = ["explain", text(&model), "--image", text(&picture), "--text", "a dog", "--out"];
    let said = succeed(&[&arguments[..], &[text(&png)]].concat());
    assert!(said.contains("image: cosine") && said.contains("at random"), "{said}");
    assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    let arguments = ["explain", text(&model), "--row", "{\"code_points\": 2, \"category\": \"Flags\"}"];
    let said = succeed(&[&arguments[..], &["--image", text(&picture), "--out", text(&page)]].concat());
    assert!(said.contains("table: cosine") && said.contains("code_points"), "{said}");
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("what the cosine loses without a column") && page.contains("data:image/png"));
}

/// A picture of 8 × 8 red points.
fn bitmap() -> Vec<u8> {
    let size = 54 + 8 * 24_u32;
    let head = [&b"BM"[..], &size.to_le_bytes(), &[0; 4], &54_u32.to_le_bytes(), &40_u32.to_le_bytes()].concat();
    let shape = [&8_u32.to_le_bytes()[..], &8_u32.to_le_bytes(), &[1, 0, 24, 0], &[0; 24]].concat();
    [head, shape, [0, 0, 255].repeat(64)].concat()
}
