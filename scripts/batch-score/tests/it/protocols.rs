//! The protocols of other model servers, beside the lab's, which all other tests speak.

use shared::test_util::{DEADLINE, Upstream};

use crate::{Work, answer_text};

#[tokio::test]
async fn the_other_protocols() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some((head, body)) = connection.read_request().await {
            let line = head.lines().next().unwrap_or_default();
            let answer = match line {
                "POST /base/v1/models/m/versions/2:predict HTTP/1.1" => {
                    assert_eq!(body, b"{\"instances\":[{\"a\":1,\"b\":2},{\"a\":3,\"b\":4}]}");
                    "{\"predictions\":[[1,2],[3,4]]}"
                }
                "GET /base/v2/models/m HTTP/1.1" => {
                    "{\"inputs\":[{\"name\":\"in\",\"datatype\":\"FP32\",\"shape\":[-1,2]}]}"
                }
                "POST /base/v2/models/m/infer HTTP/1.1" => {
                    let expected =
                        "{\"inputs\":[{\"name\":\"in\",\"datatype\":\"FP32\",\"shape\":[2,2],\"data\":[1,2,3,4]}]}";
                    assert_eq!(body, expected.as_bytes());
                    "{\"model_version\":\"7\",\"outputs\":[{\"name\":\"y\",\"shape\":[2,1],\"data\":[5,6]}]}"
                }
                other => panic!("{other}"),
            };
            connection
                .send(answer_text(200, "x-model-version: 2\r\n", answer))
                .await;
        }
    })
    .await;
    let url = format!("http://{}/base/", upstream.address);
    for (arguments, expected) in [
        (
            "--protocol tf-serving --model m --model-version 2 --rows-as object",
            "row,prediction,model_version\n1,\"[1,2]\",2\n2,\"[3,4]\",2\n",
        ),
        (
            "--protocol open-inference --model m",
            "row,prediction,model_version\n1,5,7\n2,6,7\n",
        ),
    ] {
        let work = Work::new("rows.csv", "a,b\n1,2\n3,4\n", "scores.csv");
        let finished = work.start_at(&url, arguments).wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        assert_eq!(work.read(""), expected);
    }
}
