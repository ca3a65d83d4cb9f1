//! A label from whatever modalities there are.

use sensorium_contract::Name;
use sensorium_objectives::Answer;
use sensorium_state::export;

use super::*;
use crate::{Said, load, save};

pub(super) const GRADE: &str = "[[objectives]]\nkind = \"supervised\"\nlabel = \"grade\"\ntask = { kind = \"classes\", classes = [\"low\", \"high\"] }\n";

/// Samples with a label; each third lacks a picture, each fourth a text, one has nothing but a sound.
pub(super) fn cases(count: usize) -> Vec<Sample> {
    let grade = |number: usize| Value::Text(["low", "high"][number % 2].to_owned());
    let case = |(number, mut sample): (usize, Sample)| {
        if number % 3 == 1 {
            sample = without(sample, &["image"]);
        }
        if number % 4 == 2 {
            sample = without(sample, &["text"]);
        }
        if number == 5 {
            sample = without(sample, &["image", "text", "size", "weight", "colour"]);
        }
        sample.fields.insert("grade".to_owned(), grade(number));
        sample
    };
    samples(count).into_iter().enumerate().map(case).collect()
}

pub(super) fn graded(topology: &str, objective: &str) -> Model {
    let recipe = recipe(topology, &[objective]);
    let recipe = recipe.replace("kind = \"table\"\n", "kind = \"table\"\nexclude = [\"grade\"]\n");
    let architecture: Architecture = toml::from_str(&recipe).unwrap();
    let modalities = Modalities::fit(&architecture.modalities, &|| Box::new(cases(12).into_iter())).unwrap();
    Model::new(&architecture, modalities, Seed::new(3), &Device::flex().autodiff()).unwrap()
}

pub(super) fn said(model: &Model, samples: &[Sample]) -> Said {
    model.valid().say(&batch(model, samples)).unwrap()
}

#[test]
fn a_missing_modality_is_the_same_as_its_absence() {
    for topology in ["shared", "fused"] {
        let model = graded(topology, GRADE);
        let together = said(&model, &cases(9));
        assert_eq!(together.rows, (0..9).collect::<Vec<_>>());
        for (row, case) in cases(9).into_iter().enumerate() {
            // Alone, nothing of what the case lacks is in the pass at all.
            let alone = said(&model, &[case]);
            let distance =
                (&together.logits.row(row) - &alone.logits.row(0)).fold(0.0, |most: f32, d| most.max(d.abs()));
            assert!(distance < 1e-5, "{topology}, case {row}: {distance}");
        }
    }
}

#[test]
fn every_modality_matters_where_it_is_present() {
    let model = graded("shared", GRADE);
    let whole: Vec<Sample> = samples(1);
    let all = said(&model, &whole).logits;
    for name in ["image", "text", "audio", "table"] {
        let batch = batch(&model, &whole).without(&[Name::new(name)]);
        let less = model.valid().say(&batch).unwrap().logits;
        assert!((&all - &less).fold(0.0, |most: f32, d| most.max(d.abs())) > 1e-4, "{name}");
    }
}

#[test]
fn a_batch_in_pieces_has_the_gradients_of_the_whole() {
    let model =
        graded("shared", &GRADE.replace("kind = \"supervised\"\n", "kind = \"supervised\"\nlabel_smoothing = 0.1\n"));
    let mut cases = cases(8);
    cases[3].fields.remove("grade");
    let whole = batch(&model, &cases);
    let pieces: Vec<Batch> = cases.chunks(3).map(|some| batch(&model, some)).collect();
    let (one, several) = (step(&model, &[whole]), step(&model, &pieces));
    let (a, b) = (parts(&one)["supervised grade"], parts(&several)["supervised grade"]);
    assert!((a.0 - b.0).abs() < 1e-5 && a.1 == 7 && b.1 == 7, "{a:?} {b:?}");
    let (one, several) = (gradients(&model, one), gradients(&model, several));
    for (name, gradient) in one {
        let (Some(a), Some(b)) = (&gradient, &several[&name]) else { continue };
        let distance = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(distance < 1e-5, "{name}: {distance}");
    }
}

#[test]
fn an_absent_modality_gets_no_gradient() {
    let model = graded("shared", GRADE);
    let cases: Vec<Sample> = cases(6).into_iter().map(|case| without(case, &["audio"])).collect();
    let found = gradients(&model, step(&model, &[batch(&model, &cases)]));
    let names: Vec<String> = model.preparation().modalities.keys().map(ToString::to_string).collect();
    let audio = names.iter().position(|name| name == "audio").unwrap();
    for (name, gradient) in found {
        let finite = gradient.as_ref().is_none_or(|values| values.iter().all(|value| value.is_finite()));
        assert!(finite, "{name}");
        if name.starts_with(&format!("encoders.{audio}.")) {
            assert!(gradient.is_none(), "{name}");
        }
    }
}

/// Twenty plain gradient steps lower each loss.
#[test]
fn each_kind_of_label_is_learned() {
    type Label = fn(usize) -> Value;
    let tasks: [(&str, Label); 4] = [
        (r#"{ kind = "classes", classes = ["0", "1", "2"] }"#, |n| Value::Number((n % 3) as f64)),
        (r#"{ kind = "ordinal", classes = ["a", "b", "c"] }"#, |n| Value::Text(["a", "b", "c"][n % 3].into())),
        (r#"{ kind = "labels", classes = ["x", "y"] }"#, |n| Value::Text(["x", "x;y", "y"][n % 3].into())),
        (r#"{ kind = "number", mean = 2.0, deviation = 1.5 }"#, |n| Value::Number(n as f64 / 3.0)),
    ];
    for (task, label) in tasks {
        let objective = format!("[[objectives]]\nkind = \"supervised\"\nlabel = \"grade\"\ntask = {task}\n");
        let mut model = graded("shared", &objective);
        let label_of = |(at, mut case): (usize, Sample)| {
            case.fields.insert("grade".into(), label(at));
            case
        };
        let cases: Vec<Sample> = samples(6).into_iter().enumerate().map(label_of).collect();
        let batch = batch(&model, &cases);
        let loss = |model: &Model| parts(&step(model, std::slice::from_ref(&batch)))["supervised grade"].0;
        let before = loss(&model);
        for _ in 0..40 {
            let gradients = step(&model, std::slice::from_ref(&batch)).gradients;
            model = descend(model, gradients, 0.02);
        }
        let after = loss(&model);
        assert!(after < 0.9 * before, "{task}: {before} → {after}");
        let answers = said(&model, &cases).answers(model.supervised().unwrap());
        for answer in answers {
            match answer {
                Answer::Probabilities(all) if !task.contains("labels") => {
                    assert!((all.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{task}: {all:?}");
                }
                Answer::Probabilities(all) => assert!(all.iter().all(|p| (0.0..=1.0).contains(p))),
                Answer::Number(number) => assert!((-5.0..9.0).contains(&number)),
            }
        }
    }
}

fn descend(model: Model, mut gradients: GradientsParams, rate: f32) -> Model {
    struct Descent<'a>(&'a mut GradientsParams, f32);
    impl burn::module::ModuleMapper for Descent<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(gradient) = self.0.remove::<D>(param.id) else { return param };
            let rate = self.1;
            param.map(|value| Tensor::from_inner(value.inner() - gradient * rate).require_grad())
        }
    }
    model.map(&mut Descent(&mut gradients, rate))
}

#[test]
fn a_model_directory_keeps_what_the_head_says() {
    let model = graded("shared", GRADE);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let probe = batch(&model, &samples(3));
    save(&path, &model, &probe, &[]).unwrap();
    let loaded = load(&path, &Device::flex()).unwrap();
    assert_eq!(said(&loaded, &cases(9)).logits, said(&model, &cases(9)).logits);
    assert_eq!(export(&loaded).len(), export(&model).len());
}
