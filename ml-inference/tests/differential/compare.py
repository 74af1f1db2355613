"""What differs between two answers, in one line."""

import json
import math
import struct

SHOWN = 60
# What else of an answer's head the gateway must pass on.
PASSED_ON = ["allow", "inference-header-content-length", "retry-after", "x-model-version"]


def difference(one, other, form, is_passed_on):
    """What `other` has where `one` has something else; nothing when they are the same. `is_passed_on` means that it ought to be the
    same answer: then errors must have the same words."""
    if one.failure or other.failure:
        told = [answer.failure or f"status {answer.status}" for answer in (one, other)]
        return "" if told[0] == told[1] else " → ".join(told)
    found = []

    def compare(what, before, after):
        if before != after:
            found.append(f"{what} {before} → {after}")

    def compare_header(name):
        compare(name, *(answer.headers.get(name, "none") for answer in (one, other)))

    compare("interim", one.interim, other.interim)
    compare("status", one.status, other.status)
    compare("type", one.media_type, other.media_type)
    compare_header("content-encoding")
    for name in PASSED_ON if is_passed_on else ():
        compare_header(name)
    if one.status == other.status or (one.status >= 400 and other.status >= 400):
        found += bodies(one, other, form, is_passed_on)
    return "; ".join(found)


def bodies(one, other, form, is_passed_on):
    (text, binary), (other_text, other_binary) = one.parts(), other.parts()
    found = []
    if binary != other_binary:
        found.append(f"bytes {shown(binary.hex())} → {shown(other_binary.hex())}")
    before, after = parsed(text), parsed(other_text)
    if is_error(one, before) and is_error(other, after):
        return found + (values("error", before["error"], after["error"], False) if is_passed_on else [])
    if isinstance(before, bytes) or isinstance(after, bytes):
        if text != other_text:
            found.append(f"body {shown(text) or 'none'} → {shown(other_text) or 'none'}")
        return found
    return found + values("", in_widths(before), in_widths(after), form)


def in_widths(body):
    """Numbers of FP32 as the floats that they are: 0.1 and 0.10000000149011612 are the same."""
    for output in body.get("outputs", []) if isinstance(body, dict) else []:
        if output.get("datatype") == "FP32" and "data" in output:
            output["data"] = [struct.unpack("f", struct.pack("f", number))[0] for number in output["data"]]
    return body


def parsed(text):
    """JSON, or the bytes as they are when they are none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def is_error(answer, body):
    """The protocol's form of an error. Its words are each server's own."""
    return answer.status >= 400 and isinstance(body, dict) and isinstance(body.get("error"), str)


def values(place, one, other, form):
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for name in [*one, *(name for name in other if name not in one)]:
            inner = f"{place}.{name}" if place else name
            if name not in other:
                found.append(f"without {inner}")
            elif name not in one:
                found.append(f"with {inner}")
            else:
                found += values(inner, one[name], other[name], form)
        return found
    if isinstance(one, list) and isinstance(other, list) and (form or len(one) == len(other)):
        return [text for index, pair in enumerate(zip(one, other)) for text in values(f"{place}[{index}]", *pair, form)]
    if same(one, other) or (form and kind(one) == kind(other)):
        return []
    return [f"{place or 'body'} {shown(json.dumps(one, ensure_ascii=False))} → {shown(json.dumps(other, ensure_ascii=False))}"]


def kind(value):
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def same(one, other):
    """Numbers are the same by value: 1 and 1.0, and NaN and NaN."""
    if kind(one) is float and kind(other) is float:
        both_nan = all(isinstance(value, float) and math.isnan(value) for value in (one, other))
        return both_nan or one == other
    return type(one) is type(other) and one == other


def shown(text, most=SHOWN):
    text = text.decode(errors="replace").strip() if isinstance(text, bytes) else text
    return text if len(text) <= most else f"{text[:most]}…"
