//! The whole server over a real socket, with a model that is a few lines.

mod answers;
mod fake;
mod limits;
mod site;
