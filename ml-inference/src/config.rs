//! The settings of this service: the table everyone may read, and the typed values made of it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use model_runtime::OnnxRuntimeError;
use model_runtime::onnxruntime::IS_BUILT_IN;
use shared::cli::Program;
use shared::config::scalar::{BYTES, NAME, SECONDS};
use shared::config::{Scalar, Setting, Settings, units};
use shared::cors::{Cors, Origins};
use shared::serve;
use shared::service_settings::{self, ServiceSettings};

use crate::engine::RunLimits;
use crate::model::BuiltIn;
use crate::model::ModelVersion;
use crate::registry::{self, settings};
use crate::repository::check_name;

/// Description of this service for the command line.
pub const PROGRAM: Program = Program {
    name: "ml-inference",
    version: env!("CARGO_PKG_VERSION"),
    description: "Serves models over HTTP: the lab's /predict, TensorFlow Serving's /v1, Open Inference's /v2, probes and metrics, all on one port. \
            Models are loaded and unloaded on another.",
    settings: SETTINGS,
    documents: &[],
    default_document: "",
    default_file: "/etc/ml-inference/ml-inference.yaml",
    default_config_dirs: "/etc/shared-config:/etc/ml-config",
    default_secret_dir: "/etc/secrets/ml-registry-credentials",
    file_note: "The file is optional and holds one setting a line, such as `batch_size: 64`.",
};

const BIND_ADDRESS: Setting = Setting::new(
    "BIND_ADDRESS",
    "0.0.0.0",
    Scalar::quoted_text("an IPv4 or IPv6 address", "^[0-9A-Fa-f:.]+$"),
    "address to listen on",
);
const SERVICE_PORT: Setting = Setting::new(
    "SERVICE_PORT",
    "5000",
    Scalar::Whole(0, 65_535),
    "port to listen on, for everything but ADMIN_ADDRESS; 0 takes a free one",
);
const ADMIN_ADDRESS: Setting = Setting::new(
    "ADMIN_ADDRESS",
    "127.0.0.1:9091",
    Scalar::quoted_text("an address and a port, such as 127.0.0.1:9091, or nothing", ""),
    "where models are loaded and unloaded, and /status.json is served. Anyone who can connect may do it, so by default only from inside \
     the pod (kubectl port-forward); empty: no admin listener",
);
const SERVICE_NAME: Setting = Setting::new("SERVICE_NAME", "ml-inference", NAME, "what /health calls this service");
const MODEL_NAME: Setting = Setting::new(
    "MODEL_NAME",
    "half_plus_two",
    Scalar::any_text(
        "the name of a model: up to 128 letters, digits, '-', '_' and '.', not beginning with '.'",
        "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$",
    ),
    "the model that answers /predict, built in or from MODELS_DIR. half_plus_two is y = x / 2 + 2 for each number, sum adds up each row, mlp is a neural \
     network over rows of 64 numbers that costs a few milliseconds of CPU a row",
);
const MODEL_VERSION: Setting = Setting::new(
    "MODEL_VERSION",
    "1.0",
    Scalar::any_text(ModelVersion::EXPECTS, ""),
    "version of the model, stamped into the image; its major number is the repository's integer version",
);
const MODELS_DIR: Setting = Setting::new(
    "MODELS_DIR",
    "",
    Scalar::quoted_text("an absolute path", "^(/.*)?$"),
    "directory of further ONNX models, MODEL/VERSION/model.onnx; its changes are followed",
);
const MODELS_INTERVAL: Setting = Setting::new(
    "MODELS_INTERVAL",
    "1",
    SECONDS,
    "time between two scans of MODELS_DIR; a change counts when two scans see the same",
);
/// Shorter than the 60 s after which tritonclient gives up, so that it hears why.
const MODELS_LOAD_TIMEOUT: Setting = Setting::new(
    "MODELS_LOAD_TIMEOUT",
    "50",
    SECONDS,
    "longest wait of a request to load or unload a model; the work goes on after it",
);
const MAX_MODEL_BYTES: Setting = Setting::new(
    "MAX_MODEL_BYTES",
    "2Gi",
    BYTES,
    "largest file of a model; larger ones are rejected",
);
pub(crate) const ORT_DYLIB_PATH: Setting = Setting::new(
    "ORT_DYLIB_PATH",
    "",
    Scalar::quoted_text("an absolute path", "^(/.*)?$"),
    "onnxruntime's shared library (1.17 or newer), in a program built with the cargo feature `onnxruntime`; empty: libonnxruntime.so beside \
     the program or where the system has it, if it is there",
);
const BATCH_SIZE: Setting = Setting::new(
    "BATCH_SIZE",
    "32",
    Scalar::Whole(1, 65_536),
    "most rows in one run of a model; larger requests are split into batches",
)
.live();
const MAX_QUEUE: Setting = Setting::new(
    "MAX_QUEUE",
    "256",
    Scalar::Whole(1, 65_536),
    "most requests that wait for a compute thread; further ones are answered 503. half_plus_two and sum need no such thread",
)
.live();
const INTRA_OP_PARALLELISM: Setting = Setting::new(
    "TENSORFLOW_INTRA_OP_PARALLELISM",
    "0",
    Scalar::Whole(0, 1024),
    "threads of one run of a model, 0: one; never more than usable CPUs. The built-in models always use one",
);
const INTER_OP_PARALLELISM: Setting = Setting::new(
    "TENSORFLOW_INTER_OP_PARALLELISM",
    "0",
    Scalar::Whole(0, 1024),
    "most runs of models at the same time: the number of worker threads, and of compute threads; 0: one for each usable CPU, never more",
);
const MAX_BODY_BYTES: Setting = Setting::new(
    "MAX_BODY_BYTES",
    // As the gateway's: 32 images of 3x224x224 are 19.3 MB in binary and up to 50 MB as JSON.
    "64Mi",
    BYTES,
    "largest request body, and most memory of its tensors; larger ones are answered 413",
)
.live();
const MAX_RESPONSE_BYTES: Setting = Setting::new(
    "MAX_RESPONSE_BYTES",
    "64Mi",
    BYTES,
    "most memory of an answer's tensors; a request that would need more is answered 413",
)
.live();
const CORS_ORIGINS: Setting = Setting::new(
    "CORS_ORIGINS",
    "",
    Scalar::quoted_text(
        "* or a comma-separated list of origins as browsers send them, such as http://localhost:3000: in lower case, without a path \
         and without the scheme's own port",
        r"^[a-z0-9:/\[\]._+*,\s-]*$",
    ),
    "origins whose pages may use the answers (CORS), * for all; empty: none. Behind the gateway its routes' `cors` counts",
);
const REQUEST_TIMEOUT: Setting = Setting {
    description: "longest time a request's body may take to arrive; later ones are answered 408",
    ..service_settings::REQUEST_TIMEOUT
};
const OWN: &[Setting] = &[
    BIND_ADDRESS,
    SERVICE_PORT,
    ADMIN_ADDRESS,
    SERVICE_NAME,
    MODEL_NAME,
    MODEL_VERSION,
    MODELS_DIR,
    MODELS_INTERVAL,
    MODELS_LOAD_TIMEOUT,
    MAX_MODEL_BYTES,
    ORT_DYLIB_PATH,
    BATCH_SIZE,
    MAX_QUEUE,
    INTRA_OP_PARALLELISM,
    INTER_OP_PARALLELISM,
    MAX_BODY_BYTES,
    MAX_RESPONSE_BYTES,
    CORS_ORIGINS,
    REQUEST_TIMEOUT,
    settings::MODEL_URI,
    settings::REGISTRY_INTERVAL,
    settings::REGISTRY_TIMEOUT,
    settings::REGISTRY_KEEP_VERSIONS,
    settings::REGISTRY_CA_FILE,
    settings::AWS_ENDPOINT_URL,
    settings::AWS_REGION,
    settings::REGISTRY_USER,
    settings::REGISTRY_PASSWORD,
];

/// Every setting, in the order of `--help`.
pub const SETTINGS: &[Setting] = &service_settings::following::<{ OWN.len() + service_settings::SETTINGS.len() }>(OWN);

const LONGEST_SERVICE_NAME: usize = 63;

#[derive(Debug)]
pub struct Config {
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub service_name: String,
    pub service: ServiceSettings,
    /// Name of the model that answers the lab's protocol.
    pub served: String,
    /// That model, when it is part of the program.
    pub built_in: Option<BuiltIn>,
    pub model_version: ModelVersion,
    pub models: Option<ModelsConfig>,
    /// Worker threads, and as many compute threads.
    pub workers: usize,
    /// For runtimes that have threads of their own; the built-in models do not.
    pub threads_per_run: usize,
    pub limits: Limits,
    /// What pages of other origins are permitted.
    pub cors: Option<Cors>,
    /// Without MODEL_URI there is none.
    pub registry: Option<registry::RegistrySettings>,
}

/// The directory that models are loaded from.
#[derive(Debug, Clone)]
pub struct ModelsConfig {
    pub directory: PathBuf,
    pub interval: Duration,
    /// Timeout for admin load/unload calls.
    pub load_timeout: Duration,
    /// Size limit of one model file.
    pub max_bytes: u64,
    /// Where onnxruntime's library must be.
    pub onnxruntime: Option<PathBuf>,
}

/// Limits of one request. They may change while the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub run: RunLimits,
    pub max_body_bytes: usize,
    /// How long a body may take to arrive.
    pub request_timeout: Duration,
}

/// Takes every value out of `settings`; what is wrong is noted there.
pub fn parse(settings: &mut Settings) -> Config {
    let ip: IpAddr = settings.get(&BIND_ADDRESS, |text| text.parse().ok());
    let port: u16 = settings.get(&SERVICE_PORT, |text| text.parse().ok());
    let address = SocketAddr::new(ip, port);
    let cpus = serve::usable_cpus();
    let most_runs = settings.get(&INTER_OP_PARALLELISM, units::number);
    let served = settings.get(&MODEL_NAME, |text| check_name(text).is_ok().then(|| text.to_owned()));
    let built_in = BuiltIn::parse(&served);
    let models = models(settings);
    if built_in.is_none() && models.is_none() {
        let problem = format!(
            "expected {}, or MODELS_DIR with such a model, found {served:?}",
            BuiltIn::EXPECTS
        );
        settings.refuse_value(&MODEL_NAME, problem);
    }
    let registry = registry(settings, &served, models.as_ref());
    Config {
        address,
        admin: admin(settings, address),
        service_name: settings.get(&SERVICE_NAME, |text| units::name(text, LONGEST_SERVICE_NAME)),
        service: ServiceSettings::from_settings(settings),
        served,
        built_in,
        model_version: settings.get(&MODEL_VERSION, ModelVersion::parse),
        models,
        workers: workers(most_runs, cpus),
        threads_per_run: threads_per_run(settings.get(&INTRA_OP_PARALLELISM, units::number), cpus),
        limits: Limits {
            run: RunLimits {
                batch_size: settings.get(&BATCH_SIZE, units::number),
                most_waiting: settings.get(&MAX_QUEUE, units::number),
                most_response_bytes: settings.get(&MAX_RESPONSE_BYTES, units::bytes),
            },
            max_body_bytes: settings.get(&MAX_BODY_BYTES, units::bytes),
            request_timeout: settings.get(&REQUEST_TIMEOUT, units::seconds),
        },
        cors: settings.get(&CORS_ORIGINS, Origins::parse_list).map(Cors::new),
        registry,
    }
}

/// Address of the admin listener. An overlap with the service's own is reported here, not by a bind that fails.
fn admin(settings: &mut Settings, service: SocketAddr) -> Option<SocketAddr> {
    let address = settings.get(&ADMIN_ADDRESS, |text| match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    });
    let overlaps = |admin: &SocketAddr| {
        let any = admin.ip().is_unspecified() || service.ip().is_unspecified();
        admin.port() == service.port() && admin.port() != 0 && (any || admin.ip() == service.ip())
    };
    if address.as_ref().is_some_and(overlaps) {
        settings.refuse_value(
            &ADMIN_ADDRESS,
            "is where the service listens (BIND_ADDRESS, SERVICE_PORT)",
        );
    }
    address
}

fn models(settings: &mut Settings) -> Option<ModelsConfig> {
    let directory = settings.get(&MODELS_DIR, |text| {
        (text.is_empty() || text.starts_with('/')).then(|| PathBuf::from(text))
    });
    let interval = settings.get(&MODELS_INTERVAL, units::seconds);
    let load_timeout = settings.get(&MODELS_LOAD_TIMEOUT, units::seconds);
    let max_bytes = settings.get(&MAX_MODEL_BYTES, units::bytes);
    let onnxruntime = onnxruntime(settings);
    (!directory.as_os_str().is_empty()).then_some(ModelsConfig {
        directory,
        interval,
        load_timeout,
        max_bytes,
        onnxruntime,
    })
}

fn onnxruntime(settings: &mut Settings) -> Option<PathBuf> {
    let path = settings.get(&ORT_DYLIB_PATH, |text| {
        (text.is_empty() || text.starts_with('/')).then(|| PathBuf::from(text))
    });
    if path.as_os_str().is_empty() {
        return None;
    }
    if !IS_BUILT_IN {
        settings.refuse_value(&ORT_DYLIB_PATH, OnnxRuntimeError::NotBuilt.to_string());
    }
    Some(path)
}

/// Where the model that MODEL_NAME names is pulled from. It must be one that is loaded from MODELS_DIR then.
fn registry(
    settings: &mut Settings,
    served: &str,
    models: Option<&ModelsConfig>,
) -> Option<registry::RegistrySettings> {
    let largest_file = settings.get(&MAX_MODEL_BYTES, units::bytes);
    let registry = registry::RegistrySettings::from_settings(settings, largest_file)?;
    if models.is_none() {
        settings.refuse_value(&settings::MODEL_URI, "needs a MODELS_DIR to put the model into");
    }
    if BuiltIn::parse(served).is_some() {
        let problem = format!("needs the model's name in MODEL_NAME, which {served:?} cannot be");
        settings.refuse_value(&settings::MODEL_URI, problem);
    }
    Some(registry)
}

/// One thread unless the setting says more: several runs at a time do more than one run on several threads.
fn threads_per_run(asked: usize, cpus: usize) -> usize {
    asked.clamp(1, cpus.max(1))
}

/// More workers than CPUs would only take turns.
fn workers(most_runs: usize, cpus: usize) -> usize {
    match most_runs {
        0 => cpus,
        most_runs => most_runs.min(cpus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inter_op_parallelism_bounds_the_workers_and_never_exceeds_the_cpus() {
        assert_eq!(workers(0, 4), 4);
        assert_eq!(workers(2, 4), 2);
        assert_eq!(workers(64, 4), 4);
    }

    #[test]
    fn a_run_has_one_thread_unless_more_are_asked_for() {
        assert_eq!(threads_per_run(0, 4), 1);
        assert_eq!(threads_per_run(2, 4), 2);
        assert_eq!(threads_per_run(64, 4), 4);
    }

    #[test]
    fn no_two_settings_share_a_name() {
        let mut names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
