//! Where a row of the tables is not kept, file by file, with the reason.

/// Some places, the rows that they do not keep to, and why.
struct Exception {
    places: &'static [&'static str],
    rows: &'static [&'static str],
    /// Part of the faults that are left; nothing leaves all.
    faults: &'static str,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        places: &[
            "deploy/lab/step-02/ml-service-deployment.yaml",
            "deploy/lab/step-03/gateway-deployment.yaml",
            "deploy/lab/step-06/ml-service-deployment.yaml",
            "deploy/lab/step-07/gateway-deployment.yaml",
            "deploy/lab/step-10/ml-service-deployment.yaml",
        ],
        rows: &[
            "health_checks",
            "rollback_strategy",
            "monitor_everything",
            "running_as_root",
        ],
        faults: "",
        reason: "the lab's Deployments, line by line; the images are non-root by themselves, ten revisions are Kubernetes' default, and \
                 deploy/base, the lab's final state, has all of it",
    },
    Exception {
        places: &["deploy/lab/step-09/php-apache.yaml"],
        rows: &[
            "set_resource_requests_and_limits",
            "use_liveness_and_readiness_probes",
            "health_checks",
            "rollback_strategy",
            "monitor_everything",
            "running_as_root",
            "no_resource_limits",
            "latest_tag",
        ],
        faults: "",
        reason: "the lab's file, unchanged, which is Kubernetes' own example: it lives for one exercise",
    },
    Exception {
        places: &["deploy/components/models/models-loader.yaml"],
        rows: &[
            "use_liveness_and_readiness_probes",
            "health_checks",
            "hardcoded_config",
            "no_resource_limits",
        ],
        faults: "",
        reason: "a pod to copy files with, deleted after it: it serves nothing, its command is to wait, and a copy may use CPU that is free",
    },
    Exception {
        places: &[
            "deploy/lab6/k8s/deployment.yaml",
            "deploy/lab6/k8s/service.yaml",
            "deploy/lesson01/ml-api/deployment.yaml",
            "deploy/lesson01/ml-api/service.yaml",
        ],
        rows: &["namespaces_separation"],
        faults: "",
        reason: "the courses' commands name no namespace, so these go to the current one; the pages choose it first, and the kustomizations \
                 beside them name it",
    },
    Exception {
        places: &["deploy/lab6", "deploy/lab6/k8s/deployment.yaml"],
        rows: &["hardcoded_config"],
        faults: "ENVIRONMENT is in no ConfigMap",
        reason: "ENVIRONMENT is the lab's FLASK_ENV, which stands in its Deployment: the lab has no ConfigMap",
    },
    Exception {
        places: &["deploy/lab6", "deploy/lab6/k8s/deployment.yaml"],
        rows: &["hardcoded_config"],
        faults: "CORS_ORIGINS is in no ConfigMap",
        reason: "CORS_ORIGINS is where the lab's web application runs, and the lab has no ConfigMap",
    },
    Exception {
        places: &[
            "deploy/lesson01/components/gpu",
            "deploy/lesson01/gpu",
            "deploy/lesson01/ml-api",
            "deploy/lesson01/ml-api/deployment.yaml",
            "deploy/lesson01/several-models",
        ],
        rows: &["hardcoded_config"],
        faults: "MODEL_NAME is in no ConfigMap",
        reason: "MODEL_NAME is what this Deployment is for, as the lesson's program is: another model is another Deployment",
    },
    Exception {
        places: &["deploy/batch"],
        rows: &["use_liveness_and_readiness_probes", "health_checks"],
        faults: "Probe",
        reason: "a batch ends by itself, serves nothing, and is ended by activeDeadlineSeconds when it does not get on",
    },
    Exception {
        places: &["deploy/batch"],
        rows: &["hardcoded_config"],
        faults: "batch-score: settings in its args",
        reason: "the arguments say which file is scored where: they are the Job, which is made anew for another file",
    },
];

/// Why this fault of a place by a row is left.
pub(super) fn reason(row: &str, place: &str, fault: &str) -> Option<&'static str> {
    let covers = |exception: &&Exception| {
        let is_listed = exception.rows.contains(&row) && exception.places.contains(&place);
        is_listed && fault.contains(exception.faults)
    };
    EXCEPTIONS.iter().find(covers).map(|exception| exception.reason)
}

/// The places that need not keep to a row, with the reason.
pub(super) fn places(row: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_row = EXCEPTIONS.iter().filter(move |exception| exception.rows.contains(&row));
    of_row.flat_map(|exception| exception.places.iter().map(|place| (*place, exception.reason)))
}
