//! The images, tested as containers: built, started on one network, asked through the gateway, replaced one by one under load. What a
//! cluster adds (probes, Services, rollouts) is not here.
//!
//! scripts/test.sh builds what is packaged and names it:
//!
//! | Variable | |
//! | --- | --- |
//! | `CONTAINER_BINARIES` | the directory of static binaries; without it nothing of this is tested |
//! | `CONTAINER_ONNXRUNTIME` | an ml-inference with the cargo feature onnxruntime, not static: its image is tried, too |
//!
//! It needs podman or docker.

mod dockerfile;
mod engine;
mod onnxruntime;
mod pair;
