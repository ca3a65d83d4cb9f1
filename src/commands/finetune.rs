use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use sensorium::{
    Error, FineTuning,
    adapt::{Balance, Duration, GuardConfig, Proposal, Request, Training},
    train::{Display, Stop},
};
use sensorium_cases::ProblemKind;

use super::{DeviceArguments, LARGEST_SEED, progress_bar};

/// What kind of problem a label is.
#[derive(Clone, Copy, ValueEnum)]
enum Problem {
    /// One of two or more classes
    Classes,
    /// One of several grades in their order
    Ordinal,
    /// Any number of classes at once: a list, or names between semicolons
    Labels,
    /// A number
    Number,
}

/// What is trained of a model that was started from.
#[derive(Clone, Copy, ValueEnum)]
enum Adapt {
    /// Everything, deeper layers more slowly
    Full,
    /// What is new; all that was taken over stays as it is
    Frozen,
    /// What is new, and low-rank changes of the Transformer (`--set start.low_rank.rank=8`), merged in the end
    Lora,
}

/// How rare classes come to count as much as frequent ones.
#[derive(Clone, Copy, ValueEnum)]
enum Balanced {
    /// A case counts the more the rarer its class
    Weights,
    /// Every class is drawn equally often
    Sampling,
}

#[derive(Args)]
pub struct Arguments {
    /// A table: CSV, TSV, JSON Lines or Parquet; paths in it start at its folder. Or a recipe, `configs/finetune/*.toml`,
    /// which holds these options (`data = ["cases.csv"]`, `label = "finding"`, `time = "10m"`); what is given beside it
    /// counts instead
    #[arg(required = true)]
    data: Vec<String>,
    /// The column to tell, or a question about one: `target > 0`, `finding = COVID-19`, `finding ~ pneumonia`
    #[arg(long)]
    label: Option<String>,
    /// The run directory; one that exists is continued [default: runs/TABLE-LABEL, or runs/RECIPE]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Start from a model of ours or an imported checkpoint: what it knows of the same kinds of data is taken over
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    /// How long to train, e.g. 90s, 10m, 1h; turned once into a number of steps (`--set train.steps=N` gives that itself)
    #[arg(long)]
    time: Option<Duration>,
    /// What columns hold, where it is not as inferred: image=scan,text=notes,drop=id,url (may be repeated)
    #[arg(long, value_name = "KIND=COLUMN,…")]
    columns: Vec<String>,
    /// The kind of problem, where it is not as inferred
    #[arg(long, value_enum)]
    problem: Option<Problem>,
    /// Rows that share this column's value are one case, of which all pictures and notes are read together
    #[arg(long, value_name = "COLUMN")]
    case: Option<String>,
    /// Cases that share this column's value stay on one side of every split: a patient, a hospital
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// A column that says train, validation or test
    #[arg(long, value_name = "COLUMN")]
    split: Option<String>,
    /// Cross-validation: so many models, each judged on cases that it has not seen; predictions average them
    #[arg(long)]
    folds: Option<usize>,
    /// Cross-validate so often, each time in other folds: a case is then told by so many models that have not seen it
    #[arg(long)]
    repeats: Option<usize>,
    /// What of the model that is started from is trained [default: full]
    #[arg(long, value_enum)]
    adapt: Option<Adapt>,
    /// What stays as it is: modalities with all that is theirs alone (a locked tower; a trunk that is shared goes on
    /// learning), or patterns of parameters, e.g. `--lock image`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    lock: Vec<String>,
    /// Let rare classes count as much as frequent ones: by weights, or by `--balance=sampling`
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "weights")]
    balance: Option<Balanced>,
    /// Measure what is forgotten: samples (as of `evaluate`) on which the model that is started from finds one
    /// modality by another, before, after and between (may be repeated)
    #[arg(long, value_name = "DATA")]
    guard: Vec<String>,
    /// TOML of prompts, for zero-shot classes of the guard's samples
    #[arg(long, value_name = "TOML", requires = "guard")]
    guard_prompts: Option<PathBuf>,
    /// The field of the guard's samples that says their class
    #[arg(long, value_name = "FIELD", requires = "guard")]
    guard_label: Option<String>,
    /// How far what was taken over moves from the start (0) to where training takes it (1); may be changed when a
    /// run is finished
    #[arg(long, value_name = "SHARE")]
    blend: Option<f64>,
    /// Override a key of the recipe, e.g. `--set train.batch=32` (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Whatever is drawn follows from it [default: 0]
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=LARGEST_SEED))]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceArguments,
    /// Print the judgement as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// No progress bar and no table of columns
    #[arg(long)]
    quiet: bool,
}

impl Arguments {
    /// The recipe, if one is given, and the tables.
    fn recipe(&self) -> (Option<&Path>, &[String]) {
        match &self.data[..] {
            [recipe, tables @ ..] if recipe.ends_with(".toml") => (Some(recipe.as_ref()), tables),
            tables => (None, tables),
        }
    }

    /// What the recipe asks for, with the options in the place of what it says.
    fn request(&self) -> Result<Request, Error> {
        let (recipe, tables) = self.recipe();
        let mut request = recipe.map(Request::read).transpose()?.unwrap_or_default();
        let guard = (!self.guard.is_empty()).then(|| GuardConfig {
            data: self.guard.clone(),
            prompts: self.guard_prompts.clone(),
            label: self.guard_label.clone(),
        });
        replace_all(&mut request.data, tables);
        replace(&mut request.label, self.label.clone());
        replace_all(&mut request.columns, &self.columns);
        replace(&mut request.problem, self.problem.map(|problem| Some(problem.into())));
        replace(&mut request.case, self.case.clone().map(Some));
        replace(&mut request.group, self.group.clone().map(Some));
        replace(&mut request.split, self.split.clone().map(Some));
        replace(&mut request.folds, self.folds.map(Some));
        replace(&mut request.repeats, self.repeats.map(Some));
        replace(&mut request.time, self.time.map(Some));
        replace(&mut request.from, self.from.clone().map(Some));
        replace(&mut request.adapt, self.adapt.map(Into::into));
        replace_all(&mut request.lock, &self.lock);
        replace(&mut request.balance, self.balance.map(|balance| Some(balance.into())));
        replace(&mut request.guard, guard.map(Some));
        replace(&mut request.blend, self.blend.map(Some));
        request.set.extend_from_slice(&self.overrides);
        replace(&mut request.seed, self.seed);
        match () {
            () if request.data.is_empty() => {
                Err(Error::Usage("a recipe without `data` needs a table beside it".into()))
            }
            () if request.label.is_empty() => Err(Error::Usage("which column is to be told? --label COLUMN".into())),
            () => Ok(request),
        }
    }

    fn default_run(&self, request: &Request) -> PathBuf {
        let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let words = |text: &str| text.split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>().join("-");
        let table = || request.data.first().map(|path| stem(path.as_ref())).unwrap_or_default();
        PathBuf::from("runs").join(match self.recipe() {
            (Some(recipe), _) => stem(recipe),
            (None, _) => format!("{}-{}", words(&table()), words(&request.label)),
        })
    }
}

fn replace<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

fn replace_all(place: &mut Vec<String>, given: &[String]) {
    if !given.is_empty() {
        *place = given.to_vec();
    }
}

impl From<Problem> for ProblemKind {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Classes => Self::Classes,
            Problem::Ordinal => Self::Ordinal,
            Problem::Labels => Self::Labels,
            Problem::Number => Self::Number,
        }
    }
}

impl From<Adapt> for Training {
    fn from(adapt: Adapt) -> Self {
        match adapt {
            Adapt::Full => Self::Full,
            Adapt::Frozen => Self::Frozen,
            Adapt::Lora => Self::Lora,
        }
    }
}

impl From<Balanced> for Balance {
    fn from(balanced: Balanced) -> Self {
        match balanced {
            Balanced::Weights => Self::Weights,
            Balanced::Sampling => Self::Sampling,
        }
    }
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.open()?;
    let request = arguments.request()?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.default_run(&request));
    let stop = Stop::on_signals()?;
    let mut display = || if arguments.quiet { Display::quiet() } else { Display::auto() };
    let mut show = |proposal: &Proposal| show(proposal, arguments.quiet);
    // Drawn when training is over, which has a bar of its own.
    let mut bar = None;
    let mut guarding = |done, all| {
        bar.get_or_insert_with(|| progress_bar("measuring what is forgotten", arguments.quiet))(done, all);
    };
    let tuned = match sensorium::finetune(request, &out, &device, &stop, &mut display, &mut show, &mut guarding)? {
        FineTuning::Finished(tuned) => tuned,
        FineTuning::Interrupted { signal } => {
            eprintln!("interrupted; the same command goes on from here");
            return Ok(ExitCode::from(128 + signal as u8));
        }
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&tuned.judged)?),
        false => println!("On the {} cases:\n{}", tuned.on, tuned.judged),
    }
    if let (Some(trade), false) = (&tuned.trade, arguments.json) {
        println!("{trade}");
    }
    if !arguments.quiet {
        let out = out.display();
        eprintln!("run:    {out}  (sensorium predict {out} NEW.csv)\nreport: {out}/report.html");
    }
    Ok(ExitCode::SUCCESS)
}

/// The table of columns, and what else a user should see before anything runs.
fn show(proposal: &Proposal, quiet: bool) {
    for warning in &proposal.cases.warnings {
        eprintln!("warning: {warning}");
    }
    if quiet {
        return;
    }
    let recipe = &proposal.recipe;
    let names: Vec<&str> = recipe.modalities.keys().map(|name| &**name).collect();
    eprintln!("{}\n`{}` is {}", proposal.cases, proposal.cases.label.name(), proposal.cases.problem);
    eprintln!(
        "read together: {}; at most {} steps of {} cases\n",
        names.join(", "),
        recipe.train.steps.unwrap_or(0),
        recipe.train.batch
    );
}
