//! Atomic files, checksummed manifests, run and checkpoint directories.
