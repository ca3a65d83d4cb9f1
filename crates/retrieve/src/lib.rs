//! Retrieval metrics and reports.
