//! Fused against composed, composed against finite differences.

mod block;
mod compare;
mod operations;
mod precision;
