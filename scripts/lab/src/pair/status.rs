//! The gateway's settings on its status page.

use serde_json::Value;

use crate::probe::Probe;

/// Lines of the page that are shown when it does not say what was expected.
const SHOWN_LINES: usize = 20;

#[derive(Debug, Default)]
pub struct Status {
    text: String,
    page: Value,
}

impl Status {
    /// The page of the admin listener on this port; an empty one when it does not answer.
    pub async fn read(probe: &Probe, admin_port: u16) -> Self {
        let text = probe.text(&format!("http://127.0.0.1:{admin_port}/status.json")).await;
        let text = text.unwrap_or_default();
        let page = serde_json::from_str(&text).unwrap_or_default();
        Self { text, page }
    }

    /// The number of times that settings were taken up, the start included.
    pub fn generation(&self) -> u64 {
        self.page["config"]["generation"].as_u64().unwrap_or(0)
    }

    /// The reason for which the files as they are now were refused.
    pub fn refused(&self) -> Option<&str> {
        self.page["config"]["refused"].as_str()
    }

    /// The beginning of the page, as it came.
    pub fn head(&self) -> String {
        let lines = self.text.lines().take(SHOWN_LINES);
        lines.map(|line| format!("{line}\n")).collect()
    }
}
