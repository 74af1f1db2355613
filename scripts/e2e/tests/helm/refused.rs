//! helm refuses values that are none, and names them.

use shared::test_util::Scratch;

use crate::tool::{helm, said};

/// A values file, and what helm says of it.
const WRONG: &[(&str, &[&str])] = &[
    (
        "gateway: { replica: 3 }",
        &["gateway", "Additional property replica is not allowed"],
    ),
    ("replicas: 3", &["Additional property replicas is not allowed"]),
    (
        "gateway: { replicas: three }",
        &["gateway.replicas", "Invalid type. Expected: integer, given: string"],
    ),
    (
        "gateway: { replicas: -1 }",
        &["gateway.replicas", "greater than or equal to 0"],
    ),
    (
        "gateway: { service: { nodePort: 80 } }",
        &["gateway.service.nodePort", "greater than or equal to 30000"],
    ),
    (
        "gateway: { service: { nodePort: 32768 } }",
        &["gateway.service.nodePort", "less than or equal to 32767"],
    ),
    (
        "gateway: { service: { type: Nodeport } }",
        &["gateway.service.type", "must be one of"],
    ),
    (
        "gateway: { image: { pullPolicy: always } }",
        &["gateway.image.pullPolicy", "must be one of"],
    ),
    (
        "gateway: { image: { tag: 1.10 } }",
        &["gateway.image.tag", "Expected: string"],
    ),
    ("gateway: { image: { tag: latest } }", &["gateway.image.tag"]),
    (
        "gateway: { resources: { limits: { memory: 1 GB } } }",
        &["gateway.resources.limits.memory", "Does not match pattern"],
    ),
    // Settings, as the services declare them.
    (
        "gateway: { env: { MAX_CONECTIONS: 5 } }",
        &["gateway.env", "Additional property MAX_CONECTIONS is not allowed"],
    ),
    (
        "gateway: { env: { BATCH_SIZE: 5 } }",
        &["gateway.env", "Additional property BATCH_SIZE is not allowed"],
    ),
    (
        "gateway: { env: { CONNECT_TIMEOUT: 5s } }",
        &["gateway.env.CONNECT_TIMEOUT", "Does not match pattern"],
    ),
    (
        "gateway: { env: { API_KEY: a } }",
        &["gateway.env", "Additional property API_KEY is not allowed"],
    ),
    (
        "gateway: { env: { POD_NAME: a } }",
        &["gateway.env", "Additional property POD_NAME is not allowed"],
    ),
    (
        "mlInference: { config: { BATCH_SIZE: 0 } }",
        &["mlInference.config.BATCH_SIZE", "greater than or equal to 1"],
    ),
    (
        "mlInference: { config: { MODEL_VERSION: 1.10 } }",
        &["mlInference.config.MODEL_VERSION", "Expected: string"],
    ),
    (
        "sharedConfig: { LOG_LEVEL: verbose }",
        &["sharedConfig.LOG_LEVEL", "Does not match pattern"],
    ),
    // gateway.yaml, by its own schema.
    (
        "gateway: { config: { clusters: [{ name: a }] } }",
        &["gateway.config.clusters.0.name", "Does not match pattern"],
    ),
    (
        "gateway: { config: { routes: [{ prefx: /, cluster: \"a:1\" }] } }",
        &["gateway.config.routes.0", "Additional property prefx"],
    ),
    (
        "gateway: { config: { routes: [{ prefix: /a//b, cluster: \"a:1\" }] } }",
        &["gateway.config.routes.0.prefix"],
    ),
    (
        "gateway: { config: { routes: [{ prefix: /a/../b, cluster: \"a:1\" }] } }",
        &["gateway.config.routes.0.prefix"],
    ),
    // What no schema sees.
    (
        "gateway: { autoscaling: { enabled: true, cpuUtilization: 0 } }",
        &["gateway.autoscaling: without cpuUtilization it needs metrics"],
    ),
    (
        "mlInference: { autoscaling: { enabled: true, minReplicas: 9, maxReplicas: 8 } }",
        &["mlInference.autoscaling: minReplicas 9 is above maxReplicas 8"],
    ),
];

#[test]
fn a_wrong_value_is_refused_by_name() {
    for (text, parts) in WRONG {
        let scratch = Scratch::new("values");
        let file = scratch.file("values.yaml", text);
        let file = file.to_str().expect("UTF-8");
        let Some(output) = helm(&["template", "mlops-lab", "deploy/helm", "--values", file]) else {
            return;
        };
        let said = said(&output);
        assert!(!output.status.success(), "{text} is taken");
        for part in *parts {
            assert!(said.contains(part), "{text}: no {part:?} in {said}");
        }
    }
}
