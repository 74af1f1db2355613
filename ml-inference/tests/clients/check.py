"""Asks a running ml-inference with the clients that people use: NVIDIA's, Intel's, KServe's and MLflow's, and plain HTTP."""

import asyncio
import sys

import httpx
import numpy as np
import pandas as pd
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from ovmsclient import ModelNotFoundError, make_http_client

MODEL = "half_plus_two"
X = np.array([[1.0], [2.0], [5.0]], dtype=np.float32)
Y = X / 2 + 2


def triton_input(data=X, binary=True, name="x", datatype="FP32"):
    given = triton.InferInput(name, list(data.shape), datatype)
    given.set_data_from_numpy(data, binary_data=binary)
    return given


def check_triton(address):
    client = triton.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nope") and not client.is_model_ready(MODEL, "9")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(MODEL)
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}], metadata

    for binary_in in (True, False):
        for binary_out in (True, False):
            outputs = [triton.InferRequestedOutput("y", binary_data=binary_out)]
            result = client.infer(MODEL, [triton_input(binary=binary_in)], outputs=outputs, request_id="42")
            assert np.array_equal(result.as_numpy("y"), Y), result.as_numpy("y")
            assert result.get_response()["id"] == "42"
        result = client.infer(MODEL, [triton_input(binary=binary_in)])
        assert np.array_equal(result.as_numpy("y"), Y), "all outputs, when none is named"
    assert np.array_equal(client.async_infer(MODEL, [triton_input()]).get_result().as_numpy("y"), Y)

    for name, datatype, data in [
        ("z", "FP32", X),
        ("x", "INT64", X.astype(np.int64)),
        ("x", "FP16", X.astype(np.float16)),
    ]:
        try:
            client.infer(MODEL, [triton_input(data, name=name, datatype=datatype)])
            raise AssertionError(f"{name} {datatype} was taken")
        except triton.InferenceServerException as error:
            assert error.status() == "400", error
    for coding in ("gzip", "deflate"):
        compressed = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
        for binary in (True, False):
            result = client.infer(MODEL, [triton_input(binary=binary)], **compressed)
            assert np.array_equal(result.as_numpy("y"), Y), coding

    (statistics,) = client.get_inference_statistics(MODEL)["model_stats"]
    assert statistics["inference_stats"]["success"]["count"] >= 7, statistics
    assert {"name": MODEL, "version": "1", "state": "READY", "reason": ""} in client.get_model_repository_index()


def refusal(status, call, *arguments, **named):
    """What the server says to a call that it refuses."""
    try:
        call(*arguments, **named)
    except triton.InferenceServerException as error:
        assert error.status() == str(status), error
        return error.message()
    raise AssertionError(f"{call.__name__} was taken")


def check_repository(address, admin_address, loadable):
    """`loadable` lies in MODELS_DIR, and the server has loaded it."""
    client, admin = triton.InferenceServerClient(address), triton.InferenceServerClient(admin_address)

    def stands(model):
        return {(known["state"], known["reason"]) for known in admin.get_model_repository_index() if known["name"] == model}

    config = client.get_model_config(MODEL)
    tensor = {"data_type": "TYPE_FP32", "dims": [-1, 1]}
    assert config["max_batch_size"] == 0 and config["input"] == [{"name": "x"} | tensor], config
    assert config["output"] == [{"name": "y"} | tensor], config
    assert client.get_model_config(loadable, "1")["backend"] == client.get_model_metadata(loadable)["platform"]

    assert stands(loadable) == {("READY", "")}
    admin.unload_model(loadable)
    assert stands(loadable) <= {("UNAVAILABLE", "unloaded"), ("UNLOADING", "")}, stands(loadable)
    assert not client.is_model_ready(loadable)
    assert client.is_server_ready()
    admin.load_model(loadable)
    assert stands(loadable) == {("READY", "")}
    assert client.is_model_ready(loadable)
    admin.unload_model(loadable, unload_dependents=True)
    admin.load_model(loadable)

    assert "MODELS_DIR" in refusal(404, admin.load_model, "nope")
    assert "parameters[config]" in refusal(400, admin.load_model, loadable, config='{"backend": "python"}')
    files = {"file:1/model.onnx": b"a model"}
    assert "parameters[" in refusal(400, admin.load_model, loadable, config="{}", files=files)
    assert "part of the program" in refusal(400, admin.unload_model, MODEL)
    for call in (client.load_model, client.unload_model):
        assert "ADMIN_ADDRESS" in refusal(403, call, loadable)
    assert client.is_model_ready(loadable)
    assert "model_repository" in admin.get_server_metadata()["extensions"]


def check_ovms(address):
    client = make_http_client(address)
    assert client.get_model_status(MODEL)[1]["state"] == "AVAILABLE"
    # It reads OpenVINO's spelling of the metadata, and passes TensorFlow Serving's on as it came.
    metadata = client.get_model_metadata(MODEL)["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert metadata["inputs"]["x"]["dtype"] == "DT_FLOAT", metadata
    assert np.array_equal(client.predict({"x": X}, MODEL), Y)
    assert np.array_equal(client.predict({"x": X.tolist()}, MODEL, model_version=1), Y)
    try:
        client.predict({"x": X}, "nope")
        raise AssertionError("a model that is not there answered")
    except ModelNotFoundError:
        pass


async def check_kserve(url):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(url) and await client.is_server_ready(url)
    assert await client.is_model_ready(url, MODEL)
    given = InferInput("x", list(X.shape), "FP32")
    given.set_data_from_numpy(X, binary_data=False)
    binary = InferInput("x", list(X.shape), "FP32")
    binary.set_data_from_numpy(X, binary_data=True)
    for tensor in (given, binary):
        response = await client.infer(url, InferRequest(model_name=MODEL, infer_inputs=[tensor]), model_name=MODEL)
        assert np.array_equal(response.outputs[0].as_numpy(), Y), response
    await client.close()

    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    response = await client.infer(url, {"instances": X.tolist()}, model_name=MODEL)
    assert response == {"predictions": Y.tolist()}, response
    await client.close()


def check_mlflow(address):
    """MODEL_NAME is half_plus_two. A frame is sent as dataframe_split, anything else as inputs."""
    host, port = address.rsplit(":", 1)
    client = ScoringServerClient(host, int(port))
    client.ping()
    assert client.get_version()[0].isdigit(), client.get_version()
    frame = pd.DataFrame({"x": X[:, 0]}, index=[7, 8, 9])
    for data in (frame, X, X.tolist(), {"x": X}):
        predictions = client.invoke(data).get_predictions().to_numpy()
        assert np.array_equal(predictions.reshape(Y.shape), Y), predictions
    answer = client.invoke(pd.DataFrame({"x": [1.0, np.nan, np.inf]})).get_predictions().to_numpy().ravel()
    assert answer[0] == 2.5 and np.isnan(answer[1]) and np.isinf(answer[2]), answer
    for arguments in ({"data": frame, "params": {"temperature": 0.5}}, {"data": pd.DataFrame({"x": ["one"]})}):
        try:
            client.invoke(**arguments)
            raise AssertionError(f"{arguments} was taken")
        except MlflowException as error:
            assert "params.temperature" in str(error) or "dataframe_split.data[0][0]" in str(error), error


def check_plain(url):
    """The words that stand for no number, as Python's json writes and reads them."""
    answer = httpx.post(f"{url}/v1/models/{MODEL}:predict", content='{"instances": [NaN, Infinity, -Infinity]}')
    assert answer.text == '{"predictions":[NaN,Infinity,-Infinity]}\n', answer.text
    answer = httpx.post(f"{url}/v1/models/{MODEL}:regress", json={"examples": [{"x": 80}]})
    assert answer.json() == {"results": [42.0]}, answer.text


def main():
    address, admin_and_model = sys.argv[1], sys.argv[2:]
    url = f"http://{address}"
    check_triton(address)
    print("tritonclient: JSON and binary tensors, both ways")
    if admin_and_model:
        check_repository(address, *admin_and_model)
        print("tritonclient: load, unload, index, configuration")
    check_ovms(address)
    print("ovmsclient: status, metadata, predict")
    asyncio.run(check_kserve(url))
    print("kserve: v2 with JSON and binary tensors, v1")
    check_mlflow(address)
    print("mlflow: ping, version, invocations with a frame, arrays and lists")
    check_plain(url)
    print("plain HTTP: NaN and Infinity, regress")


main()
