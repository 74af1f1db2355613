//! Where a cluster's endpoints come from. A fixed list is published when the cluster is made; a DNS name is
//! followed for as long as the gateway runs.

pub mod dns;
