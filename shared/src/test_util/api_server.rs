//! An API server inside the test that speaks list and watch over HTTP, and misbehaves when it is told to.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::upstream::{Upstream, UpstreamConnection};

/// The namespace of every slice.
pub const NAMESPACE: &str = "mlops-lab";
/// The Service of every slice.
pub const SERVICE: &str = "ml-inference-service";

/// The way in which the next requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Every request is answered.
    Well,
    /// Every request gets this status.
    Refusing(u16),
    /// Lists are answered, every watch gets this status.
    RefusingWatches(u16),
    /// Requests are taken and not answered.
    Hanging,
    /// Watches are answered, and end at once.
    EndingWatches,
    /// Watches are answered, say nothing and do not end.
    Silent,
    /// Watches are answered and tell of bookmarks, and of nothing else.
    OnlyBookmarks,
}

/// A Kubernetes API server for EndpointSlices.
#[derive(Debug)]
pub struct ApiServer {
    /// The address it listens on.
    pub address: SocketAddr,
    state: watch::Sender<ApiState>,
    _upstream: Upstream,
}

#[derive(Debug)]
struct ApiState {
    slices: BTreeMap<String, Value>,
    version: u64,
    /// Events with their versions, oldest first.
    history: Vec<(u64, Value)>,
    mood: Mood,
    /// Watches that began before this number of cuts are cut off.
    cuts: usize,
    token: String,
    asked: Vec<Asked>,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// The query by name.
    pub query: BTreeMap<String, String>,
    /// The bearer token, or an empty text.
    pub token: String,
}

impl Asked {
    /// True for a watch, false for a list.
    pub fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|value| value == "true")
    }

    fn version(&self) -> u64 {
        self.query
            .get("resourceVersion")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    fn from_head(head: &str) -> Self {
        let target = head.split(' ').nth(1).expect("a request line");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let decode = |text: &str| text.replace("%2F", "/").replace("%3D", "=");
        let token = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let named = name.eq_ignore_ascii_case("authorization");
            named.then(|| value.trim().trim_start_matches("Bearer ").to_owned())
        });
        Self {
            path: path.to_owned(),
            query: pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect(),
            token: token.unwrap_or_default(),
        }
    }
}

impl ApiServer {
    /// Starts a server without slices.
    pub async fn start(mood: Mood) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), mood, 100).await
    }

    /// Starts a server on the address of an earlier one, from a version on.
    pub async fn start_at(address: SocketAddr, mood: Mood, version: u64) -> Self {
        let state = watch::Sender::new(ApiState {
            slices: BTreeMap::new(),
            version,
            history: Vec::new(),
            mood,
            cuts: 0,
            token: "first".to_owned(),
            asked: Vec::new(),
        });
        let served = state.clone();
        let upstream = Upstream::start_at(address, move |connection| serve(connection, served.clone())).await;
        Self {
            address: upstream.address,
            state,
            _upstream: upstream,
        }
    }

    /// Adds or changes a slice, and tells every watch.
    pub fn put(&self, name: &str, slice: Value) {
        self.state.send_modify(|state| {
            let known = state.slices.contains_key(name);
            state.note(if known { "MODIFIED" } else { "ADDED" }, name, slice);
        });
    }

    /// Deletes the slice `name`, which watchers receive as an event.
    pub fn delete(&self, name: &str) {
        self.state.send_modify(|state| {
            let last = state.slices.get(name).expect("a slice of this name").clone();
            state.note("DELETED", name, last);
        });
    }

    /// Sends every watch a version that other objects have reached.
    pub fn bookmark(&self, version: u64) {
        self.state.send_modify(|state| {
            let metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
            let object = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata});
            state
                .history
                .push((version, json!({"type": "BOOKMARK", "object": object})));
            state.version = version;
        });
    }

    /// Ends every watch because its version is too old. No watch receives the events of `meanwhile`.
    pub fn expire(&self, meanwhile: impl FnOnce(&mut BTreeMap<String, Value>)) {
        self.state.send_modify(|state| {
            meanwhile(&mut state.slices);
            state.version += 1;
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "too old resource version", "reason": "Expired", "code": 410});
            state
                .history
                .push((state.version, json!({"type": "ERROR", "object": status})));
        });
    }

    /// Changes how the next requests are answered.
    pub fn set_mood(&self, mood: Mood) {
        self.state.send_modify(|state| state.mood = mood);
    }

    /// Breaks off every watch.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// The only token it takes from now on.
    pub fn expect_token(&self, token: &str) {
        self.state.send_modify(|state| token.clone_into(&mut state.token));
    }

    /// The resource version now.
    pub fn version(&self) -> u64 {
        self.state.borrow().version
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.borrow().asked.clone()
    }

    /// The watches among the requests.
    pub fn watches(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(Asked::is_watch).collect()
    }

    /// The number of lists among the requests.
    pub fn lists(&self) -> usize {
        self.asked().len() - self.watches().len()
    }
}

impl ApiState {
    fn note(&mut self, kind: &str, name: &str, mut slice: Value) {
        self.version += 1;
        slice["metadata"] = json!({"name": name, "namespace": NAMESPACE, "resourceVersion": self.version.to_string(),
            "labels": {"kubernetes.io/service-name": SERVICE}});
        if kind == "DELETED" {
            self.slices.remove(name);
        } else {
            self.slices.insert(name.to_owned(), slice.clone());
        }
        self.history
            .push((self.version, json!({"type": kind, "object": slice})));
    }

    fn list(&self) -> Value {
        let items: Vec<&Value> = self.slices.values().collect();
        json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }
}

async fn serve(mut connection: UpstreamConnection, state: watch::Sender<ApiState>) {
    while let Some(head) = connection.read_head().await {
        let asked = Asked::from_head(&head);
        state.send_if_modified(|state| {
            state.asked.push(asked.clone());
            false
        });
        let (mood, allowed) = {
            let state = state.borrow();
            (state.mood, state.token == asked.token)
        };
        match mood {
            Mood::Hanging => return connection.hang().await,
            Mood::Refusing(code) => fail(&mut connection, code).await,
            _ if !allowed => fail(&mut connection, 401).await,
            _ if !asked.is_watch() => {
                let list = state.borrow().list().to_string();
                connection.answer(200, &list).await;
            }
            Mood::RefusingWatches(code) => fail(&mut connection, code).await,
            Mood::Well | Mood::EndingWatches | Mood::Silent | Mood::OnlyBookmarks => {
                return stream(connection, state.subscribe(), &asked).await;
            }
        }
    }
}

async fn fail(connection: &mut UpstreamConnection, code: u16) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("scripted {code}"), "reason": "Scripted", "code": code});
    connection.answer(code, &status.to_string()).await;
}

/// Sends what has happened since the version asked for and what happens from now on, until `timeoutSeconds` are over.
async fn stream(mut connection: UpstreamConnection, mut state: watch::Receiver<ApiState>, asked: &Asked) {
    connection
        .send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let seconds = asked.query.get("timeoutSeconds").and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.expect("a watch with an end"));
    let mut told = asked.version();
    let cuts = state.borrow().cuts;
    loop {
        let (mood, cut, news) = {
            let state = state.borrow_and_update();
            let news = state.history.iter().filter(|(version, _)| *version > told).cloned();
            (state.mood, state.cuts > cuts, news.collect::<Vec<_>>())
        };
        match mood {
            _ if cut => return,
            Mood::Silent => return connection.hang().await,
            Mood::EndingWatches => break,
            _ => {}
        }
        for (version, event) in news {
            if mood == Mood::OnlyBookmarks && event["type"] != "BOOKMARK" {
                continue;
            }
            let line = format!("{event}\n");
            connection.send(format!("{:x}\r\n{line}\r\n", line.len())).await;
            told = version;
        }
        if timeout_at(end, state.changed()).await.is_err() {
            break;
        }
    }
    connection.send("0\r\n\r\n").await;
}

/// The conditions that the control plane gives a pod.
#[derive(Debug, Clone, Copy)]
pub enum Pod {
    /// A ready pod at this address.
    Ready(Ipv4Addr),
    /// A pod at this address that is not ready.
    Unready(Ipv4Addr),
    /// Terminating, and still serving.
    Leaving(Ipv4Addr),
    /// Terminating, and no longer serving.
    Gone(Ipv4Addr),
}

/// A slice with one port, `http`.
pub fn slice(port: u16, pods: &[Pod]) -> Value {
    slice_with_ports(&[("http", port)], pods)
}

/// An EndpointSlice of `pods` with these named ports.
pub fn slice_with_ports(ports: &[(&str, u16)], pods: &[Pod]) -> Value {
    let port = |(name, port): &(&str, u16)| json!({"name": name, "port": port, "protocol": "TCP"});
    let ports: Vec<Value> = ports.iter().map(port).collect();
    let endpoint = |pod: &Pod| {
        let (address, ready, serving, terminating) = match pod {
            Pod::Ready(address) => (address, true, true, false),
            Pod::Unready(address) => (address, false, false, false),
            Pod::Leaving(address) => (address, false, true, true),
            Pod::Gone(address) => (address, false, false, true),
        };
        json!({"addresses": [address], "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": "ml-inference"}, "nodeName": "node"})
    };
    let endpoints: Vec<Value> = pods.iter().map(endpoint).collect();
    json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4", "ports": ports,
        "endpoints": endpoints})
}
