//! Endpoints that fail, stall or are full, and what the gateway makes of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shared::test_util::{DEADLINE, Upstream, eventually};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::harness::{Gateway, problem, yaml};

/// An upstream that answers each request with `status`, and how many it has seen.
async fn counting(status: u16, body: &'static str) -> (Upstream, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let upstream = Upstream::start(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            while connection.read_request().await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
                connection.answer(status, body).await;
            }
        }
    })
    .await;
    (upstream, seen)
}

/// An upstream that takes requests and never answers.
async fn silent() -> Upstream {
    Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection.hang().await;
    })
    .await
}

/// A gateway with one worker in front of `upstreams`, with further keys for its cluster and for /predict.
async fn gateway(upstreams: &[&Upstream], cluster: &str, route: &str) -> Gateway {
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let yaml = yaml(&addresses)
        .replace("    endpoints:", &format!("{cluster}    endpoints:"))
        .replace("idempotent: true", &format!("idempotent: true{route}"));
    Gateway::start(&yaml, &[("WORKERS", "1")]).await
}

#[tokio::test]
async fn an_idempotent_request_is_not_lost_to_an_endpoint_that_answers_500() {
    let (bad, _) = counting(500, "broken").await;
    let (good, _) = counting(200, "ok").await;
    let gateway = gateway(&[&bad, &good], "", "").await;
    for turn in 0..30 {
        let response = gateway.post("/predict", "{}").await;
        assert_eq!(response.status(), 200, "turn {turn}");
        assert_eq!(response.text().await.expect("text"), "ok");
    }
    let retries = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"status\"}";
    assert!(gateway.metric(retries).await >= 1.0);
}

#[tokio::test]
async fn a_status_is_passed_on_where_another_try_is_not_allowed() {
    let (bad, seen) = counting(500, "broken").await;
    let (other, other_seen) = counting(500, "broken as well").await;
    let once = |expected: usize| {
        let all = seen.swap(0, Ordering::SeqCst) + other_seen.swap(0, Ordering::SeqCst);
        assert_eq!(all, expected);
    };
    let gateway = gateway(&[&bad, &other], "", "").await;
    let response = gateway.post("/raw", "not idempotent").await;
    assert_eq!(response.status(), 500);
    assert!(response.text().await.expect("text").starts_with("broken"));
    once(1);
    // Every endpoint was asked; the last answer is the answer.
    assert_eq!(gateway.post("/predict", "{}").await.status(), 500);
    once(3);
}

#[tokio::test]
async fn what_is_shed_is_not_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let shedding = |counter: Arc<AtomicUsize>| {
        Upstream::start(move |mut connection| {
            let counter = Arc::clone(&counter);
            async move {
                while connection.read_request().await.is_some() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    connection
                        .send("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        })
    };
    let (one, two) = (shedding(Arc::clone(&seen)).await, shedding(Arc::clone(&seen)).await);
    let gateway = gateway(&[&one, &two], "", "").await;
    let response = gateway.get("/predict").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_a_budget_nothing_is_sent_again() {
    let (one, seen) = counting(500, "one").await;
    let (two, other_seen) = counting(500, "two").await;
    let budget = "    retry_budget: { percent: 0, per_second: 0 }\n";
    let gateway = gateway(&[&one, &two], budget, "").await;
    assert_eq!(gateway.get("/predict").await.status(), 500);
    assert_eq!(seen.load(Ordering::SeqCst) + other_seen.load(Ordering::SeqCst), 1);
    let refused = "gateway_upstream_retries_over_budget_total{cluster=\"backend:5000\"}";
    assert_eq!(gateway.metric(refused).await, 1.0);
}

#[tokio::test]
async fn nobody_waits_on_a_silent_endpoint_for_longer_than_one_try() {
    let silent = silent().await;
    let (good, _) = counting(200, "ok").await;
    let gateway = gateway(&[&silent, &good], "", ", per_try_timeout: 0.2").await;
    for turn in 0..10 {
        let started = Instant::now();
        assert_eq!(gateway.post("/predict", "{}").await.status(), 200, "turn {turn}");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    let ejected = gateway.process.log_line("endpoint ejected").await;
    assert_eq!(ejected["why"], "it does not answer");
    let retries = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"per_try_timeout\"}";
    assert_eq!(gateway.metric(retries).await, 1.0, "the others were not sent there");
}

#[tokio::test]
async fn where_there_is_no_other_endpoint_one_try_has_the_whole_time() {
    let slow = Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(400)).await;
            connection.answer(200, "slow").await;
        }
    })
    .await;
    let gateway = gateway(&[&slow], "", ", per_try_timeout: 0.1").await;
    assert_eq!(gateway.get("/predict").await.text().await.expect("text"), "slow");
    assert_eq!(slow.accepted(), 1);
}

#[tokio::test]
async fn the_clients_deadline_ends_the_wait_and_what_remains_is_passed_on() {
    let silent = silent().await;
    let waiting = gateway(&[&silent], "", "").await;
    let started = Instant::now();
    let request = waiting
        .client
        .get(waiting.url("/raw"))
        .header("x-request-timeout-ms", "200");
    let (status, detail) = problem(request.send().await.expect("an answer")).await;
    assert_eq!(status, 504);
    assert!(detail.contains("deadline"), "{detail}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let echo = Upstream::start(|mut connection| async move {
        while let Some((head, _)) = connection.read_request().await {
            let timeout = head.lines().find(|line| line.starts_with("x-request-timeout-ms"));
            connection.answer(200, timeout.unwrap_or("none")).await;
        }
    })
    .await;
    let gateway = gateway(&[&echo], "", "").await;
    assert_eq!(
        gateway.get("/raw").await.text().await.expect("text"),
        "x-request-timeout-ms: 30000"
    );
    let request = gateway
        .client
        .get(gateway.url("/raw"))
        .header("x-request-timeout-ms", "60000");
    let seen = request.send().await.expect("an answer").text().await.expect("text");
    let left: u64 = seen.rsplit(' ').next().and_then(|text| text.parse().ok()).expect(&seen);
    // More than the 30 s of silence that the route allows.
    assert!((30_001..=60_000).contains(&left), "{seen}");
}

#[tokio::test]
async fn a_timeout_that_is_none_is_a_400_that_names_its_header() {
    let (good, seen) = counting(200, "ok").await;
    let gateway = gateway(&[&good], "", "").await;
    for (name, value) in [("x-request-timeout-ms", "soon"), ("grpc-timeout", "5")] {
        let request = gateway
            .client
            .post(gateway.url("/predict"))
            .body("{}")
            .header(name, value);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 400);
        let body: serde_json::Value = response.json().await.expect("JSON");
        assert_eq!(body["field"], name);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

/// An upstream that sends the head of its answer at once and the body when it is told to.
async fn bodies_on_demand(go: Arc<Notify>) -> Upstream {
    Upstream::start(move |mut connection| {
        let go = Arc::clone(&go);
        async move {
            while connection.read_request().await.is_some() {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
                go.notified().await;
                connection.send("ok").await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_request_waits_for_a_place_until_another_answers_body_has_ended() {
    let go = Arc::new(Notify::new());
    let upstream = bodies_on_demand(Arc::clone(&go)).await;
    let gateway = gateway(&[&upstream], "    max_concurrency: 1\n", "").await;
    let first = gateway.get("/raw").await;
    let second = tokio::spawn(gateway.client.get(gateway.url("/raw")).send());
    eventually("it waits", DEADLINE, async || {
        gateway.metric("gateway_cluster_queue").await == 1.0
    })
    .await;
    assert_eq!(upstream.accepted(), 1, "the first answer has not ended");
    go.notify_one();
    assert_eq!(first.text().await.expect("text"), "ok");
    go.notify_one();
    let second = second.await.expect("no panic").expect("an answer");
    assert_eq!(second.text().await.expect("text"), "ok");
    assert_eq!(gateway.metric("gateway_cluster_queue").await, 0.0);
}

#[tokio::test]
async fn a_full_queue_and_a_wait_past_the_deadline_are_refused_at_once() {
    let go = Arc::new(Notify::new());
    let upstream = bodies_on_demand(Arc::clone(&go)).await;
    let limits = "    max_concurrency: 1\n    max_queue: 1\n";
    let gateway = gateway(&[&upstream], limits, "").await;
    let first = gateway.get("/raw").await;
    let waiting = tokio::spawn(gateway.client.get(gateway.url("/raw")).send());
    eventually("it waits", DEADLINE, async || {
        gateway.metric("gateway_cluster_queue").await == 1.0
    })
    .await;

    let refused = gateway.get("/raw").await;
    assert!(refused.headers().contains_key("retry-after"));
    let body: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!((body["status"].as_u64(), body["limit"].as_u64()), (Some(503), Some(1)));

    go.notify_one();
    assert_eq!(first.text().await.expect("text"), "ok");
    go.notify_one();
    assert_eq!(waiting.await.expect("no panic").expect("an answer").status(), 200);
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_ejected_and_comes_back_by_a_probe() {
    let fails = Arc::new(AtomicUsize::new(1));
    let seen = Arc::new(AtomicUsize::new(0));
    let (failing, counter) = (Arc::clone(&fails), Arc::clone(&seen));
    let sick = Upstream::start(move |mut connection| {
        let (failing, counter) = (Arc::clone(&failing), Arc::clone(&counter));
        async move {
            while connection.read_request().await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
                let status = if failing.load(Ordering::SeqCst) == 1 { 500 } else { 200 };
                connection.answer(status, "sick").await;
            }
        }
    })
    .await;
    let (good, _) = counting(200, "good").await;
    let cluster = "    balancer: round_robin\n    ejection: { consecutive_failures: 3, first_penalty: 0.3 }\n";
    let gateway = gateway(&[&sick, &good], cluster, ", retry_on: []").await;
    for _ in 0..20 {
        gateway.get("/predict").await;
    }
    assert_eq!(seen.load(Ordering::SeqCst), 3, "three failures, then no more");
    let ejected = gateway.process.log_line("endpoint ejected").await;
    assert_eq!(ejected["why"], "failures in a row");

    fails.store(0, Ordering::SeqCst);
    eventually("a probe brings it back", DEADLINE, async || {
        gateway.get("/predict").await;
        seen.load(Ordering::SeqCst) > 4
    })
    .await;
    gateway.process.log_line("endpoint recovered").await;
}

#[tokio::test]
async fn an_endpoint_that_fails_its_health_check_gets_nothing_until_it_passes() {
    let well = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(AtomicUsize::new(0));
    let (state, counter) = (Arc::clone(&well), Arc::clone(&asked));
    let sick = Upstream::start(move |mut connection| {
        let (state, counter) = (Arc::clone(&state), Arc::clone(&counter));
        async move {
            while let Some((head, _)) = connection.read_request().await {
                let status = match head.starts_with("GET /readyz ") {
                    true if state.load(Ordering::SeqCst) == 0 => 503,
                    true => 200,
                    false => {
                        counter.fetch_add(1, Ordering::SeqCst);
                        200
                    }
                };
                connection.answer(status, "sick").await;
            }
        }
    })
    .await;
    let (good, _) = counting(200, "good").await;
    let check = "    health_check: { path: /readyz, interval: 0.05, unhealthy_after: 1 }\n";
    let gateway = gateway(&[&sick, &good], check, "").await;
    gateway
        .process
        .log_line("endpoint failed its health check; it gets no requests")
        .await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/predict").await.text().await.expect("text"), "good");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    well.store(1, Ordering::SeqCst);
    eventually("it is used again", DEADLINE, async || {
        gateway.get("/predict").await;
        asked.load(Ordering::SeqCst) > 0
    })
    .await;
}

#[tokio::test]
async fn the_backends_word_on_its_load_is_followed_and_not_passed_on() {
    let busy_seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&busy_seen);
    let busy = Upstream::start(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            while connection.read_request().await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
                connection
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nendpoint-load-metrics: TEXT named_metrics.queue_depth=40\r\n\r\nbusy")
                    .await;
            }
        }
    })
    .await;
    let (idle, _) = counting(200, "idle").await;
    let gateway = gateway(&[&busy, &idle], "    balancer: least_request\n", "").await;
    for _ in 0..20 {
        let response = gateway.get("/predict").await;
        assert!(!response.headers().contains_key("endpoint-load-metrics"));
    }
    let seen = busy_seen.load(Ordering::SeqCst);
    assert!((1..=2).contains(&seen), "asked again only when its word is old: {seen}");
}

#[tokio::test]
async fn weights_are_followed() {
    let (light, light_seen) = counting(200, "light").await;
    let (heavy, heavy_seen) = counting(200, "heavy").await;
    let endpoints = format!(
        "{{ address: \"{}\" }}, {{ address: \"{}\", weight: 4 }}",
        light.address, heavy.address
    );
    // By requests in hand: how long the machine kept one of them waiting is not the question.
    let yaml = yaml(&[])
        .replace("endpoints: []", &format!("endpoints: [{endpoints}]"))
        .replace("    endpoints:", "    balancer: least_request\n    endpoints:");
    let gateway = Gateway::start(&yaml, &[("WORKERS", "1")]).await;
    for _ in 0..500 {
        assert_eq!(gateway.get("/raw").await.status(), 200);
    }
    let (light, heavy) = (light_seen.load(Ordering::SeqCst), heavy_seen.load(Ordering::SeqCst));
    assert!((60..=145).contains(&light), "{light} beside {heavy}");
}

#[tokio::test]
async fn equal_replicas_get_equal_shares_of_32_connections() {
    const REPLICAS: usize = 3;
    const EACH: usize = 100;
    let mut upstreams = Vec::new();
    for _ in 0..REPLICAS {
        upstreams.push(counting(200, "ok").await);
    }
    let addresses: Vec<_> = upstreams.iter().map(|(upstream, _)| upstream.address).collect();
    let gateway = Gateway::in_front_of(&addresses, &[]).await;
    // A replica that the machine kept waiting gets less until that is forgotten.
    eventually("each gets as much as the others", DEADLINE, async || {
        let seen = || upstreams.iter().map(|(_, seen)| seen.load(Ordering::SeqCst));
        let before: Vec<usize> = seen().collect();
        let mut clients = JoinSet::new();
        for _ in 0..32 {
            let mut client = gateway.raw().await;
            clients.spawn(async move {
                for _ in 0..EACH {
                    client.send("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n").await;
                    assert_eq!(client.response().await.status, 200);
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.expect("every request is answered");
        }
        let mut counts = seen().zip(&before).map(|(now, before)| now - before);
        let mean = (32 * EACH) as f64 / REPLICAS as f64;
        counts.all(|count| (count as f64 - mean).abs() <= mean * 0.05)
    })
    .await;
}
