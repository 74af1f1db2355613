//! Frames by hand, for what no proper server does.

use shared::test_util::UpstreamConnection;

/// Frames by hand, for what no proper server does.
pub(super) struct Frames(UpstreamConnection);

pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const END_STREAM_AND_HEADERS: u8 = 5;
/// `:status: 200` by its place in HPACK's table.
pub(super) const OK: &[u8] = &[0x88];

impl Frames {
    pub(super) async fn begin(mut connection: UpstreamConnection) -> Self {
        connection.read_body(24).await;
        let mut frames = Self(connection);
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u8::try_from(payload.len()).expect("a short one");
        let head = [&[0, 0, length, kind, flags][..], &stream.to_be_bytes()].concat();
        self.0.send([&head, payload].concat()).await;
    }

    pub(super) async fn go_away(&mut self, last: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }

    /// The stream of the next request; `None` when the client has gone.
    pub(super) async fn request(&mut self) -> Option<u32> {
        loop {
            let head = self.0.read_body(9).await;
            let &[high, middle, low, kind, _, ref stream @ ..] = &head[..] else {
                return None;
            };
            self.0
                .read_body(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
                .await;
            if kind == HEADERS {
                return Some(u32::from_be_bytes((*stream).try_into().expect("four bytes")));
            }
        }
    }

    pub(super) async fn answer_all(mut self) {
        while let Some(stream) = self.request().await {
            self.send(HEADERS, END_STREAM_AND_HEADERS, stream, OK).await;
        }
    }
}
