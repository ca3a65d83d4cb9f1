mod differences;
mod directory;
mod leave_out;
mod low_rank;
mod passes;
mod pieces;
mod supervised;

use std::{collections::BTreeMap, io::Cursor};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use image::{ImageFormat, Rgb, RgbImage};
use sensorium_contract::{Batch, Sample, Seed, StepContext, StepGradients, Trainable, Value};
use sensorium_modalities::Modalities;

use crate::{Architecture, Model};

const MODALITIES: &str = r#"
[modalities.image]
kind = "image"
size = 8
patch = 4

[modalities.text]
kind = "text"
tokenizer = { train = "byte" }
context = 14

[modalities.audio]
kind = "audio"
rate = 8000
seconds = 0.1
window = 64
hop = 32
fft = 64
mels = 8
patch_frames = 4

[modalities.table]
kind = "table"
mask_ratio = 0.5
"#;

const TRUNK: &str = "layers = 2\nwidth = 12\nheads = 2\n";

/// `causal` is `towers` with a text trunk that reads one way.
fn recipe(topology: &str, objectives: &[&str]) -> String {
    let towers = |text: &str| {
        let plain = ["audio", "image", "table"].map(|name| format!("[model.towers.{name}]\n{TRUNK}")).concat();
        format!("{plain}[model.towers.text]\n{TRUNK}{text}")
    };
    let (kind, trunks) = match topology {
        "shared" => ("shared", format!("[model.trunk]\n{TRUNK}")),
        "towers" => ("towers", towers("")),
        "causal" => ("towers", towers("attention = \"causal\"\n")),
        _ => ("fused", format!("{}[model.joint]\nlayers = 1\nwidth = 8\nheads = 2\n", towers(""))),
    };
    let modalities = match topology {
        "causal" => MODALITIES.replace("context = 14\n", "context = 14\npool = \"last\"\n"),
        _ => MODALITIES.to_owned(),
    };
    format!("{modalities}[model]\ntopology = \"{kind}\"\nembedding = 6\n{trunks}{}", objectives.concat())
}

const CONTRASTIVE: &str = "[[objectives]]\nkind = \"contrastive\"\n";
const SIGMOID: &str = "[[objectives]]\nkind = \"pairwise-sigmoid\"\nscale = 2\nbias = -1\n";
const MASKED: &str = "[[objectives]]\nkind = \"masked-modelling\"\n";
const MASKED_JOINT: &str =
    "[[objectives]]\nkind = \"masked-modelling\"\npasses = [[\"image\", \"text\"], [\"text\", \"audio\", \"table\"]]\n";
const MATCHING: &str = "[[objectives]]\nkind = \"matching\"\nmodalities = [\"image\", \"text\"]\n";

fn model(topology: &str, objectives: &[&str]) -> Model {
    let architecture: Architecture = toml::from_str(&recipe(topology, objectives)).unwrap();
    let modalities = Modalities::fit(&architecture.modalities, &|| Box::new(samples(12).into_iter())).unwrap();
    Model::new(&architecture, modalities, Seed::new(3), &Device::flex().autodiff()).unwrap()
}

fn context() -> StepContext {
    StepContext { seed: Seed::new(5), step: 7 }
}

/// Samples of all modalities, all of different content. One lacks a cell of its row.
fn samples(count: usize) -> Vec<Sample> {
    (0..count).map(sample).collect()
}

fn sample(number: usize) -> Sample {
    let colours = ["red", "green", "blue"];
    let fields = [
        ("image", Value::Bytes(picture(number).into())),
        ("text", Value::Text(format!("{}{number}", "abcdefgh".split_at(number % 7 + 1).0))),
        ("audio", Value::Bytes(sound(number).into())),
        ("size", Value::Number(number as f64 * 0.7 - 2.0)),
        ("weight", Value::Number((number * 5 % 7) as f64)),
        ("colour", Value::Text(colours[number % 3].to_owned())),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    let sample = Sample { key: format!("sample-{number}"), fields: BTreeMap::from(fields) };
    if number == 3 { without(sample, &["size"]) } else { sample }
}

fn picture(number: usize) -> Vec<u8> {
    let pixel = |x: u32, y: u32| {
        let value = |factor: u32| ((x * 37 + y * 11 * factor + number as u32 * 53) * factor % 256) as u8;
        Rgb([value(1), value(3), value(7)])
    };
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(8, 8, pixel).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Sounds of different lengths.
fn sound(number: usize) -> Vec<u8> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for at in 0..400 + number % 5 * 90 {
        let phase = at as f32 * (0.1 + 0.07 * number as f32);
        writer.write_sample((phase.sin() * 8000.0) as i16 + (at * 7919 % 101) as i16).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn without(mut sample: Sample, fields: &[&str]) -> Sample {
    sample.fields.retain(|name, _| !fields.contains(&name.as_str()));
    sample
}

const TABLE: [&str; 3] = ["size", "weight", "colour"];

fn batch(model: &Model, samples: &[Sample]) -> Batch {
    let preparation = model.preparation();
    let decode = |sample: &Sample| (sample.key.clone(), preparation.decode(sample).unwrap());
    preparation.collate(samples.iter().map(decode).collect())
}

/// Every parameter's gradient by its path; nothing where there is none.
fn gradients(model: &Model, step: StepGradients) -> BTreeMap<String, Option<Vec<f32>>> {
    let mut named = Named { gradients: step.gradients, path: Vec::new(), found: BTreeMap::new() };
    model.visit(&mut named);
    named.found
}

struct Named {
    gradients: GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Option<Vec<f32>>>,
}

impl ModuleVisitor for Named {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id);
        let gradient = gradient.map(|gradient| gradient.into_data().iter::<f32>().collect());
        self.found.insert(self.path.join("."), gradient);
    }
}

fn step(model: &Model, pieces: &[Batch]) -> StepGradients {
    model.gradients(pieces, context())
}

/// The parts' values and items by name.
fn parts(step: &StepGradients) -> BTreeMap<String, (f32, usize)> {
    let part = |part: &sensorium_contract::LossPart| {
        (part.name.clone(), (part.value.clone().into_scalar::<f32>(), part.items))
    };
    step.loss.parts.iter().map(part).collect()
}
