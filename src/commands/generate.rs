use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use sensorium::{
    contract::Seed,
    generation::{Canvas, Prompt, Settings, Speech, picture, speech, text},
};
use sensorium_families::{Checkpoint, Inputs, Sampling, generate, open};
use sensorium_modalities::text::read_tokenizer;
use sensorium_state::commit;
use tokenizers::Tokenizer;

use super::ComputeArguments;

/// The families that generate, and what from.
const GENERATE: &str = "GPT, GPT-2, Llama, T5 and BART (--text), Whisper (--audio) and ImageGPT (--image)";
/// Tokens that are added to a text where nothing else is asked for.
const TOKENS: usize = 64;

#[derive(Args)]
#[command(group = clap::ArgGroup::new("from").required(true).args(["text", "ids", "audio", "image"]))]
pub struct Arguments {
    /// A model directory that `import` wrote: GPT, GPT-2, Llama, T5, BART; Whisper with --audio, ImageGPT with --image
    model: PathBuf,
    /// The text to go on from, or, of an encoder-decoder, to read
    #[arg(long)]
    text: Option<String>,
    /// Token ids in place of a text; ids are printed
    #[arg(long, value_delimiter = ',', value_name = "ID,ID…")]
    ids: Option<Vec<i64>>,
    /// A sound to write down (WAV; its first 30 seconds)
    #[arg(long, value_name = "WAV")]
    audio: Option<PathBuf>,
    /// The language that is spoken, e.g. `fr`; without, the model hears which it is
    #[arg(long, requires = "audio")]
    language: Option<String>,
    /// What to do with a sound: transcribe, or translate to English
    #[arg(long, requires = "audio", value_parser = ["transcribe", "translate"])]
    task: Option<String>,
    /// A picture whose upper part is kept and whose rest is painted
    #[arg(long, value_name = "PICTURE", requires = "out")]
    image: Option<PathBuf>,
    /// The share of the picture that is kept
    #[arg(long, default_value_t = 0.5, requires = "image")]
    keep: f32,
    /// Where to write the painted picture
    #[arg(long, value_name = "PNG", requires = "image")]
    out: Option<PathBuf>,
    /// The most tokens to add [default: 64; of a sound or picture, as many as the model can]
    #[arg(long)]
    tokens: Option<usize>,
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
    compute: ComputeArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.check()?;
    let device = arguments.compute.open(&arguments.model)?;
    let checkpoint = open(&arguments.model, &device)?;
    let name = checkpoint.network.name();
    let network = checkpoint
        .network
        .generates()
        .with_context(|| format!("a model of the family {name} does not generate; {GENERATE} do"))?;
    arguments.suits(name)?;
    let settings = Settings::read(&arguments.model, &checkpoint.config)?;
    let (prompt, mut output) = match (&arguments.audio, &arguments.image) {
        (Some(path), _) => {
            let wav = read(path)?;
            let (language, task) = (arguments.language.as_deref(), arguments.task.as_deref());
            let prompt = speech(&arguments.model, &checkpoint, &Speech { wav: &wav, language, task }, &device)?;
            (prompt, arguments.output(&checkpoint)?)
        }
        (_, Some(path)) => {
            let (prompt, canvas) = picture(&arguments.model, &checkpoint, &read(path)?, arguments.keep)?;
            let kept = prompt.start[1..].to_vec();
            (prompt, Output::Picture(canvas, kept))
        }
        _ => {
            let output = arguments.output(&checkpoint)?;
            (text(&settings, arguments.ids(&output)?), output)
        }
    };
    let sampling = arguments.sampling(&settings, &prompt);
    let inputs = Inputs::new(&prompt.inputs, &device);
    let mut progress = super::progress_bar("painting", arguments.image.is_none());
    let mut done = 0;
    generate(network, &inputs, &prompt.start, &sampling, &mut |id| {
        done += 1;
        progress(done, sampling.tokens);
        output.add(id);
    })?;
    output.finish(arguments.out.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn check(&self) -> anyhow::Result<()> {
        let Self { temperature, top_p, keep, .. } = *self;
        anyhow::ensure!(
            temperature >= 0.0 && temperature.is_finite(),
            "--temperature must be 0 or more, found {temperature}"
        );
        anyhow::ensure!(top_p > 0.0 && top_p <= 1.0, "--top-p must be above 0 and at most 1, found {top_p}");
        anyhow::ensure!((0.0..1.0).contains(&keep), "--keep must be 0 or more and below 1, found {keep}");
        Ok(())
    }

    /// Whether the family reads what is given.
    fn suits(&self, family: &str) -> anyhow::Result<()> {
        let (given, wanted) = match (&self.audio, &self.image) {
            (Some(_), _) => ("--audio", "Whisper"),
            (_, Some(_)) => ("--image", "ImageGpt"),
            _ if family == "Whisper" => anyhow::bail!("a model of the family Whisper reads sounds: give --audio"),
            _ if family == "ImageGpt" && self.text.is_some() => {
                anyhow::bail!("a model of the family ImageGpt paints: give --image")
            }
            _ => return Ok(()),
        };
        anyhow::ensure!(family == wanted, "{given}: only models of the family {wanted} read it, this one is {family}");
        Ok(())
    }

    /// Where what comes goes to.
    fn output(&self, checkpoint: &Checkpoint) -> anyhow::Result<Output> {
        if self.ids.is_some() {
            return Ok(Output::Ids(0));
        }
        let family = checkpoint.config["model_type"].as_str().unwrap_or_default();
        match read_tokenizer(&self.model, family) {
            Ok(tokenizer) => Ok(Output::Text(Box::new(Printer::new(tokenizer, self.audio.is_some())))),
            Err(error) if self.audio.is_some() => {
                eprintln!("warning: ids are printed in place of words: {error}");
                Ok(Output::Ids(0))
            }
            Err(error) => Err(error).context("give --ids, or a tokenizer beside the model"),
        }
    }

    fn ids(&self, output: &Output) -> anyhow::Result<Vec<i64>> {
        let ids = match (&self.ids, &self.text, output) {
            (Some(ids), ..) => ids.clone(),
            (None, Some(text), Output::Text(printer)) => {
                let encoding = printer.tokenizer.encode(text.as_str(), true);
                let encoding = encoding.map_err(|error| anyhow::anyhow!("--text: {error}"))?;
                encoding.get_ids().iter().map(|&id| i64::from(id)).collect()
            }
            _ => Vec::new(),
        };
        anyhow::ensure!(!ids.is_empty(), "there is nothing to go on from: the text has no tokens");
        Ok(ids)
    }

    fn sampling(&self, settings: &Settings, prompt: &Prompt) -> Sampling {
        let tokens = self.tokens.or(prompt.most).unwrap_or(TOKENS);
        Sampling {
            tokens: prompt.most.map_or(tokens, |most| tokens.min(most)),
            temperature: self.temperature,
            top_p: self.top_p,
            no_repeat_ngram: self.no_repeat_ngram,
            suppressed: prompt.suppressed.clone(),
            suppressed_first: prompt.suppressed_first.clone(),
            // A picture ends with its last pixel.
            end: if self.ignore_end || self.image.is_some() { Vec::new() } else { settings.end() },
            seed: Seed::new(self.seed),
            cache: !self.no_cache,
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("`{}`", path.display()))
}

/// Where ids go as they come.
enum Output {
    /// As numbers; how many there were.
    Ids(usize),
    Text(Box<Printer>),
    /// The canvas, and what is on it.
    Picture(Canvas, Vec<i64>),
}

impl Output {
    fn add(&mut self, id: i64) {
        match self {
            Self::Ids(count) => {
                print!("{}{id}", if *count == 0 { "" } else { "," });
                *count += 1;
                flush();
            }
            Self::Text(printer) => printer.add(id),
            Self::Picture(_, ids) => ids.push(id),
        }
    }

    fn finish(self, out: Option<&Path>) -> anyhow::Result<()> {
        match (self, out) {
            (Self::Picture(canvas, ids), Some(out)) => {
                commit(out, &canvas.png(&ids)?)?;
                println!("{} x {} pixels in {}", canvas.width, canvas.height, out.display());
            }
            (Self::Text(printer), _) => {
                println!();
                return printer.failed.map_or(Ok(()), Err);
            }
            _ => println!(),
        }
        Ok(())
    }
}

/// Prints a text as its tokens come.
struct Printer {
    tokenizer: Tokenizer,
    ids: Vec<u32>,
    /// Whether blanks before the first word are left out.
    trims: bool,
    /// Bytes of the text that are printed.
    printed: usize,
    failed: Option<anyhow::Error>,
}

impl Printer {
    fn new(tokenizer: Tokenizer, trims: bool) -> Self {
        Self { tokenizer, ids: Vec::new(), trims, printed: 0, failed: None }
    }

    fn add(&mut self, id: i64) {
        self.ids.extend(u32::try_from(id));
        match self.tokenizer.decode(&self.ids, true) {
            // A letter of several tokens shows as a question mark until the last of them.
            Ok(text) if !text.ends_with('\u{fffd}') => {
                let text = if self.trims { text.trim_start() } else { &text };
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
