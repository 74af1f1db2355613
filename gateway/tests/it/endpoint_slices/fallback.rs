//! DNS in the place of an API server that refuses, is a stranger, or hangs, until it can be asked.

use super::*;
use shared::test_util::{TlsFront, slice_with_ports};

#[tokio::test]
async fn several_ports_and_no_name_are_left_to_dns_and_said() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put(
            "one",
            slice_with_ports(&[("metrics", 1), ("http", port)], &[Pod::Ready(A)]),
        );
    })
    .await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    let warning = setup.gateway.process.log_line(FELL_BACK).await;
    let reason = "its slices have several TCP ports: \"http\", \"metrics\"; choose one by port_name";
    assert_eq!(warning["failure"], reason);

    // The Service is put right, without a word to the gateway.
    api.put("one", slice(setup.port, &[Pod::Ready(A)]));
    setup.becomes("kubernetes", &[A]).await;
}

/// Refused, with DNS in its place; allowed; refused once more, and allowed again.
async fn falls_back_and_comes_back(refusal: u16) {
    let api = ApiServer::start(Mood::Refusing(refusal)).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A), Pod::Ready(B)]))
    })
    .await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    assert_eq!(setup.answers().await, ["service"]);
    eventually("it asks again", DEADLINE, async || api.lists() >= 4).await;
    let warnings = setup.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["message"], FELL_BACK);
    assert_eq!(
        warnings[0]["failure"],
        format!("the API server answers {refusal}: scripted {refusal}")
    );
    assert_eq!(setup.tier_metric("kubernetes").await, 0.0);
    assert_eq!(setup.tier_metric("dns").await, 1.0);
    assert!(setup.gateway.metric("gateway_kubernetes_failures_total").await >= 3.0);

    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[A, B]).await;
    assert_eq!(setup.answers().await, ["a", "b"]);
    assert_eq!(setup.tier_metric("kubernetes").await, 1.0);
    assert_eq!(setup.tier_metric("dns").await, 0.0);

    // The right is taken away while a watch runs: the next one is refused.
    api.set_mood(Mood::Refusing(refusal));
    api.cut();
    setup.becomes("dns", &[CLUSTER_IP]).await;
    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[A, B]).await;
}

#[tokio::test]
async fn without_the_right_to_watch_dns_serves_until_it_is_given() {
    falls_back_and_comes_back(403).await;
}

#[tokio::test]
async fn without_credentials_that_count_dns_serves_until_they_do() {
    falls_back_and_comes_back(401).await;
}

#[tokio::test]
async fn without_the_api_dns_serves_until_it_is_there() {
    falls_back_and_comes_back(404).await;
}

#[tokio::test]
async fn outside_of_a_pod_dns_serves() {
    let setup = Setup::start_with("", "", &[], |_| {}).await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    assert_eq!(setup.answers().await, ["service"]);
    let warnings = setup.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let reason = "this is no pod: neither KUBERNETES_SERVICE_HOST nor KUBERNETES_API is set";
    assert_eq!(warnings[0]["failure"], reason);
}

#[tokio::test]
async fn a_pod_without_its_service_account_is_served_by_dns() {
    let settings = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("SERVICE_ACCOUNT_DIR", "/nonexistent"),
    ];
    let setup = Setup::start_with("", "", &settings, |_| {}).await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    let warning = setup.gateway.process.log_line(FELL_BACK).await;
    let reason = "cannot read /nonexistent/namespace: No such file or directory (os error 2)";
    assert_eq!(warning["failure"], reason);
}

#[tokio::test]
async fn only_a_server_that_the_clusters_authority_vouches_for_is_believed() {
    let api = ApiServer::start(Mood::Well).await;
    let (server, stranger) = (TlsFront::start(api.address).await, TlsFront::start(api.address).await);
    let port = server.address.port().to_string();
    let settings = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &port),
    ];
    let setup = Setup::start_with("", "", &settings, |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.service_account.file("ca.crt", "no certificate");
    setup.becomes("dns", &[CLUSTER_IP]).await;
    setup.service_account.file("ca.crt", &stranger.ca);
    let failures = "gateway_kubernetes_failures_total";
    let before = setup.gateway.metric(failures).await;
    eventually("it tries again", DEADLINE, async || {
        setup.gateway.metric(failures).await >= before + 2.0
    })
    .await;
    assert!(api.asked().is_empty(), "no token goes to a stranger: {:?}", api.asked());

    // The authority is read anew, as it must be when it is rotated.
    setup.service_account.file("ca.crt", &server.ca);
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    setup.becomes("kubernetes", &[B]).await;
}

#[tokio::test]
async fn dns_serves_while_the_first_list_is_late() {
    let api = ApiServer::start(Mood::Hanging).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    eventually("it is ready", DEADLINE, async || {
        setup.gateway.admin("/readyz").await.status() == 200
    })
    .await;
    // Ready means that nobody is told that there are no endpoints only because nobody has looked yet.
    assert_eq!(setup.answers().await, ["service"]);
    setup.becomes("dns", &[CLUSTER_IP]).await;
    // A log line passes through a pipe: the status may be read before it has come.
    eventually("it warns", DEADLINE, async || !setup.warnings().is_empty()).await;
    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.warnings().len(), 1, "{:?}", setup.warnings());
}
