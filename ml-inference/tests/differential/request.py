"""Makes the bytes of a case's request, sends them over a socket, and reads what comes back."""

import gzip
import http.client
import re
import socket
import zlib
from dataclasses import dataclass, field

SECONDS = 3
KEYS = {
    "name", "request", "infer", "inputs", "id", "outputs", "parameters", "body", "tail", "headers", "header_length", "nest",
    "nest_unknown", "encoding", "cut", "append", "chunk", "http", "expect", "raw", "form",
}  # fmt: skip
ENCODINGS = {
    "gzip": gzip.compress,
    "gzip members": lambda body: gzip.compress(body[:20]) + gzip.compress(body[20:]),
    "deflate": zlib.compress,
    "deflate alone": lambda body: zlib.compress(body)[2:-4],
}
TENSOR = re.compile(r"(\S+) (\[.*?\]+|\S+) (.*)", re.DOTALL)


@dataclass
class Request:
    head: bytes
    body: bytes
    method: str
    waits: bool = False


@dataclass
class Answer:
    """What came back: the final answer, or why there is none."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    interim: list = field(default_factory=list)
    failure: str = ""

    @property
    def media_type(self):
        return self.headers.get("content-type", "none").split(";")[0].strip()

    def parts(self):
        """The text before the binary tensors, and those."""
        body = self.body
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        elif self.headers.get("content-encoding") == "deflate":
            body = zlib.decompress(body)
        length = int(self.headers.get("inference-header-content-length", len(body)))
        return body[:length], body[length:]


def make(case):
    """The request of a case."""
    unknown = set(case) - KEYS
    assert not unknown, f"{case['name']}: unknown keys {unknown}"
    if "raw" in case:
        raw = case["raw"].encode()
        return Request(raw, b"", raw.split(b" ")[0].decode())
    method, target = case.get("request", f"POST /v2/models/{case.get('infer')}/infer").split(" ", 1)
    text, tail = document(case)
    body = text + tail
    headers = {"Host": "models.example", "Connection": "close"} | case.get("headers", {})
    length = case.get("header_length", str(len(text)) if tail or "tail" in case else "none")
    if length != "none":
        headers["Inference-Header-Content-Length"] = length
    if "encoding" in case:
        body = ENCODINGS[case["encoding"]](body)
        headers.setdefault("Content-Encoding", case["encoding"].split()[0])
    body = body[: case.get("cut")] + bytes.fromhex(case.get("append", ""))
    if "chunk" in case:
        headers["Transfer-Encoding"] = "chunked"
        body = chunked(body, case["chunk"])
    elif body or method in ("POST", "PUT"):
        headers["Content-Length"] = str(len(body))
    waits = case.get("expect", False)
    if waits:
        headers["Expect"] = "100-continue"
    lines = [f"{method} {target} HTTP/{case.get('http', '1.1')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Request("\r\n".join([*lines, "", ""]).encode(), body, method, waits)


def document(case):
    """The JSON of a case, which need not be any, and the bytes behind it."""
    tail = bytes.fromhex(case.get("tail", ""))
    if "body" in case or not ("inputs" in case or "nest" in case):
        return case.get("body", "").encode(), tail
    inputs, binary = [], b""
    for name, tensor in case.get("inputs", {}).items():
        datatype, shape, data = TENSOR.fullmatch(tensor).groups()
        start = f'{{"name":"{name}","datatype":"{datatype}","shape":{shape},'
        if data.startswith("0x"):
            given = bytes.fromhex(data[2:])
            binary += given
            inputs.append(f'{start}"parameters":{{"binary_data_size":{len(given)}}}}}')
        else:
            inputs.append(f'{start}"data":{data}}}')
    if "nest" in case:
        inputs.append('{"name":"x","datatype":"FP32","shape":[1,1],"data":%s}' % deep(case["nest"]))
    members = {
        "id": case.get("id"),
        "parameters": case.get("parameters"),
        "nothing": deep(case["nest_unknown"]) if "nest_unknown" in case else None,
        "inputs": f"[{','.join(inputs)}]",
        "outputs": case.get("outputs"),
    }
    text = ",".join(f'"{name}":{value}' for name, value in members.items() if value is not None)
    return f"{{{text}}}".encode(), binary + tail


def deep(lists):
    return "[" * lists + "1" + "]" * lists


def chunked(body, size):
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def send(address, request):
    """The answer to a request on a connection of its own."""
    answer = Answer()
    try:
        with socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(request.head if request.waits else request.head + request.body)
            with connection.makefile("rb") as stream:
                read(stream, answer, request, connection)
    except TimeoutError:
        answer.failure = f"no answer in {SECONDS} s"
    except (OSError, EOFError):
        answer.failure = "closed without an answer"
    except (http.client.HTTPException, ValueError):
        answer.failure = "no HTTP"
    return answer


def read(stream, answer, request, connection):
    while True:
        line = stream.readline()
        if not line:
            raise EOFError
        status = int(line.split()[1])
        headers = {name.lower(): value for name, value in http.client.parse_headers(stream).items()}
        if status >= 200:
            break
        answer.interim.append(status)
        connection.sendall(request.body)
    answer.status, answer.headers = status, headers
    if request.method == "HEAD" or status in (204, 304):
        return
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(stream.readline(), 16):
            answer.body += stream.read(size)
            stream.readline()
    elif "content-length" in headers:
        length = int(headers["content-length"])
        answer.body = stream.read(length)
        if len(answer.body) < length:
            raise EOFError
    else:
        answer.body = stream.read()
