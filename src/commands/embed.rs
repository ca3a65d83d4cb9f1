use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use sensorium::{
    AnyModel, EMBEDDING_BATCH,
    contract::Embedder,
    retrieve::EmbeddingFile,
    samples::{LoaderConfig, Prepared},
};
use sensorium_state::commit_with;

use super::{ComputeArguments, SampleArguments, progress_bar};

#[derive(Args)]
pub struct Arguments {
    /// A model directory: of a run, or imported
    model: PathBuf,
    #[command(flatten)]
    samples: SampleArguments,
    /// The Parquet file to write: key, modality, vector
    #[arg(long, value_name = "E.parquet")]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.compute.open(&arguments.model)?;
    let model = AnyModel::open(&arguments.model, &device)?;
    model.left_out().iter().for_each(|problem| eprintln!("warning: {problem}"));
    let dataset = arguments.samples.open()?;
    let data = Prepared::new(dataset, Arc::new(model.preparation().clone()), LoaderConfig::default());
    let mut progress = progress_bar("embedding", arguments.quiet);
    let mut vectors = 0;
    commit_with(&arguments.out, |temporary| -> anyhow::Result<()> {
        let mut file: Option<EmbeddingFile> = None;
        let (mut done, all) = (0, data.dataset().len());
        for loaded in data.sequential(EMBEDDING_BATCH) {
            let loaded = loaded?;
            for (modality, embeddings) in model.embed(&loaded.batch) {
                let keys: Vec<&str> = embeddings.rows.iter().map(|&row| &*loaded.batch.keys[row]).collect();
                vectors += keys.len();
                let file = match &mut file {
                    Some(file) => file,
                    none => none.insert(EmbeddingFile::create(temporary, embeddings.vectors.ncols())?),
                };
                file.add(&keys, &modality, embeddings.vectors)?;
            }
            done += loaded.batch.len() + loaded.faults.len();
            progress(done, all);
        }
        match file {
            Some(file) => Ok(file.finish()?),
            None => anyhow::bail!("no sample has any of the model's modalities ({})", names(&model)),
        }
    })?;
    println!("{vectors} vectors of {} samples in {}", data.dataset().len(), arguments.out.display());
    Ok(ExitCode::SUCCESS)
}

fn names(model: &AnyModel) -> String {
    model.fields().keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
