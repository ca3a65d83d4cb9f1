//! Encoders, trunks, heads and objectives as one module.
