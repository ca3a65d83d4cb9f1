use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Args, ValueEnum};
use sensorium::retrieve::{
    IndexOptions,
    index::{self, Dtype, Metric, ModalityDescription},
};

use super::progress_bar;

#[derive(Args)]
pub struct Arguments {
    /// Vectors that `embed` wrote, or any Parquet file of key, modality and vector
    embeddings: PathBuf,
    /// The directory to write; an index that is there is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Make no graph: each search compares with every vector
    #[arg(long)]
    exact: bool,
    /// What the graph holds the vectors as; scores come from the whole vectors in any case
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeArgument,
    /// How near two vectors are
    #[arg(long, value_enum, default_value = "cosine")]
    metric: MetricArgument,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum DtypeArgument {
    /// 4 bytes a number
    F32,
    /// 2 bytes a number
    F16,
    /// 1 byte a number, for --metric cosine
    I8,
}

#[derive(Clone, Copy, ValueEnum)]
enum MetricArgument {
    /// Angle
    Cosine,
    /// Dot product
    Dot,
    /// Distance
    Euclidean,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let options = IndexOptions {
        exact: arguments.exact,
        dtype: match arguments.dtype {
            DtypeArgument::F32 => Dtype::F32,
            DtypeArgument::F16 => Dtype::F16,
            DtypeArgument::I8 => Dtype::I8,
        },
        metric: match arguments.metric {
            MetricArgument::Cosine => Metric::Cosine,
            MetricArgument::Dot => Metric::Dot,
            MetricArgument::Euclidean => Metric::Euclidean,
        },
    };
    let begin = Instant::now();
    let mut progress = progress_bar("indexing", arguments.quiet);
    let index = index::build(&arguments.embeddings, &arguments.out, &options, &mut progress)?;
    let description = index.description();
    for (name, ModalityDescription { rows, recall_at_10 }) in &description.modalities {
        let recall = recall_at_10.map(|recall| format!(", recall@10 {recall:.3} of the exact scan's"));
        println!("{name}: {rows} vectors{}", recall.unwrap_or_default());
    }
    let kind = description.graph.map_or("exact scan".to_owned(), |dtype| format!("HNSW of {dtype}"));
    println!(
        "{kind} by {}, width {}, in {} ({:.1} s)",
        description.metric,
        description.width,
        arguments.out.display(),
        begin.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}
