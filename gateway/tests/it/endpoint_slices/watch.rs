//! A watch that breaks, ends, hangs or is refused: it goes on from its version, and the last endpoints stay meanwhile.

use super::*;
use shared::test_util::Asked;

#[tokio::test]
async fn a_watch_that_breaks_goes_on_from_the_version_it_had_reached() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    setup.becomes("kubernetes", &[B]).await;
    api.cut();
    // What happens while nobody watches comes with the next watch.
    api.put("one", slice(setup.port, &[Pod::Ready(B), Pod::Ready(C)]));
    setup.becomes("kubernetes", &[B, C]).await;
    api.bookmark(600);
    // The event behind the bookmark shows that the bookmark has come.
    api.put("two", slice(setup.port, &[Pod::Ready(A)]));
    setup.becomes("kubernetes", &[A, B, C]).await;
    let reached = api.version();
    let before = api.watches().len();
    api.cut();
    eventually("it watches again", DEADLINE, async || api.watches().len() > before).await;
    let last = api.watches().pop().expect("a watch");
    assert_eq!(last.query["resourceVersion"], reached.to_string());
    assert_eq!(api.lists(), 1, "no list but the first: {:?}", api.asked());
}

#[tokio::test]
async fn a_bookmark_moves_the_version_on() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[("KUBERNETES_WATCH_TIMEOUT", "1")], |port| {
        api.put("one", slice(port, &[Pod::Ready(A)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    api.bookmark(700);
    let from_bookmark = |asked: &Asked| asked.query["resourceVersion"] == "700";
    eventually("a watch from the bookmark on", DEADLINE, async || {
        api.watches().iter().any(from_bookmark)
    })
    .await;
    assert_eq!(api.lists(), 1);
    assert!(setup.warnings().is_empty(), "{:?}", setup.warnings());
}

#[tokio::test]
async fn a_version_that_is_too_old_means_a_new_list() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A)]));
        api.put("two", slice(port, &[Pod::Ready(B)]));
    })
    .await;
    setup.becomes("kubernetes", &[A, B]).await;
    // As an event of a running watch.
    api.expire(|slices| {
        slices.remove("one");
    });
    setup.becomes("kubernetes", &[B]).await;
    assert_eq!(api.lists(), 2);

    // As the answer to a watch.
    api.set_mood(Mood::RefusingWatches(410));
    api.cut();
    eventually("a third list", DEADLINE, async || api.lists() >= 3).await;
    assert_eq!(setup.answers().await, ["b"]);
    api.set_mood(Mood::Well);
    api.put("three", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[B, C]).await;
    let fell_back = |line: &Value| line["message"] == FELL_BACK;
    assert!(!setup.warnings().iter().any(fell_back), "{:?}", setup.warnings());
}

#[tokio::test]
async fn an_api_server_that_goes_away_leaves_the_last_endpoints() {
    let api = ApiServer::start(Mood::Well).await;
    let address = api.address;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A), Pod::Ready(B)]))
    })
    .await;
    setup.becomes("kubernetes", &[A, B]).await;
    drop(api);
    let failures = "gateway_kubernetes_failures_total";
    eventually("it asks in vain, again and again", DEADLINE, async || {
        setup.gateway.metric(failures).await >= 4.0
    })
    .await;
    assert_eq!(setup.answers().await, ["a", "b"]);
    setup.becomes("kubernetes", &[A, B]).await;
    let warnings = setup.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        warnings[0]["message"],
        "cannot watch EndpointSlices; keeping the last endpoints"
    );

    let api = ApiServer::start_at(address, Mood::Well, 200).await;
    api.put("one", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[C]).await;
    setup
        .gateway
        .process
        .log_line("watch of EndpointSlices recovered")
        .await;
}

#[tokio::test]
async fn an_api_server_in_trouble_is_not_stormed() {
    for trouble in [Mood::RefusingWatches(500), Mood::EndingWatches] {
        let api = ApiServer::start(Mood::Well).await;
        let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
        setup.becomes("kubernetes", &[A]).await;
        api.set_mood(trouble);
        let began = Instant::now();
        api.cut();
        eventually("it asks again", DEADLINE, async || api.watches().len() > 8).await;
        // Half of KUBERNETES_RETRY at least lies between two questions.
        assert!(
            began.elapsed() >= Duration::from_millis(7 * 100),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(setup.answers().await, ["a"], "{trouble:?}");
        assert_eq!(setup.warnings().len(), 1, "{:?}", setup.warnings());
        assert_eq!(api.lists(), 1);

        api.set_mood(Mood::Well);
        api.put("one", slice(setup.port, &[Pod::Ready(B)]));
        setup.becomes("kubernetes", &[B]).await;
    }
}

#[tokio::test]
async fn a_watch_that_has_gone_silent_is_given_up() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[("KUBERNETES_WATCH_TIMEOUT", "2")], |port| {
        api.put("one", slice(port, &[Pod::Ready(A)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    // The connection stays, and nothing comes over it any more: not even the end.
    api.set_mood(Mood::Silent);
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    let silence = setup
        .gateway
        .process
        .log_line("watch of EndpointSlices broke; retrying")
        .await;
    assert_eq!(silence["failure"], "the watch did not end within 2.5 s");
    assert_eq!(setup.answers().await, ["a"]);
    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[B]).await;
}

#[tokio::test]
async fn a_token_that_was_rotated_is_used() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    // Until then the old token may be on its way.
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    setup.service_account.file("token", "second");
    api.expect_token("second");
    api.cut();
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    setup.becomes("kubernetes", &[B]).await;
    let tokens: Vec<String> = api.asked().into_iter().map(|asked| asked.token).collect();
    assert_eq!(tokens.first().map(String::as_str), Some("first"));
    assert_eq!(tokens.last().map(String::as_str), Some("second"));
    assert!(setup.warnings().is_empty(), "{:?}", setup.warnings());
}
