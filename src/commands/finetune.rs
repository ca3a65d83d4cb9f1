use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use sensorium::{
    FineTuning,
    adapt::{Balance, GuardConfig, Proposal, Request, Training},
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
    /// A table: CSV, TSV, JSON Lines or Parquet; paths in it start at its folder
    #[arg(required = true)]
    data: Vec<String>,
    /// The column to tell, or a question about one: `target > 0`, `finding = COVID-19`, `finding ~ pneumonia`
    #[arg(long)]
    label: String,
    /// The run directory; one that exists is continued [default: runs/TABLE-LABEL]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Start from a model of ours or an imported checkpoint: what it knows of the same kinds of data is taken over
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    /// How long to train, e.g. 90s, 10m, 1h; turned once into a number of steps
    #[arg(long, value_parser = seconds)]
    time: Option<f64>,
    /// What columns hold, where it is not as inferred: image=scan,text=notes,drop=id,url (may be repeated)
    #[arg(long, value_name = "KIND=COLUMN,…")]
    columns: Vec<String>,
    /// The kind of problem, where it is not as inferred
    #[arg(long, value_enum)]
    problem: Option<Problem>,
    /// Cases that share this column's value stay on one side of every split: a patient, a hospital
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// A column that says train, validation or test
    #[arg(long, value_name = "COLUMN")]
    split: Option<String>,
    /// Cross-validation: so many models, each judged on cases that it has not seen; predictions average them
    #[arg(long)]
    folds: Option<usize>,
    /// What of the model that is started from is trained
    #[arg(long, value_enum, default_value = "full")]
    adapt: Adapt,
    /// What stays as it is: modalities with all that is theirs alone (a locked tower; a trunk that is shared goes on
    /// learning), or patterns of parameters, e.g. `--lock image`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    lock: Vec<String>,
    /// Let rare classes count as much as frequent ones: by weights, or by `--balance=sampling`
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "weights")]
    balance: Option<Balanced>,
    /// Measure what is forgotten: samples (as of `evaluate`) on which the model that is started from finds one
    /// modality by another, before, after and between (may be repeated)
    #[arg(long, value_name = "DATA", requires = "from")]
    guard: Vec<String>,
    /// TOML of prompts, for zero-shot classes of the guard's samples
    #[arg(long, value_name = "TOML", requires = "guard")]
    guard_prompts: Option<PathBuf>,
    /// The field of the guard's samples that says their class
    #[arg(long, value_name = "FIELD", requires = "guard")]
    guard_label: Option<String>,
    /// How far what was taken over moves from the start (0) to where training takes it (1); may be changed when a
    /// run is finished
    #[arg(long, value_name = "SHARE", requires = "from")]
    blend: Option<f64>,
    /// Override a key of the recipe, e.g. `--set train.batch=32` (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[arg(long, default_value = "0", value_parser = clap::value_parser!(u64).range(..=LARGEST_SEED))]
    seed: u64,
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
    fn request(&self) -> Request {
        Request {
            data: self.data.clone(),
            label: self.label.clone(),
            columns: self.columns.clone(),
            problem: self.problem.map(|problem| match problem {
                Problem::Classes => ProblemKind::Classes,
                Problem::Ordinal => ProblemKind::Ordinal,
                Problem::Labels => ProblemKind::Labels,
                Problem::Number => ProblemKind::Number,
            }),
            group: self.group.clone(),
            split: self.split.clone(),
            folds: self.folds,
            seconds: self.time,
            from: self.from.clone(),
            training: match self.adapt {
                Adapt::Full => Training::Full,
                Adapt::Frozen => Training::Frozen,
                Adapt::Lora => Training::Lora,
            },
            lock: self.lock.clone(),
            balance: self.balance.map(|balance| match balance {
                Balanced::Weights => Balance::Weights,
                Balanced::Sampling => Balance::Sampling,
            }),
            guard: (!self.guard.is_empty()).then(|| GuardConfig {
                data: self.guard.clone(),
                prompts: self.guard_prompts.clone(),
                label: self.guard_label.clone(),
            }),
            blend: self.blend,
            set: self.overrides.clone(),
            seed: self.seed,
        }
    }

    fn default_run(&self) -> PathBuf {
        let stem = |path: &String| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let table = self.data.first().and_then(stem).unwrap_or_default();
        let words = |text: &str| text.split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>().join("-");
        PathBuf::from("runs").join(format!("{}-{}", words(&table), words(&self.label)))
    }
}

/// `90s`, `10m`, `1.5h`; a bare number is seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim().strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[text.len() - 1..]),
        None => (text.trim(), "s"),
    };
    let number: f64 = number.trim().parse().map_err(|_| "expected a time such as 90s, 10m or 1h".to_owned())?;
    let seconds = number
        * match unit {
            "h" => 3600.0,
            "m" => 60.0,
            _ => 1.0,
        };
    (seconds > 0.0 && seconds.is_finite()).then_some(seconds).ok_or("expected a time above 0".to_owned())
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.open()?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.default_run());
    let stop = Stop::on_signals()?;
    let mut display = || if arguments.quiet { Display::quiet() } else { Display::auto() };
    let mut show = |proposal: &Proposal| show(proposal, arguments.quiet);
    // Drawn when training is over, which has a bar of its own.
    let mut bar = None;
    let mut guarding = |done, all| {
        bar.get_or_insert_with(|| progress_bar("measuring what is forgotten", arguments.quiet))(done, all);
    };
    let request = arguments.request();
    let tuned = match sensorium::finetune(request, &out, &device, &stop, &mut display, &mut show, &mut guarding)? {
        FineTuning::Finished(tuned) => tuned,
        FineTuning::Interrupted { signal } => {
            eprintln!("interrupted; the same command goes on from here");
            return Ok(ExitCode::from(128 + signal as u8));
        }
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&tuned.judgement.report)?),
        false => println!("On the {} cases:\n{}", tuned.on, tuned.judgement.report),
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
