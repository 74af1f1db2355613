//! Lab 6, Part D.6: the page of deploy/lab6 in a browser, whose requests go to another origin than its own.

use std::net::SocketAddr;

use e2e::binary;
use e2e::manifests::{container, find, list, render, text};
use shared::test_util::{DEADLINE, Process, Scratch, Upstream, UpstreamConnection, eventually};
use yaml_rust2::Yaml;

use crate::chromium::{self, Chromium};
use crate::{LAB6, System, after, console, left_out, own_address, page, variables, version_of};

const PREDICT: &str = "#form button";
const HEALTH: &str = "#health";
/// Where the page is given the gateway of deploy/base, by its NodePort and its route.
const GATEWAY: &str = "http://localhost:30080/predict";

/// Serves the page, as `python3 -m http.server --directory app` does.
async fn serve(mut connection: UpstreamConnection) {
    let html = page("deploy/lab6/app/index.html");
    while let Some((head, _)) = connection.read_request().await {
        // Browsers ask for an icon too.
        let (status, body) = match head.starts_with("GET / ") || head.starts_with("GET /?") {
            true => ("200 OK", html.as_str()),
            false => ("404 Not Found", ""),
        };
        let length = body.len();
        connection
            .send(format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
    }
}

/// The gateway of deploy/base, in front of `service`, with the rule that the page tells the reader to add.
async fn gateway(page: &str, service: SocketAddr) -> (Process, SocketAddr, Scratch) {
    let objects = render("deploy/base");
    let data = |name: &str| find(&objects, "ConfigMap", name)["data"].clone();
    let mut document = text(&data("gateway-config")["gateway.yaml"]);
    for (from, to) in [
        ("discovery: kubernetes\n", format!("endpoints: [\"{service}\"]\n")),
        ("port_name: http\n", "\n".to_owned()),
        ("rewrite: /\n", format!("rewrite: /\n    {}\n", rule(page))),
    ] {
        assert_eq!(document.matches(from).count(), 1, "{document}");
        document = document.replace(from, &to);
    }
    let scratch = Scratch::new("lab6-gateway");
    let file = scratch.file("gateway.yaml", document);
    let container = container(find(&objects, "Deployment", "api-gateway"));
    let sources: Vec<String> = list(&container["envFrom"])
        .iter()
        .map(|source| text(&source["configMapRef"]["name"]))
        .collect();
    let mut environment = variables(container, "api-gateway-1");
    for source in sources {
        let Yaml::Hash(data) = data(&source) else {
            panic!("{source} is empty")
        };
        environment.extend(data.iter().map(|(name, value)| (text(name), text(value))));
    }
    let ip = own_address();
    environment.insert("CONFIG_FILE".to_owned(), file.display().to_string());
    environment.insert("LISTEN_ADDRESS".to_owned(), format!("{ip}:0"));
    environment.insert("ADMIN_ADDRESS".to_owned(), format!("{ip}:0"));
    let process = Process::start(binary("gateway"), environment);
    let address = process.listening().await;
    (process, address, scratch)
}

/// The line of YAML with which the page has the gateway permit its origin.
fn rule(page: &str) -> &str {
    let lines: Vec<&str> = page
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("cors: "))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0]
}

/// Presses a button and gives what the page shows when the answer is there.
async fn press(chromium: &mut Chromium, button: &str) -> String {
    let expression = format!(
        "new Promise(done => {{
            const answer = document.getElementById('answer');
            const look = () => {{ if (answer.textContent !== '…') done(answer.textContent); }};
            new MutationObserver(look).observe(answer, {{ childList: true }});
            document.querySelector('{button}').click();
        }})"
    );
    chromium
        .evaluate(&expression)
        .await
        .as_str()
        .expect("a text")
        .to_owned()
}

/// Whether a process logged a request of this method with this status.
fn logged(process: &Process, method: &str, status: u16) -> bool {
    let is_it = |line: &serde_json::Value| line["method"] == method && line["status"] == status;
    process.log().iter().any(is_it)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_lab_6_shows_answers_where_its_origin_is_permitted_and_says_so_where_it_is_not() {
    if left_out() || chromium::is_missing() {
        return;
    }
    let lab = page(LAB6);
    let objects = render("deploy/lab6");
    let deployment = find(&objects, "Deployment", "mlops-deployment");
    let version = version_of(&lab, &text(&container(deployment)["image"]));
    let system = System::start(&objects, "mlops-deployment", "mlops-service", &version).await;
    let (gateway, gateway_address, _scratch) = gateway(&lab, system.service.address).await;
    let pages = Upstream::start(serve).await;

    // The names and ports that the reader types.
    let port = after(&lab, "python3 -m http.server ")[0];
    let node_port = text(&list(&find(&objects, "Service", "mlops-service")["spec"]["ports"])[0]["nodePort"]);
    let [permitted, other] = ["localhost", "127.0.0.1"].map(|host| format!("{host}:{port}"));
    let service = format!("localhost:{node_port}");
    assert!(
        lab.contains(&format!("?service={GATEWAY}`")),
        "the page says how to ask the gateway"
    );
    let mut chromium = Chromium::start(&[
        (&permitted, pages.address),
        (&other, pages.address),
        (&service, system.service.address),
        ("localhost:30080", gateway_address),
    ])
    .await;

    let shown = console(&lab);
    let printed = |part: &str| {
        &shown
            .iter()
            .find(|shown| shown.command.contains(part))
            .expect(part)
            .printed
    };
    let predicted = format!("200\n{}", printed("-X POST"));
    for (query, asked) in [
        (String::new(), format!("http://{service}")),
        (format!("?service={GATEWAY}"), GATEWAY.to_owned()),
    ] {
        chromium.open(&format!("http://{permitted}/{query}")).await;
        assert_eq!(
            chromium
                .evaluate("document.getElementById('service').textContent")
                .await,
            *asked
        );
        assert_eq!(press(&mut chromium, PREDICT).await, predicted, "{asked}");
        let health = press(&mut chromium, HEALTH).await;
        assert!(
            health.starts_with("200\n{\"status\":\"healthy\",\"service\":\"mlops-service\","),
            "{health}"
        );

        chromium.open(&format!("http://{other}/{query}")).await;
        for button in [PREDICT, HEALTH] {
            assert_eq!(
                press(&mut chromium, button).await,
                format!(
                    "TypeError: Failed to fetch\n\
                     Is the service up, and is http://{other} in its CORS_ORIGINS? The console says which."
                ),
                "{asked}"
            );
        }
    }
    chromium.close().await;

    // JSON is asked for after a preflight only, which each answers itself, and by the origin.
    let servers = system.pods.iter().map(|pod| &pod.process);
    for (method, status) in [("OPTIONS", 204), ("OPTIONS", 403), ("POST", 200)] {
        let what = format!("{method} {status}");
        eventually(&what, DEADLINE, async || {
            logged(&gateway, method, status) && servers.clone().any(|process| logged(process, method, status))
        })
        .await;
    }
}
