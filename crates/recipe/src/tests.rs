use std::{fs, path::Path};

use crate::{Recipe, RecipeError};

const RECIPE: &str = r#"seed = 1

[data]
train = [{ path = "a.tar" }]
validation_share = 0.2

[modalities.image]
kind = "image"
size = 64
augment = { shift = 4 }

[modalities.text]
kind = "text"
tokenizer = { train = "bpe", vocabulary = 100 }

[model]
topology = "shared"
embedding = 8

[model.trunk]
layers = 2
width = 12
heads = 3

[[objectives]]
kind = "contrastive"

[[objectives]]
kind = "masked-modelling"
weight = 0.1

[train]
epochs = 3

[train.optimizer]
betas = [0.9, 0.98]

[loader]
ahead = 2
"#;

fn parse(text: &str, overrides: &[&str]) -> Result<Recipe, RecipeError> {
    let overrides: Vec<String> = overrides.iter().map(|given| (*given).to_owned()).collect();
    Recipe::parse(text, Path::new("r.toml"), &overrides)
}

/// The message after one line of the recipe was replaced; it must name that line.
#[track_caller]
fn message(line: &str, by: &str) -> String {
    let at = RECIPE.lines().position(|found| found == line).unwrap_or_else(|| panic!("no line `{line}`"));
    let text = RECIPE.replacen(&format!("{line}\n"), &format!("{by}\n"), 1);
    let message = parse(&text, &[]).unwrap_err().to_string();
    assert!(message.starts_with(&format!("r.toml:{}: ", at + 1)), "line {}: {message}", at + 1);
    message
}

#[test]
fn the_recipe_of_these_tests_is_right() {
    parse(RECIPE, &[]).unwrap();
}

#[test]
fn a_misspelt_key_names_its_line_and_the_nearest_valid_key() {
    for (line, by, key, meant) in [
        ("seed = 1", "sed = 1", "sed", "seed"),
        ("epochs = 3", "epoch = 3", "train.epoch", "epochs"),
        ("betas = [0.9, 0.98]", "beta = [0.9, 0.98]", "train.optimizer.beta", "betas"),
        ("size = 64", "sise = 64", "modalities.image.sise", "size"),
        ("augment = { shift = 4 }", "augment = { shfit = 4 }", "modalities.image.augment.shfit", "shift"),
        ("embedding = 8", "embeding = 8", "model.embeding", "embedding"),
        ("width = 12", "widht = 12", "model.trunk.widht", "width"),
        ("weight = 0.1", "wieght = 0.1", "objectives.1.wieght", "weight"),
        ("train = [{ path = \"a.tar\" }]", "train = [{ pth = \"a.tar\" }]", "data.train.0.pth", "path"),
        ("validation_share = 0.2", "validaton_share = 0.2", "data.validaton_share", "validation_share"),
        ("ahead = 2", "ahed = 2", "loader.ahed", "ahead"),
        ("[loader]", "[laoder]", "laoder", "loader"),
        ("[model.trunk]", "[model.trnk]", "model.trnk", "trunk"),
    ] {
        let message = message(line, by);
        assert!(message.contains(&format!("`{key}`: unknown field")), "{message}");
        assert!(message.ends_with(&format!("(did you mean `{meant}`?)")), "{message}");
    }
}

#[test]
fn a_key_of_a_tokenizer_is_found_too() {
    let line = "tokenizer = { train = \"bpe\", vocabulary = 100 }";
    let message = message(line, "tokenizer = { train = \"bpe\", vocabulry = 100 }");
    assert!(message.contains("vocabulry") && message.ends_with("(did you mean `vocabulary`?)"), "{message}");
}

/// `size` is a key of the modality, but not of its augmentation.
#[test]
fn a_key_that_is_valid_elsewhere_is_found_where_it_is_not() {
    let message = message("augment = { shift = 4 }", "augment = { size = 4 }");
    assert!(message.contains("`modalities.image.augment.size`: unknown field"), "{message}");
}

#[test]
fn a_wrong_type_names_its_key_and_line() {
    for (line, by, key) in [
        ("epochs = 3", "epochs = \"three\"", "train.epochs"),
        ("betas = [0.9, 0.98]", "betas = 0.9", "train.optimizer.betas"),
        ("size = 64", "size = \"big\"", "modalities.image.size"),
        ("augment = { shift = 4 }", "augment = { shift = true }", "modalities.image.augment.shift"),
        ("layers = 2", "layers = -2", "model.trunk.layers"),
        ("weight = 0.1", "weight = \"much\"", "objectives.1.weight"),
        ("train = [{ path = \"a.tar\" }]", "train = [{ path = 3 }]", "data.train.0.path"),
        ("ahead = 2", "ahead = 2.5", "loader.ahead"),
    ] {
        let message = message(line, by);
        assert!(message.contains(&format!("`{key}`:")), "{key}: {message}");
    }
}

#[test]
fn an_unknown_kind_names_the_nearest() {
    for (line, by, meant) in [
        ("kind = \"image\"", "kind = \"imag\"", "image"),
        ("kind = \"contrastive\"", "kind = \"contrastiv\"", "contrastive"),
        ("topology = \"shared\"", "topology = \"sharde\"", "shared"),
    ] {
        let message = message(line, by);
        assert!(message.contains("unknown variant"), "{message}");
        assert!(message.ends_with(&format!("(did you mean `{meant}`?)")), "{message}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let without = |part: &str| parse(&RECIPE.replace(part, ""), &[]).unwrap_err().to_string();
    let trunk = "[model.trunk]\nlayers = 2\nwidth = 12\nheads = 3\n";
    let model = format!("[model]\ntopology = \"shared\"\nembedding = 8\n\n{trunk}");
    assert!(without(&model).contains("missing field `model`"), "{}", without(&model));
    assert!(without(trunk).contains("r.toml:17: `model.topology`: topology `shared` takes"), "{}", without(trunk));
    let data = "[data]\ntrain = [{ path = \"a.tar\" }]\nvalidation_share = 0.2\n";
    assert!(without(data).contains("missing field `data`"), "{}", without(data));
    let kind = without("kind = \"image\"\n");
    assert!(kind.contains("r.toml:7: `modalities.image`: missing field `kind`"), "{kind}");
    let epochs = without("epochs = 3\n");
    assert!(epochs.contains("`train.steps`: either `steps` or `epochs` must be given"), "{epochs}");
}

#[test]
fn an_impossible_combination_names_its_key_and_line() {
    for (line, by, part) in [
        ("width = 12", "width = 13", "width 13 is not a multiple of heads 3"),
        ("embedding = 8", "embedding = 0", "`model.embedding`: must be above 0"),
        ("epochs = 3", "epochs = 3\nbatch = 0", "`train.batch`: must be at least 1"),
        ("validation_share = 0.2", "validation_share = 1.5", "between 0 and 1"),
        ("betas = [0.9, 0.98]", "betas = [0.9, 1.0]", "below 1"),
    ] {
        let text = RECIPE.replacen(&format!("{line}\n"), &format!("{by}\n"), 1);
        let message = parse(&text, &[]).unwrap_err().to_string();
        assert!(message.starts_with("r.toml:") && message.contains(part), "{message}");
    }
    let text = format!("{RECIPE}\n[[expect]]\nfrom = \"image\"\nto = \"txt\"\ntimes_chance = 2\n");
    let message = parse(&text, &[]).unwrap_err().to_string();
    assert!(message.contains("`expect.0.to`: there is no modality `txt`"), "{message}");
    let towers = RECIPE
        .replace("topology = \"shared\"", "topology = \"towers\"")
        .replace("[model.trunk]", "[model.towers.image]");
    let message = parse(&towers, &[]).unwrap_err().to_string();
    assert!(message.contains("modality `text` has no tower"), "{message}");
    let both = RECIPE.replace("[data]\n", "[data]\nbuiltin = \"emoji\"\n");
    assert!(parse(&both, &[]).unwrap_err().to_string().contains("not both"));
}

#[test]
fn what_is_not_toml_names_its_line() {
    let message = parse(&RECIPE.replace("layers = 2", "layers = "), &[]).unwrap_err().to_string();
    assert!(message.contains("line 21"), "{message}");
    let twice = parse(&RECIPE.replace("epochs = 3", "epochs = 3\nepochs = 4"), &[]).unwrap_err().to_string();
    assert!(twice.contains("duplicate key"), "{twice}");
}

#[test]
fn overrides_replace_values() {
    let recipe = parse(
        RECIPE,
        &[
            "seed=7",
            "train.steps=500",
            "train.optimizer.betas=[0.8, 0.9]",
            "objectives.1.weight=0.5",
            "data.train.0.path=shards/{0..3}.tar",
            "modalities.image.augment.shift=1",
            "objectives.0={ kind = \"pairwise-sigmoid\" }",
            "loader.workers=0",
        ],
    )
    .unwrap();
    assert_eq!((recipe.seed, recipe.train.steps, recipe.train.epochs), (7, Some(500), Some(3)));
    assert_eq!(recipe.train.optimizer.betas, [0.8, 0.9]);
    assert_eq!((recipe.data.train[0].path.as_str(), recipe.loader.workers), ("shards/{0..3}.tar", Some(0)));
    let text = recipe.resolved().unwrap();
    assert!(text.contains("weight = 0.5") && text.contains("pairwise-sigmoid") && text.contains("shift = 1"), "{text}");
    assert_eq!(parse(RECIPE, &["train.epochs=9"]).unwrap().train.epochs, Some(9));
}

#[test]
fn a_wrong_override_is_named_itself() {
    for (given, part) in [
        ("train.step=500", "did you mean `steps`?"),
        ("train.batch=many", "`train.batch`: invalid type"),
        ("model.trunk.widht=3", "did you mean `width`?"),
        ("model.trunk.width=13", "not a multiple of heads"),
        ("objectives.2.weight=1", "one of 2 items"),
        ("objectives.first.weight=1", "one of 2 items"),
        ("seed.more=1", "below a integer"),
        ("train", "expected key=value"),
        ("=3", "expected key=value"),
    ] {
        let message = parse(RECIPE, &[given]).unwrap_err().to_string();
        assert!(message.starts_with(&format!("--set {given}: ")) && message.contains(part), "{given}: {message}");
    }
    // A right override does not hide where the mistake is.
    let message = parse(&RECIPE.replace("epochs = 3", "epoch = 3"), &["seed=2"]).unwrap_err().to_string();
    assert!(message.starts_with("r.toml:"), "{message}");
}

#[test]
fn a_resolved_recipe_is_the_same_recipe() {
    let mut recipes = vec![parse(RECIPE, &[]).unwrap()];
    let configs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs"));
    for entry in fs::read_dir(configs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            recipes.push(Recipe::read(&path, &[]).unwrap());
        }
    }
    assert!(recipes.len() > 3);
    for recipe in recipes {
        let text = recipe.resolved().unwrap();
        let again = Recipe { base: recipe.base.clone(), ..parse(&text, &[]).unwrap() };
        assert_eq!(again, recipe, "{text}");
    }
}

#[test]
fn an_absent_file_is_named() {
    let message = Recipe::read(Path::new("no/such.toml"), &[]).unwrap_err().to_string();
    assert!(message.starts_with("no/such.toml: "), "{message}");
}
