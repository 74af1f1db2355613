//! Settings that change while requests come in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use shared::test_util::{DEADLINE, DnsServer, Mount, Upstream, eventually, pods};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::harness::{Gateway, yaml};

/// Looks often, so that no test has to wait for a second.
const OFTEN: (&str, &str) = ("RELOAD_INTERVAL", "0.01");

/// A gateway whose file is in a mounted directory.
struct Live {
    gateway: Gateway,
    mount: Mount,
}

impl Live {
    async fn start(yaml: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_as(yaml, &[environment, &[("WORKERS", "2")]].concat()).await
    }

    /// For what two workers would share.
    async fn start_alone(yaml: &str) -> Self {
        Self::start_as(yaml, &[("WORKERS", "1")]).await
    }

    async fn start_as(yaml: &str, environment: &[(&str, &str)]) -> Self {
        let mount = Mount::new("gateway-config", &[("gateway.yaml", yaml)]);
        let file = mount.file("gateway.yaml");
        let file = file.to_str().expect("UTF-8");
        let environment = [environment, &[("CONFIG_FILE", file), OFTEN]].concat();
        let gateway = Gateway::start("", &environment).await;
        Self { gateway, mount }
    }

    async fn config(&self) -> Value {
        let status: Value = self.gateway.admin("/status.json").await.json().await.expect("JSON");
        status["config"].clone()
    }

    /// Publishes another file and waits until it holds or is refused.
    async fn publish(&mut self, yaml: &str) -> Value {
        let before = self.config().await;
        self.mount.publish(&[("gateway.yaml", yaml)]);
        eventually("the file is judged", DEADLINE, async || self.config().await != before).await;
        self.config().await
    }
}

async fn answering(body: &'static str) -> Upstream {
    Upstream::start(move |mut connection| async move { connection.answer_all(body).await }).await
}

#[tokio::test]
async fn a_route_changes_for_new_requests_and_not_for_those_in_flight() {
    let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = Upstream::start({
        let (asked, release) = (Arc::clone(&asked), Arc::clone(&release));
        move |mut connection| {
            let (asked, release) = (Arc::clone(&asked), Arc::clone(&release));
            async move {
                while connection.read_request().await.is_some() {
                    asked.notify_one();
                    release.notified().await;
                    connection.answer(200, "late").await;
                }
            }
        }
    })
    .await;
    let other = answering("other").await;
    let mut live = Live::start(&yaml(&[slow.address]), &[]).await;
    let url = live.gateway.url("/predict");
    let in_flight = tokio::spawn(live.gateway.client.get(url).send());
    asked.notified().await;

    let state = live
        .publish(&yaml(&[other.address]).replace("/predict", "/v2/predict"))
        .await;
    assert_eq!((&state["generation"], &state["refused"]), (&2.into(), &Value::Null));
    let response = live.gateway.get("/v2/predict").await;
    assert_eq!(response.text().await.expect("text"), "other");
    assert_eq!(live.gateway.get("/predict").await.status(), 404);

    release.notify_one();
    let response = in_flight.await.expect("no panic").expect("an answer");
    assert_eq!(
        (response.status().as_u16(), response.text().await.expect("text")),
        (200, "late".to_owned())
    );
}

#[tokio::test]
async fn weights_move_requests_and_what_stays_keeps_its_connections() {
    let (first, second) = (answering("first").await, answering("second").await);
    let weighted = |first_weight: u32, second_weight: u32| {
        let endpoint = |address: SocketAddr, weight: u32| format!("{{ address: \"{address}\", weight: {weight} }}");
        let list = [
            endpoint(first.address, first_weight),
            endpoint(second.address, second_weight),
        ]
        .join(", ");
        // By weight alone: a moment in which one of them answered slowly counts for nothing.
        let list = format!("balancer: round_robin\n    endpoints: [{list}]");
        let text = yaml(&[]).replace("endpoints: []", &list);
        text + "  - { prefix: /same, cluster: \"backend:5000\" }\n"
    };
    let mut live = Live::start_alone(&weighted(1, 1)).await;
    let share = async |gateway: &Gateway| {
        let mut firsts = 0;
        for _ in 0..400 {
            firsts += usize::from(gateway.get("/predict").await.text().await.expect("text") == "first");
        }
        firsts
    };
    let even = share(&live.gateway).await;
    assert!((195..=205).contains(&even), "{even} of 400");
    live.publish(&weighted(3, 1)).await;
    let most = share(&live.gateway).await;
    assert!((265..=335).contains(&most), "{most} of 400");

    // A route that changes leaves the cluster alone: no connection is opened for it.
    let before = first.accepted() + second.accepted();
    live.publish(&weighted(3, 1).replace("/same", "/another")).await;
    let most = share(&live.gateway).await;
    assert!((265..=335).contains(&most), "{most} of 400");
    assert_eq!(first.accepted() + second.accepted(), before);
}

#[tokio::test]
async fn a_broken_file_is_refused_with_its_faults_and_the_old_settings_hold() {
    let upstream = answering("ok").await;
    let good = yaml(&[upstream.address]);
    let mut live = Live::start(&good, &[]).await;
    let state = live.publish(&good.replace("prefix: /raw", "prefix: raw")).await;
    assert_eq!(state["generation"], 1);
    let refused = state["refused"].as_str().expect("it is refused");
    assert!(refused.contains("gateway.yaml:"), "{refused}");
    assert!(
        refused.contains(": routes[1].prefix: expected an absolute path"),
        "{refused}"
    );
    let line = live
        .gateway
        .process
        .log_line("changed settings rejected; the previous ones stay applied")
        .await;
    assert_eq!(
        (line["level"].as_str(), line["problem"].as_str()),
        (Some("ERROR"), Some(refused))
    );
    assert_eq!(live.gateway.metric("gateway_config_last_reload_successful").await, 0.0);
    assert_eq!(
        live.gateway
            .metric("gateway_config_reloads_total{result=\"refused\"}")
            .await,
        1.0
    );
    assert_eq!(live.gateway.get("/raw").await.status(), 200);

    let state = live.publish(&good.replace("/raw", "/cooked")).await;
    assert_eq!((&state["generation"], &state["refused"]), (&2.into(), &Value::Null));
    assert_eq!(live.gateway.metric("gateway_config_last_reload_successful").await, 1.0);
    assert_eq!(live.gateway.get("/cooked").await.status(), 200);
}

#[tokio::test]
async fn a_setting_that_waits_for_a_restart_is_named() {
    let upstream = answering("ok").await;
    let good = yaml(&[upstream.address]);
    let mut live = Live::start(&good, &[]).await;
    let state = live
        .publish(&format!("max_headers: 50\nmax_body_bytes: 10\n{good}"))
        .await;
    assert_eq!(state["at_restart"], serde_json::json!(["MAX_HEADERS"]));
    assert_eq!(live.gateway.post("/predict", "more than ten bytes").await.status(), 413);
    let line = live.gateway.process.log_line("settings changed").await;
    assert_eq!(line["changed"], "MAX_BODY_BYTES");
    let state = live.publish(&format!("max_body_bytes: 10\n{good}")).await;
    assert_eq!(state["at_restart"], serde_json::json!([]), "it was taken back");
}

#[tokio::test]
async fn a_change_of_comments_is_no_new_generation() {
    let upstream = answering("ok").await;
    let good = yaml(&[upstream.address]);
    let mut live = Live::start(&good, &[]).await;
    let successful = "gateway_config_last_reload_successful";
    assert!(live.publish("routes: [").await["refused"].is_string());
    assert_eq!(live.gateway.metric(successful).await, 0.0);
    let state = live.publish(&format!("# put right\n{good}")).await;
    assert_eq!((&state["generation"], &state["refused"]), (&1.into(), &Value::Null));
    assert_eq!(live.gateway.metric(successful).await, 1.0);
    let applied = "gateway_config_reloads_total{result=\"applied\"}";
    assert_eq!(live.gateway.metric(applied).await, 1.0, "the start alone");
    // One file is judged after the other, so this is the second change if the first was none.
    let state = live
        .publish(&format!("# put right, again\nmax_attempts: 2\n{good}"))
        .await;
    assert_eq!(state["generation"], 2);
}

#[tokio::test]
async fn a_key_is_replaced_without_a_moment_in_which_none_is_right() {
    let upstream = answering("ok").await;
    let keyed = yaml(&[upstream.address]).replace("idempotent: true", "idempotent: true, require_api_key: true");
    let mut secret = Mount::new("api-credentials", &[("API_KEY", "old")]);
    let directory = secret.path().to_str().expect("UTF-8").to_owned();
    let live = Live::start(&keyed, &[("SECRET_DIRS", &directory)]).await;
    let status = async |key: &str| {
        let request = live
            .gateway
            .client
            .get(live.gateway.url("/predict"))
            .header("x-api-key", key);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!((status("old").await, status("new").await), (200, 401));

    secret.publish(&[("API_KEY", "new"), ("API_KEY_PREVIOUS", "old")]);
    eventually("the new key is accepted", DEADLINE, async || status("new").await == 200).await;
    assert_eq!(status("old").await, 200, "both are");
    secret.publish(&[("API_KEY", "new")]);
    eventually("the old key is not", DEADLINE, async || status("old").await == 401).await;
    assert_eq!(status("new").await, 200);
    assert!(!live.gateway.process.output().contains("old"), "no key is logged");

    // A route needs a key: without one, the Secret as it is now is refused.
    secret.publish(&[]);
    eventually("it is refused", DEADLINE, async || {
        live.config().await["refused"].is_string()
    })
    .await;
    assert_eq!(status("new").await, 200);
}

#[tokio::test]
async fn the_log_level_changes_with_the_mounted_config_map() {
    let upstream = answering("ok").await;
    let mut shared = Mount::new("shared-config", &[("LOG_LEVEL", "info")]);
    let directory = shared.path().to_str().expect("UTF-8").to_owned();
    let live = Live::start(
        &yaml(&[upstream.address]),
        &[("CONFIG_DIRS", &directory), ("LOG_LEVEL", "error")],
    )
    .await;
    let request = async |id: &str| {
        let request = live
            .gateway
            .client
            .get(live.gateway.url("/predict"))
            .header("x-request-id", id);
        assert_eq!(request.send().await.expect("an answer").status(), 200);
    };
    let is_logged = |id: &str| live.gateway.process.log().iter().any(|line| line["request_id"] == id);
    request("first").await;
    eventually("the request is logged", DEADLINE, async || is_logged("first")).await;

    shared.publish(&[("LOG_LEVEL", "warn")]);
    eventually("the settings change", DEADLINE, async || {
        live.config().await["generation"] == 2
    })
    .await;
    request("second").await;
    shared.publish(&[("LOG_LEVEL", "debug")]);
    eventually("the settings change", DEADLINE, async || {
        live.config().await["generation"] == 3
    })
    .await;
    request("third").await;
    eventually("the request is logged", DEADLINE, async || is_logged("third")).await;
    assert!(!is_logged("second"));
}

#[tokio::test]
async fn two_hundred_reloads_under_load_fail_no_request() {
    const RELOADS: usize = 200;
    let upstreams = [answering("a").await, answering("b").await, answering("c").await];
    let version = |turn: usize| {
        let addresses: Vec<SocketAddr> = upstreams.iter().map(|upstream| upstream.address).collect();
        let text = match turn % 4 {
            // One endpoint less, another cluster's settings, another route, and a file that is none.
            0 => yaml(&addresses[..2]),
            1 => yaml(&addresses).replace("    endpoints:", "    balancer: round_robin\n    endpoints:"),
            2 => yaml(&addresses).replace("/raw", &format!("/raw-{turn}")),
            _ => yaml(&addresses) + "  - { prefix: nowhere",
        };
        format!("{text}# {turn}\n")
    };
    let mut live = Live::start(&version(1), &[]).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..4 {
        let (stop, answered, url) = (Arc::clone(&stop), Arc::clone(&answered), live.gateway.url("/predict"));
        let reused = live.gateway.client.clone();
        clients.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                // Two keep their connections, two open one for each request.
                let request = match client % 2 {
                    0 => reused.post(&url),
                    _ => reused.post(&url).header("connection", "close"),
                };
                let response = request.body("{}").send().await.expect("an answer");
                assert_eq!(response.status(), 200);
                response.bytes().await.expect("a body");
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let mut applied = 1;
    for turn in 0..RELOADS {
        let state = live.publish(&version(turn)).await;
        let is_good = turn % 4 != 3;
        applied += usize::from(is_good);
        assert_eq!(state["refused"].is_null(), is_good, "{turn}: {state}");
        assert_eq!(state["generation"], applied);
    }
    stop.store(true, Ordering::SeqCst);
    let failed = clients.join_all();
    tokio::time::timeout(DEADLINE, failed).await.expect("no client hangs");
    assert!(
        answered.load(Ordering::SeqCst) > RELOADS,
        "requests came in all the time"
    );
    eventually("old connections are closed", DEADLINE, async || {
        let open = live
            .gateway
            .metric("gateway_upstream_connections_open{cluster=\"backend:5000\"}")
            .await;
        // Four clients over two workers and three endpoints.
        open <= 4.0 * 2.0 * 3.0
    })
    .await;
}

/// An upstream that answers a request for each permit it is given.
async fn by_permit(permits: &Arc<Semaphore>) -> Upstream {
    let permits = Arc::clone(permits);
    Upstream::start(move |mut connection| {
        let permits = Arc::clone(&permits);
        async move {
            while connection.read_request().await.is_some() {
                permits.acquire().await.expect("it stays open").forget();
                connection.answer(200, "ok").await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn who_waits_for_a_place_gets_it_across_a_change_of_the_cluster() {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = by_permit(&permits).await;
    let with = |more: &str| yaml(&[upstream.address]).replace("    endpoints:", &format!("    {more}\n    endpoints:"));
    let mut live = Live::start(&with("max_concurrency: 1"), &[]).await;
    let ask = || tokio::spawn(live.gateway.client.get(live.gateway.url("/raw")).send());
    let waiting = async |gateway: &Gateway, count: f64| {
        eventually("they wait", DEADLINE, async || {
            gateway.metric("gateway_cluster_queue{cluster=\"backend:5000\"}").await == count
        })
        .await;
    };
    let in_flight = "gateway_endpoint_requests_in_flight{cluster=\"backend:5000\"";
    let first = ask();
    eventually("it is asked", DEADLINE, async || {
        live.gateway.metric(in_flight).await == 1.0
    })
    .await;
    // One waits since before the change, one comes after it.
    let before = ask();
    waiting(&live.gateway, 1.0).await;
    let change = with("max_concurrency: 1\n    balancer: round_robin");
    live.mount.publish(&[("gateway.yaml", &change)]);
    eventually("it is taken up", DEADLINE, async || {
        live.config().await["generation"] == 2
    })
    .await;
    let after = tokio::spawn(live.gateway.client.get(live.gateway.url("/raw")).send());
    waiting(&live.gateway, 2.0).await;
    permits.add_permits(1);
    assert_eq!(first.await.expect("no panic").expect("an answer").status(), 200);
    permits.add_permits(1);
    assert_eq!(
        before.await.expect("no panic").expect("an answer").status(),
        200,
        "it waited longest"
    );
    permits.add_permits(1);
    assert_eq!(after.await.expect("no panic").expect("an answer").status(), 200);

    // A limit that is raised lets in at once who waits by the old one.
    let url = live.gateway.url("/raw");
    let asked = [0, 1].map(|_| tokio::spawn(live.gateway.client.get(&url).send()));
    waiting(&live.gateway, 1.0).await;
    live.mount.publish(&[("gateway.yaml", &with("max_concurrency: 2"))]);
    waiting(&live.gateway, 0.0).await;
    permits.add_permits(2);
    for asked in asked {
        assert_eq!(asked.await.expect("no panic").expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn a_cluster_that_is_new_is_looked_for_before_requests_go_there() {
    const BLUE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
    const GREEN: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
    let upstreams = pods(&[("blue", BLUE), ("green", GREEN)]).await;
    let port = upstreams[0].address.port();
    let dns = DnsServer::start().await;
    dns.set("blue.", &[BLUE]);
    dns.set("green.", &[GREEN]);
    let server = dns.address.to_string();
    let version = |name: &str| {
        format!(
            "clusters: [{{ name: \"{name}.:{port}\" }}]\nroutes: [{{ prefix: /predict, cluster: \"{name}.:{port}\" }}]\n"
        )
    };
    let mut live = Live::start(&version("blue"), &[("DNS_SERVERS", &server)]).await;
    eventually("it is ready", DEADLINE, async || {
        live.gateway.admin("/readyz").await.status() == 200
    })
    .await;
    let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let load = tokio::spawn({
        let (stop, failed) = (Arc::clone(&stop), Arc::clone(&failed));
        let (client, url) = (live.gateway.client.clone(), live.gateway.url("/predict"));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let response = client.get(&url).send().await.expect("an answer");
                if response.status() != 200 {
                    let answer = response.text().await.expect("text");
                    failed.lock().expect("whole").push(answer);
                }
            }
        }
    });
    for turn in 0..20 {
        let name = if turn % 2 == 0 { "green" } else { "blue" };
        live.publish(&version(name)).await;
        eventually("requests go there", DEADLINE, async || {
            live.gateway.get("/predict").await.text().await.expect("text") == name
        })
        .await;
    }
    stop.store(true, Ordering::SeqCst);
    load.await.expect("no panic");
    let failed = failed.lock().expect("whole");
    assert!(failed.is_empty(), "{failed:?}\n{}", live.gateway.process.output());
}

#[tokio::test]
async fn a_request_that_lasts_keeps_no_idle_connections_open() {
    let upstream = Upstream::start(async |mut connection| {
        while let Some((head, _)) = connection.read_request().await {
            if head.contains("/lasts") {
                return connection.hang().await;
            }
            connection.answer(200, "ok").await;
        }
    })
    .await;
    let with = |balancer: &str| {
        let text = yaml(&[upstream.address]);
        text.replace("    endpoints:", &format!("    balancer: {balancer}\n    endpoints:"))
    };
    let mut live = Live::start_alone(&with("peak_ewma")).await;
    let lasting = tokio::spawn(live.gateway.client.get(live.gateway.url("/raw/lasts")).send());
    eventually("it is asked", DEADLINE, async || upstream.accepted() == 1).await;
    assert_eq!(live.gateway.get("/raw").await.status(), 200);
    let open = "gateway_upstream_connections_open{cluster=\"backend:5000\"}";
    assert_eq!(live.gateway.metric(open).await, 2.0);
    live.publish(&with("round_robin")).await;
    eventually("the idle one is closed", DEADLINE, async || {
        live.gateway.metric(open).await == 1.0
    })
    .await;
    lasting.abort();
}

#[tokio::test]
async fn a_limit_that_is_lowered_below_what_is_in_flight_stops_no_worker() {
    let (breaks, seen) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = || {
        let (breaks, seen) = (Arc::clone(&breaks), Arc::clone(&seen));
        Upstream::start(move |mut connection| {
            let (breaks, seen) = (Arc::clone(&breaks), Arc::clone(&seen));
            async move {
                if connection.read_request().await.is_some() {
                    seen.fetch_add(1, Ordering::SeqCst);
                    // Then the connection breaks: a request that is idempotent is sent again.
                    breaks.acquire().await.expect("it stays open").forget();
                }
            }
        })
    };
    let (one, two) = (start().await, start().await);
    let with = |limit: u32| {
        let text = yaml(&[one.address, two.address]);
        text.replace(
            "    endpoints:",
            &format!("    max_concurrency: {limit}\n    endpoints:"),
        )
    };
    let mut live = Live::start_alone(&with(4)).await;
    let url = live.gateway.url("/predict");
    let asked = [(); 3].map(|()| tokio::spawn(live.gateway.client.get(&url).send()));
    eventually("three are asked", DEADLINE, async || seen.load(Ordering::SeqCst) == 3).await;
    live.publish(&with(1)).await;
    breaks.add_permits(1);
    // It is sent again as soon as there is a place; the worker has time for others meanwhile.
    let waits = "gateway_cluster_queue{cluster=\"backend:5000\"}";
    eventually("it waits for a place", DEADLINE, async || {
        live.gateway.metric(waits).await == 1.0
    })
    .await;
    assert_eq!(live.gateway.get("/health").await.status(), 200);
    asked.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_origins_of_a_route_change_and_a_wrong_one_changes_nothing() {
    let upstream = answering("ok").await;
    let with = |rule: &str| yaml(&[upstream.address]).replace("{ prefix: /raw,", &format!("{{ prefix: /raw, {rule}"));
    let mut live = Live::start(&with(""), &[]).await;
    let url = live.gateway.url("/raw");
    let permitted = async |live: &Live, origin: &str| {
        let sent = live.gateway.client.get(&url).header("origin", origin).send().await;
        let answer = sent.expect("an answer");
        let permitted = answer.headers().get("access-control-allow-origin").cloned();
        permitted.map(|value| value.to_str().expect("a text").to_owned())
    };
    assert_eq!(permitted(&live, "http://a").await, None);

    live.publish(&with("cors: { origins: [\"http://a\"] },")).await;
    assert_eq!(permitted(&live, "http://a").await.as_deref(), Some("http://a"));
    assert_eq!(permitted(&live, "http://b").await, None);

    live.publish(&with("cors: { origins: [\"http://b\"] },")).await;
    assert_eq!(permitted(&live, "http://a").await, None);
    assert_eq!(permitted(&live, "http://b").await.as_deref(), Some("http://b"));

    let refused = live.publish(&with("cors: { origins: [\"http://c/\"] },")).await;
    assert!(refused.to_string().contains("routes[1].cors.origins[0]"), "{refused}");
    assert_eq!(permitted(&live, "http://b").await.as_deref(), Some("http://b"));
}

#[tokio::test]
async fn the_trusted_proxies_change_and_wrong_ones_change_nothing() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some((head, _body)) = connection.read_request().await {
            let head = head.to_ascii_lowercase();
            let client = head.split("\r\n").find_map(|line| line.strip_prefix("x-real-ip: "));
            connection.answer(200, client.unwrap_or_default()).await;
        }
    })
    .await;
    let with = |setting: &str| format!("{setting}{}", yaml(&[upstream.address]));
    let mut live = Live::start(&with(""), &[]).await;
    let url = live.gateway.url("/raw");
    let client = async |live: &Live| {
        let sent = live.gateway.client.get(&url).header("x-forwarded-for", "203.0.113.9");
        sent.send().await.expect("an answer").text().await.expect("a text")
    };
    assert_eq!(client(&live).await, "127.0.0.1");

    live.publish(&with("trusted_proxies: \"127.0.0.0/8\"\n")).await;
    assert_eq!(client(&live).await, "203.0.113.9");

    let refused = live.publish(&with("trusted_proxies: \"127.0.0.1/8\"\n")).await;
    assert!(refused.to_string().contains("trusted_proxies"), "{refused}");
    assert_eq!(client(&live).await, "203.0.113.9");

    live.publish(&with("")).await;
    assert_eq!(client(&live).await, "127.0.0.1");
}
