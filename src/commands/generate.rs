use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use ndarray::ArrayD;
use sensorium::contract::{Array, Seed};
use sensorium_families::{Checkpoint, Inputs, Sampling, generate, open};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::DeviceArguments;

#[derive(Args)]
pub struct Arguments {
    /// A model directory that `import` wrote: GPT, GPT-2, Llama, T5, BART
    model: PathBuf,
    /// The text to go on from, or, of an encoder-decoder, to read
    #[arg(long, required_unless_present = "ids")]
    text: Option<String>,
    /// Token ids in place of a text; ids are printed
    #[arg(long, value_delimiter = ',', conflicts_with = "text", value_name = "ID,ID…")]
    ids: Option<Vec<i64>>,
    /// The most tokens to add
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// 0 takes the best token, 1 draws by probability
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw from the most probable tokens that together have this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// No run of so many tokens comes twice; 0 allows all
    #[arg(long, default_value_t = 0)]
    no_repeat_ngram: usize,
    /// Where draws come from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on beyond the token that ends a text
    #[arg(long)]
    ignore_end: bool,
    /// Read everything again at each token: slower, with the same result
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.check()?;
    let device = arguments.device.open()?;
    let checkpoint = open(&arguments.model, &device)?;
    let name = checkpoint.network.name();
    let network =
        checkpoint.network.generates().with_context(|| format!("a model of the family {name} does not generate"))?;
    let tokenizer = match arguments.ids {
        None => Some(tokenizer(&arguments.model)?),
        Some(_) => None,
    };
    let prompt = arguments.prompt(tokenizer.as_ref())?;
    let (inputs, start) = match decoder_start(&checkpoint) {
        Some(start) => (encoder_inputs(&prompt), vec![start]),
        None => (BTreeMap::new(), prompt),
    };
    let sampling = arguments.sampling(&checkpoint);
    let mut printer = Printer { tokenizer, ids: Vec::new(), printed: 0, failed: None };
    generate(network, &Inputs::new(&inputs, &device), &start, &sampling, &mut |id| printer.add(id))?;
    println!();
    match printer.failed {
        Some(error) => Err(error),
        None => Ok(ExitCode::SUCCESS),
    }
}

impl Arguments {
    fn check(&self) -> anyhow::Result<()> {
        let Self { temperature, top_p, .. } = *self;
        anyhow::ensure!(
            temperature >= 0.0 && temperature.is_finite(),
            "--temperature must be 0 or more, found {temperature}"
        );
        anyhow::ensure!(top_p > 0.0 && top_p <= 1.0, "--top-p must be above 0 and at most 1, found {top_p}");
        Ok(())
    }

    fn prompt(&self, tokenizer: Option<&Tokenizer>) -> anyhow::Result<Vec<i64>> {
        let ids = match (&self.ids, &self.text, tokenizer) {
            (Some(ids), ..) => ids.clone(),
            (None, Some(text), Some(tokenizer)) => {
                let encoding =
                    tokenizer.encode(text.as_str(), true).map_err(|error| anyhow::anyhow!("--text: {error}"))?;
                encoding.get_ids().iter().map(|&id| i64::from(id)).collect()
            }
            _ => Vec::new(),
        };
        anyhow::ensure!(!ids.is_empty(), "there is nothing to go on from: the text has no tokens");
        Ok(ids)
    }

    fn sampling(&self, checkpoint: &Checkpoint) -> Sampling {
        Sampling {
            tokens: self.tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            no_repeat_ngram: self.no_repeat_ngram,
            end: if self.ignore_end { Vec::new() } else { end(&checkpoint.config["eos_token_id"]) },
            seed: Seed::new(self.seed),
            cache: !self.no_cache,
        }
    }
}

/// The token that an encoder-decoder's answer begins with.
fn decoder_start(checkpoint: &Checkpoint) -> Option<i64> {
    checkpoint.config["decoder_start_token_id"].as_i64()
}

fn encoder_inputs(ids: &[i64]) -> BTreeMap<String, Array> {
    let ids = ArrayD::from_shape_fn(vec![1, ids.len()], |at| ids[at[1]]);
    let mask = ids.mapv(|_| 1);
    [("input_ids".to_owned(), Array::I64(ids)), ("attention_mask".to_owned(), Array::I64(mask))].into()
}

/// One id or several.
fn end(value: &Value) -> Vec<i64> {
    match value {
        Value::Array(ids) => ids.iter().filter_map(Value::as_i64).collect(),
        id => id.as_i64().into_iter().collect(),
    }
}

fn tokenizer(model: &Path) -> anyhow::Result<Tokenizer> {
    let path = model.join("tokenizer.json");
    let place = path.display();
    anyhow::ensure!(path.exists(), "`{place}` is missing: the model came without a tokenizer of this form; give --ids");
    Tokenizer::from_file(&path).map_err(|error| anyhow::anyhow!("`{place}`: {error}"))
}

/// Prints as tokens come.
struct Printer {
    tokenizer: Option<Tokenizer>,
    ids: Vec<u32>,
    /// Bytes of the text that are printed.
    printed: usize,
    failed: Option<anyhow::Error>,
}

impl Printer {
    fn add(&mut self, id: i64) {
        let Some(tokenizer) = &self.tokenizer else {
            print!("{}{id}", if self.ids.is_empty() { "" } else { "," });
            self.ids.push(0);
            return flush();
        };
        self.ids.extend(u32::try_from(id));
        match tokenizer.decode(&self.ids, true) {
            // A letter of several tokens shows as a question mark until the last of them.
            Ok(text) if !text.ends_with('\u{fffd}') => {
                if let Some(new) = text.get(self.printed..) {
                    print!("{new}");
                    flush();
                }
                self.printed = text.len();
            }
            Ok(_) => {}
            Err(error) => self.failed = Some(anyhow::anyhow!("the tokens cannot be read: {error}")),
        }
    }
}

/// What is printed shows at once. A reader that has gone away needs nothing more.
fn flush() {
    let _ = std::io::stdout().flush();
}
