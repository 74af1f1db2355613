//! Which pods get the requests: those that are ready in any slice, at the port of the name that was given.

use super::*;
use shared::test_util::slice_with_ports;

#[tokio::test]
async fn requests_go_to_the_pods_that_are_ready_in_any_slice() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A), Pod::Unready(B), Pod::Leaving(C)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);
    assert_eq!(setup.tier_metric("kubernetes").await, 1.0);
    assert_eq!(setup.tier_metric("dns").await, 0.0);

    // A second slice, which has a pod of the first one too.
    api.put("two", slice(setup.port, &[Pod::Ready(A), Pod::Ready(B)]));
    setup.becomes("kubernetes", &[A, B]).await;
    assert_eq!(setup.answers().await, ["a", "b"]);

    // It leaves the first one, and stays in the second.
    api.put("one", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[A, B, C]).await;
    assert_eq!(setup.answers().await, ["a", "b", "c"]);

    api.delete("two");
    setup.becomes("kubernetes", &[C]).await;
    assert_eq!(setup.answers().await, ["c"]);

    api.delete("one");
    setup.becomes("kubernetes", &[]).await;
    assert_eq!(api.lists(), 1, "everything else came by the watch");
    // A request without an endpoint is a reason to list again.
    assert_eq!(setup.gateway.get("/predict").await.status(), 503);

    let asked = &api.asked()[0];
    assert_eq!(
        asked.path,
        format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices")
    );
    assert_eq!(
        asked.query["labelSelector"],
        format!("kubernetes.io/service-name={SERVICE}")
    );
    let watch = &api.watches()[0];
    assert_eq!(watch.query["allowWatchBookmarks"], "true");
    assert_eq!(watch.query["timeoutSeconds"], "30");
    assert!(setup.warnings().is_empty(), "{:?}", setup.warnings());
}

#[tokio::test]
async fn pods_that_are_leaving_serve_only_while_none_is_ready() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Leaving(A), Pod::Unready(B), Pod::Gone(C)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);

    api.put("two", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[C]).await;

    api.put("two", slice(setup.port, &[Pod::Leaving(C)]));
    setup.becomes("kubernetes", &[A, C]).await;
    assert_eq!(setup.answers().await, ["a", "c"]);
}

#[tokio::test]
async fn a_request_in_flight_outlives_its_pods_place_in_the_slice() {
    let release = std::sync::Arc::new(Notify::new());
    let released = std::sync::Arc::clone(&release);
    let slow = Upstream::start(move |mut connection| {
        let released = std::sync::Arc::clone(&released);
        async move {
            while connection.read_request().await.is_some() {
                released.notified().await;
                connection.answer(200, "slow").await;
            }
        }
    })
    .await;
    let SocketAddr::V4(address) = slow.address else {
        panic!("127.0.0.1")
    };
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |_| {
        api.put("slow", slice(address.port(), &[Pod::Ready(*address.ip())]));
    })
    .await;
    eventually("the pod is known", DEADLINE, async || {
        setup.cluster().await["endpoints"][0]["address"] == address.to_string()
    })
    .await;
    let in_flight = tokio::spawn({
        let request = setup.gateway.client.get(setup.gateway.url("/predict"));
        async move { request.send().await.expect("an answer").text().await.expect("text") }
    });
    eventually("the request is at the pod", DEADLINE, async || slow.accepted() == 1).await;

    api.put("other", slice(setup.port, &[Pod::Ready(B)]));
    api.delete("slow");
    setup.becomes("kubernetes", &[B]).await;
    assert_eq!(setup.answers().await, ["b"]);
    release.notify_one();
    assert_eq!(in_flight.await.expect("it ran"), "slow");
}

#[tokio::test]
async fn a_lone_pod_is_no_service_and_one_connection_does() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    for _ in 0..4 {
        assert_eq!(setup.answers().await, ["a"]);
    }
    assert_eq!(setup._upstreams[0].accepted(), 1);
}

#[tokio::test]
async fn the_port_is_chosen_by_its_name() {
    let api = ApiServer::start(Mood::Well).await;
    let url = format!("http://{}", api.address);
    let setup = Setup::start_with(&url, ", port_name: http", &[], |port| {
        api.put(
            "one",
            slice_with_ports(&[("metrics", 1), ("http", port)], &[Pod::Ready(A)]),
        );
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);
}
