use std::sync::Arc;

use axum::extract::Request;
use sensorium_contract::{Decoded, Embedder, Preparation, Sample};
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

use crate::{
    ApiKey, Collection, Input, ServeError, Settings,
    batch::{Queue, Vector},
    body::{Arrived, Form, Reader, from_json, from_multipart},
    content::{Content, Decoder, FormFields},
    error::Refusal,
    gate::Gate,
    metrics::Metrics,
    warm,
};

/// What is served.
pub struct Served {
    /// What clients call the model.
    pub name: String,
    /// What embeds; it lives on one thread.
    pub model: Box<dyn Embedder + Send>,
    /// Raw fields to the model's arrays.
    pub preparation: Arc<Preparation>,
    /// The model's modalities, those that are asked for by default first.
    pub inputs: Vec<Input>,
    /// What can be found.
    pub collection: Option<Arc<dyn Collection>>,
}

/// What every request sees.
pub(crate) struct Service {
    pub name: String,
    /// Numbers in a vector.
    pub width: usize,
    pub decoder: Decoder,
    pub queue: Queue,
    pub reader: Reader,
    pub collection: Option<Arc<dyn Collection>>,
    pub key: Option<ApiKey>,
    pub metrics: Arc<Metrics>,
    pub gate: Gate,
}

impl Service {
    /// Asks the model once, so that what cannot work is known before anyone else asks.
    pub fn start(served: Served, settings: &Settings) -> Result<Self, ServeError> {
        let Served { name, model, preparation, inputs, collection } = served;
        let width = width(&*model, &preparation, &inputs)?;
        if let Some(collection) = &collection
            && collection.width() != width
        {
            return Err(ServeError::Width { index: collection.width(), model: width });
        }
        let metrics = Arc::new(Metrics::new());
        Ok(Self {
            name,
            width,
            queue: Queue::start(model, preparation.clone(), settings, metrics.clone())?,
            decoder: Decoder { preparation, inputs: inputs.into() },
            reader: Reader::new(settings.body, settings.patience),
            collection,
            key: settings.key.clone(),
            metrics,
            gate: Gate::new(),
        })
    }

    /// What a request asks for, in whichever form its body is; and the body, where contents are parts of it.
    pub async fn asked<J: DeserializeOwned + 'static, T: Send + 'static>(
        &self,
        request: Request,
        of_request: fn(J) -> Result<T, Refusal>,
        of_form: fn(FormFields) -> Result<T, Refusal>,
    ) -> Result<(T, Option<Arrived>), Refusal> {
        let (head, body) = request.into_parts();
        let form = Form::of(&head)?;
        let arrived = self.reader.read(&head, body).await?;
        self.queue.refuse_if_full()?;
        match form {
            Form::Json => Ok((blocking(move || of_request(from_json(&arrived.bytes)?)).await??, None)),
            Form::Multipart => Ok((of_form(from_multipart(head, arrived.bytes.clone()).await?)?, Some(arrived))),
        }
    }

    /// The vectors of some contents, and how many tokens the model read.
    pub async fn embed(&self, contents: Vec<Content>) -> Result<(Vec<Vector>, usize), Refusal> {
        let places = self.queue.reserve(contents.len())?;
        let decoder = self.decoder.clone();
        // The places go with the work: it goes on when the client does not.
        let decode = move || decoder.items(contents).map(|decoded| (decoded, places));
        let ((items, tokens), places) = blocking(decode).await??;
        Ok((self.queue.embed(items, places).await?, tokens))
    }

    /// What can be found.
    pub fn collection(&self) -> Result<&Arc<dyn Collection>, Refusal> {
        self.collection
            .as_ref()
            .ok_or_else(|| Refusal::unknown("nothing to find: the server was started without an index"))
    }
}

/// Work that takes its time, on a thread for such.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    spawn_blocking(work).await.map_err(|error| Refusal::fault(&format!("a worker failed: {error}")))
}

/// Numbers in a vector of the model.
fn width(model: &dyn Embedder, preparation: &Preparation, inputs: &[Input]) -> Result<usize, ServeError> {
    let failed = |what: String| ServeError::Model(what);
    let (input, value) = inputs
        .iter()
        .find_map(|input| Some((input, warm::value(input.kind)?)))
        .ok_or_else(|| failed("it takes neither texts nor pictures nor sounds".to_owned()))?;
    let field = input.field.clone().unwrap_or_else(|| input.name.to_string());
    let sample = Sample { key: String::new(), fields: [(field, value)].into() };
    let item = preparation.modalities[&input.name].decode(&sample).map_err(|fault| failed(fault.to_string()))?;
    let item = item.ok_or_else(|| failed(format!("`{}` reads nothing of {}", input.name, input.kind)))?;
    let batch = preparation.collate(vec![(String::new(), Decoded::from([(input.name.clone(), item)]))]);
    let vectors = model.embed(&batch);
    vectors.get(&input.name).map(|found| found.vectors.ncols()).ok_or_else(|| failed("no vector came".to_owned()))
}
