//! Kinds of custom resources, field by field, as far as components use them: kubernetes-validate has no schema of these.
//!
//! From the custom resource definitions of the Gateway API (standard channel) and of KEDA.

use e2e::manifests::{list, places, text};
use yaml_rust2::{Yaml, YamlLoader};

/// What a field holds.
#[derive(Clone, Copy)]
enum Form {
    /// A name of RFC 1123.
    Name,
    /// A host name, which may begin with `*.`.
    Host,
    Port,
    /// A whole number.
    Whole,
    /// GEP-2257: up to four numbers with units.
    Duration,
    /// KEDA's metadata: numbers and truth values are texts too.
    Number,
    TrueOrFalse,
    Text,
    OneOf(&'static [&'static str]),
}

/// A field by its path; items of lists are `[]`.
struct Field {
    path: &'static str,
    form: Form,
    /// Whether it is there wherever the map is that it stands in.
    required: bool,
}

const fn field(path: &'static str, form: Form) -> Field {
    Field {
        path,
        form,
        required: false,
    }
}

const fn required(path: &'static str, form: Form) -> Field {
    Field {
        path,
        form,
        required: true,
    }
}

struct Kind {
    api_version: &'static str,
    kind: &'static str,
    fields: &'static [Field],
}

const KINDS: &[Kind] = &[
    Kind {
        api_version: "gateway.networking.k8s.io/v1",
        kind: "Gateway",
        fields: &[
            required("gatewayClassName", Form::Name),
            required("listeners[].name", Form::Name),
            required("listeners[].port", Form::Port),
            required(
                "listeners[].protocol",
                Form::OneOf(&["HTTP", "HTTPS", "TLS", "TCP", "UDP"]),
            ),
            field("listeners[].hostname", Form::Host),
            field("listeners[].tls.mode", Form::OneOf(&["Terminate", "Passthrough"])),
            field("listeners[].tls.certificateRefs[].kind", Form::OneOf(&["Secret"])),
            required("listeners[].tls.certificateRefs[].name", Form::Name),
            field(
                "listeners[].allowedRoutes.namespaces.from",
                Form::OneOf(&["All", "Selector", "Same", "None"]),
            ),
        ],
    },
    Kind {
        api_version: "gateway.networking.k8s.io/v1",
        kind: "HTTPRoute",
        fields: &[
            required("parentRefs[].name", Form::Name),
            field("parentRefs[].sectionName", Form::Name),
            field("hostnames[]", Form::Host),
            field(
                "rules[].matches[].path.type",
                Form::OneOf(&["Exact", "PathPrefix", "RegularExpression"]),
            ),
            field("rules[].matches[].path.value", Form::Text),
            field("rules[].timeouts.request", Form::Duration),
            field("rules[].timeouts.backendRequest", Form::Duration),
            required("rules[].backendRefs[].name", Form::Name),
            field("rules[].backendRefs[].port", Form::Port),
            field("rules[].backendRefs[].weight", Form::Whole),
            required(
                "rules[].filters[].type",
                Form::OneOf(&["RequestRedirect", "URLRewrite", "RequestHeaderModifier"]),
            ),
            field(
                "rules[].filters[].requestRedirect.scheme",
                Form::OneOf(&["http", "https"]),
            ),
            field(
                "rules[].filters[].requestRedirect.statusCode",
                Form::OneOf(&["301", "302"]),
            ),
        ],
    },
    Kind {
        api_version: "keda.sh/v1alpha1",
        kind: "ScaledObject",
        fields: &[
            required("scaleTargetRef.name", Form::Name),
            field("minReplicaCount", Form::Whole),
            field("maxReplicaCount", Form::Whole),
            field("advanced.horizontalPodAutoscalerConfig.name", Form::Name),
            field(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.stabilizationWindowSeconds",
                Form::Whole,
            ),
            field(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.selectPolicy",
                Form::OneOf(SELECT),
            ),
            required(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies[].type",
                Form::OneOf(POLICIES),
            ),
            required(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies[].value",
                Form::Whole,
            ),
            required(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies[].periodSeconds",
                Form::Whole,
            ),
            field(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.stabilizationWindowSeconds",
                Form::Whole,
            ),
            required(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.policies[].type",
                Form::OneOf(POLICIES),
            ),
            required(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.policies[].value",
                Form::Whole,
            ),
            required(
                "advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.policies[].periodSeconds",
                Form::Whole,
            ),
            required("triggers[].type", Form::OneOf(&["prometheus", "cpu"])),
            field("triggers[].name", Form::Name),
            field(
                "triggers[].metricType",
                Form::OneOf(&["AverageValue", "Value", "Utilization"]),
            ),
            field("triggers[].metadata.serverAddress", Form::Text),
            field("triggers[].metadata.query", Form::Text),
            field("triggers[].metadata.threshold", Form::Number),
            field("triggers[].metadata.ignoreNullValues", Form::TrueOrFalse),
            field("triggers[].metadata.value", Form::Number),
        ],
    },
];

const SELECT: &[&str] = &["Max", "Min", "Disabled"];
const POLICIES: &[&str] = &["Percent", "Pods"];

/// What is wrong with a custom resource. Kubernetes' own kinds are check.sh's.
fn faults(object: &Yaml) -> Vec<String> {
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let group = api_version.split('/').next().unwrap_or_default();
    if !group.contains('.') || group.ends_with(".k8s.io") && group != "gateway.networking.k8s.io" {
        return Vec::new();
    }
    let known = KINDS
        .iter()
        .find(|known| known.api_version == api_version && known.kind == kind);
    let Some(known) = known else {
        return vec![format!("nobody checks {api_version} {kind}")];
    };
    let mut faults = Vec::new();
    check(known.fields, "", &object["spec"], &mut faults);
    faults
}

fn check(fields: &[Field], path: &str, value: &Yaml, faults: &mut Vec<String>) {
    if let Some(entries) = value.as_hash() {
        let start = match path {
            "" => String::new(),
            path => format!("{path}."),
        };
        for (key, value) in entries {
            check(fields, &format!("{start}{}", text(key)), value, faults);
        }
        for field in fields.iter().filter(|field| field.required) {
            let rest = field.path.strip_prefix(&start);
            let is_missing = |rest: &str| !rest.contains(['.', '[']) && value[rest].is_badvalue();
            if rest.is_some_and(is_missing) {
                faults.push(format!("no {}", field.path));
            }
        }
    } else if value.is_array() {
        for item in list(value) {
            check(fields, &format!("{path}[]"), item, faults);
        }
    } else {
        match fields.iter().find(|field| field.path == path) {
            None => faults.push(format!("nobody knows {path}")),
            Some(field) if !fits(field.form, value) => faults.push(format!("{path} is {:?}", text(value))),
            Some(_) => {}
        }
    }
}

fn fits(form: Form, value: &Yaml) -> bool {
    let written = text(value);
    let is_text = matches!(value, Yaml::String(_));
    match form {
        Form::Name => is_text && is_name(&written),
        Form::Host => is_text && is_name(written.strip_prefix("*.").unwrap_or(&written)),
        Form::Port => value.as_i64().is_some_and(|port| (1..=65_535).contains(&port)),
        Form::Whole => value.as_i64().is_some_and(|number| number >= 0),
        Form::Duration => is_text && is_duration(&written),
        Form::Number => is_text && written.parse::<f64>().is_ok(),
        Form::TrueOrFalse => is_text && ["true", "false"].contains(&written.as_str()),
        Form::Text => is_text && !written.is_empty(),
        Form::OneOf(names) => names.contains(&written.as_str()),
    }
}

fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 253 && text.chars().all(is_inner) && is_end(text.chars().next()) && is_end(text.chars().last())
}

fn is_duration(text: &str) -> bool {
    let (mut pairs, mut rest) = (0, text);
    while !rest.is_empty() {
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        let units = ["ms", "h", "m", "s"];
        let unit = units.iter().find(|unit| rest[digits..].starts_with(**unit));
        let Some(unit) = unit.filter(|_| (1..=5).contains(&digits)) else {
            return false;
        };
        rest = &rest[digits + unit.len()..];
        pairs += 1;
    }
    (1..=4).contains(&pairs)
}

#[test]
fn every_custom_resource_has_the_fields_of_its_kind() {
    let (mut seen, mut broken) = (Vec::new(), Vec::new());
    for place in places() {
        for object in &place.objects {
            let kind = text(&object["kind"]);
            let faults = faults(object).into_iter();
            broken.extend(faults.map(|fault| format!("{}: {kind}: {fault}", place.name)));
            seen.push(kind);
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for known in KINDS {
        assert!(seen.iter().any(|kind| kind == known.kind), "no {}", known.kind);
    }
}

#[test]
fn a_field_that_is_unknown_missing_or_of_another_form_is_found() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nspec:\n";
    let cases = [
        (
            "  parentRefs: [{ name: a }]\n  rules: [{ timeouts: { request: 1m30s }, backendRefs: [{ name: a, port: 80 }] }]",
            &[][..],
        ),
        ("  parentRefs: [{ sectionName: a }]", &["no parentRefs[].name"]),
        (
            "  parentRefs: [{ name: a, nmae: b }]",
            &["nobody knows parentRefs[].nmae"],
        ),
        (
            "  rules: [{ timeouts: { request: 30 } }]",
            &["rules[].timeouts.request is \"30\""],
        ),
        (
            "  rules: [{ timeouts: { request: 1.5s } }]",
            &["rules[].timeouts.request is \"1.5s\""],
        ),
        (
            "  rules: [{ backendRefs: [{ name: A_, port: 0 }] }]",
            &[
                "rules[].backendRefs[].name is \"A_\"",
                "rules[].backendRefs[].port is \"0\"",
            ],
        ),
    ];
    let faults_in = |text: &str| faults(&YamlLoader::load_from_str(text).expect("YAML")[0]);
    for (spec, expected) in cases {
        assert_eq!(faults_in(&format!("{route}{spec}\n")), expected, "{spec}");
    }
    assert_eq!(
        faults_in("apiVersion: example.com/v1\nkind: Thing\nspec: {}\n"),
        ["nobody checks example.com/v1 Thing"]
    );
    assert_eq!(
        faults_in("apiVersion: apps/v1\nkind: Deployment\nspec: { a: 1 }\n"),
        [""; 0]
    );
}
