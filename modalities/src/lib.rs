//! One folder a modality: raw fields to host arrays to tokens.
