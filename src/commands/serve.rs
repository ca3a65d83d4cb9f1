use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use sensorium::{
    AnyModel, IndexedItems,
    serve::{ApiKey, Collection, Served, Settings, serve},
};

use super::DeviceArguments;

#[derive(Args)]
pub struct Arguments {
    /// A model directory: of a run, or imported
    model: PathBuf,
    /// What can be found: an index of the same model, as `index` writes it
    #[arg(long, value_name = "I")]
    index: Option<PathBuf>,
    /// Where to listen; other machines are answered only with `--api-key-file`
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A file with the key that every request must carry: `Authorization: Bearer KEY`, or as the password of a browser
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Items that the model embeds at once
    #[arg(long, value_name = "ITEMS", default_value_t = 32)]
    batch: usize,
    /// How long the first item of a batch waits for others
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5)]
    wait_ms: u64,
    /// Items that are taken in and not yet answered; beyond it the answer is 429
    #[arg(long, value_name = "ITEMS", default_value_t = 256)]
    queue: usize,
    /// The longest body of a request; beyond it the answer is 413
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    body_mb: usize,
    /// Open connections; further ones wait
    #[arg(long, value_name = "COUNT", default_value_t = 800)]
    connections: usize,
    /// A request's head, and then its body, must each arrive within this time; beyond it the answer is 408
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    patience: u64,
    /// After SIGTERM, requests that have begun have this time to be finished
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings {
        listen: arguments.listen,
        key: arguments.api_key_file.as_deref().map(ApiKey::read).transpose()?,
        batch: arguments.batch,
        wait: Duration::from_millis(arguments.wait_ms),
        queue: arguments.queue,
        body: arguments.body_mb.saturating_mul(1 << 20),
        connections: arguments.connections,
        patience: Duration::from_secs(arguments.patience),
        grace: Duration::from_secs(arguments.grace),
    };
    settings.check()?;
    let model = AnyModel::open(&arguments.model, &arguments.device.open()?)?;
    let items = arguments.index.as_deref().map(|index| IndexedItems::open(index, &arguments.model)).transpose()?;
    if let Some(problem) = items.as_ref().and_then(IndexedItems::problem) {
        eprintln!("warning: items can be found, but not shown: {problem}");
    }
    let served = Served {
        name: name(&arguments.model),
        preparation: Arc::new(model.preparation().clone()),
        inputs: model.inputs(),
        model: Box::new(model),
        collection: items.map(|items| Arc::new(items) as Arc<dyn Collection>),
    };
    serve(served, &settings, |address| eprintln!("listening on http://{address}"))?;
    Ok(ExitCode::SUCCESS)
}

/// What clients call a model: its folder's name, or that of the run that it is of.
fn name(path: &std::path::Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match (own.as_str(), path.parent().and_then(|run| run.file_name())) {
        ("model", Some(run)) => run.to_string_lossy().into_owned(),
        _ => own,
    }
}
