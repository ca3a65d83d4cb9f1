//! The binary: parse, build, run.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{
    bench, check, compare, data, embed, evaluate, explain, export, finetune, forward, generate, import, index, predict,
    pretrain, search, serve,
};

/// Multimodal foundation models: pretrain, evaluate, embed and search.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a data set that needs no download as tar shards
    Data(data::Arguments),
    /// Say what a recipe would do: data, parameters, memory, FLOPs and time; nothing is trained
    Check(check::Arguments),
    /// Train a recipe's model, or go on with the run that is in the directory
    Pretrain(pretrain::Arguments),
    /// Learn a label from a table of your own: pictures, sounds, texts and columns, some of them missing
    Finetune(finetune::Arguments),
    /// Tell the label of new cases, one row out for each row in (or for each case, where rows are joined)
    Predict(predict::Arguments),
    /// Judge a model on samples
    Evaluate(evaluate::Arguments),
    /// Show which parts of a picture, a sound or a table row match the other side
    Explain(explain::Arguments),
    /// Turn samples into vectors, one row an item and modality, in a Parquet file
    Embed(embed::Arguments),
    /// Make an index of vectors, which `search` and `serve` answer from
    Index(index::Arguments),
    /// Find what fits a text, a picture, a sound or a table row
    Search(search::Arguments),
    /// Answer over HTTP: vectors, search, and a page to look at
    Serve(serve::Arguments),
    /// Lay the retrieval numbers of finished runs side by side, with their mean
    Compare(compare::Arguments),
    /// Take in a published checkpoint (Hugging Face layout) as a model directory
    Import(import::Arguments),
    /// Give out an imported model in the layout in which it was published
    Export(export::Arguments),
    /// Go on from a text with an imported language model, or answer one
    Generate(generate::Arguments),
    /// Run an imported model on raw tensors
    Forward(forward::Arguments),
    /// Measure how fast a recipe trains, and where the time goes
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Data(arguments) => data::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Pretrain(arguments) => pretrain::run(arguments),
        Command::Finetune(arguments) => finetune::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Embed(arguments) => embed::run(arguments),
        Command::Index(arguments) => index::run(arguments),
        Command::Search(arguments) => search::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Forward(arguments) => forward::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", commands::message(&error));
        commands::exit_code(&error)
    })
}
