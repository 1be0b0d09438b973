"""One request of a web server to a FastCGI application, and its answer (FastCGI 1.0).

The specification: https://fastcgi-archives.github.io/FastCGI_Specification.html. Pure: bytes in,
bytes out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

MAX_ANSWER = 4 << 20
_HEADER = struct.Struct(">BBHHBx")  # version, type, request id, content and padding length
_VERSION, _REQUEST = 1, 1
_BEGIN, _END, _PARAMS, _STDIN, _STDOUT, _STDERR = 1, 3, 4, 5, 6, 7
_RESPONDER = 1
_MAX_CONTENT = 65535


@dataclass(frozen=True, slots=True)
class FastCgiAnswer:
    """What an application said: `status` of its CGI header, 200 without one; `body` after the
    header; `errors` is what it wrote to its error stream. `ended` says that nothing follows."""

    status: int
    body: bytes
    errors: bytes
    ended: bool


def request_bytes(params: Iterable[tuple[str, str]]) -> bytes:
    """A whole request of a responder with these parameters and no body; the connection is to be
    closed after it."""
    pairs = b"".join(_pair(name.encode(), value.encode()) for name, value in params)
    pieces = [pairs[at : at + _MAX_CONTENT] for at in range(0, len(pairs), _MAX_CONTENT)]
    records = [(_BEGIN, struct.pack(">HB5x", _RESPONDER, 0))]
    records += [(_PARAMS, piece) for piece in [*pieces, b""]]
    return b"".join(_record(kind, content) for kind, content in [*records, (_STDIN, b"")])


def parse_answer(data: bytes) -> FastCgiAnswer:
    """What came back so far; ValueError for what no FastCGI application says."""
    out, errors = bytearray(), bytearray()
    at, ended = 0, False
    while len(data) - at >= _HEADER.size and not ended:
        version, kind, _, length, padding = _HEADER.unpack_from(data, at)
        if version != _VERSION:
            raise ValueError(f"{data[at : at + 80]!r} where a FastCGI record belongs")
        at += _HEADER.size
        content = data[at : at + length]
        if len(content) < length:
            break
        at += length + padding
        if kind in (_STDOUT, _STDERR):
            (out if kind == _STDOUT else errors).extend(content)
        ended = kind == _END
    if len(data) > at and not ended and data[at] != _VERSION and at == 0:
        raise ValueError(f"{data[:80]!r} where a FastCGI record belongs")
    status, body = _split(bytes(out))
    return FastCgiAnswer(status, body, bytes(errors), ended)


def get_params(script: str, query: str, port: int) -> tuple[tuple[str, str], ...]:
    """What a web server tells of a GET of a script (CGI 1.1, RFC 3875)."""
    uri = f"{script}?{query}" if query else script
    return (
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", "minid"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", str(port)),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", uri),
        ("SCRIPT_NAME", script),
        ("SCRIPT_FILENAME", script),
        ("DOCUMENT_ROOT", script.rpartition("/")[0] or "/"),
        ("QUERY_STRING", query),
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", ""),
    )


def _record(kind: int, content: bytes) -> bytes:
    return _HEADER.pack(_VERSION, kind, _REQUEST, len(content), 0) + content


def _pair(name: bytes, value: bytes) -> bytes:
    return _length(len(name)) + _length(len(value)) + name + value


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else struct.pack(">I", size | 1 << 31)


def _split(out: bytes) -> tuple[int, bytes]:
    """The status and the body of a CGI answer."""
    ends = [(at, len(end)) for end in (b"\r\n\r\n", b"\n\n") if (at := out.find(end)) >= 0]
    if not ends:
        return 200, b""
    at, size = min(ends)
    for line in out[:at].splitlines():
        name, _, value = line.partition(b":")
        code = value.split()[0] if value.split() else b""
        if name.strip().lower() == b"status" and code.isdigit() and len(code) == 3:
            return int(code), out[at + size :]
    return 200, out[at + size :]
