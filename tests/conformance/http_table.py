#!/usr/bin/env python3
"""Sends every case below to several HTTP servers and prints a Markdown table of what they answered.

    http_table.py [--ridged build/ridged] [--nginx nginx] [--column name=host:port] ...

ridged and nginx are started here on free ports of 127.0.0.1 and stopped at the end; nginx reads the body
and passes the request on to a second server of its own that says 200. Any other server is a column by
its address: it has to answer GET / and POST PREDICT with 200. "name=" leaves a column empty.

A cell holds the statuses in order, then how it ended if not open: "close", "reset", "silence". Needs the
standard library only.
"""
import argparse
import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

MODEL = "california-housing"
PREDICT = f"/v1/models/{MODEL}:predict"
ROW = b'{"instances":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23]]}'
TOO_LARGE = 20_000_000
HALF_CLOSE, EACH_BYTE, WAIT_100, FLOOD = object(), object(), object(), object()

HOST = b"Host: a\r\n"


def get(extra=b"", target=b"/", version=b"HTTP/1.1", method=b"GET", host=HOST):
    return method + b" " + target + b" " + version + b"\r\n" + host + extra + b"\r\n"


def post(headers, body=ROW, version=b"HTTP/1.1", host=HOST):
    return b"POST " + PREDICT.encode() + b" " + version + b"\r\n" + host + headers + b"\r\n" + body


def length(n=len(ROW)):
    return b"Content-Length: %d\r\n" % n


CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(ROW), ROW)


def chunks(size=b"%x" % len(ROW), end=b"\r\n", trailer=b""):
    return size + b"\r\n" + ROW + end + b"0\r\n" + trailer + b"\r\n"


# (what is sent, [pieces], how many final answers are waited for[, the first has no body])
CASES = [
    ("**Must be understood**",),
    ("GET", [get()], 1),
    ("POST, cut at every byte", [EACH_BYTE, post(length())], 1),
    ("100 requests at once", [(get() + post(length()) + post(CHUNKED, CHUNKS) + get()) * 25], 100),
    ("3 requests, then a half-close", [get() * 3, HALF_CLOSE], 3),
    ("half a request, then a half-close", [get()[:20], HALF_CLOSE], 1),
    ("an empty line before the request line", [b"\r\n" + get()], 1),
    ("absolute target", [get(target=b"http://a/")], 1),
    ("absolute target without a path", [get(target=b"http://a")], 1),
    ("chunked body", [post(CHUNKED, CHUNKS)], 1),
    ("chunk extension", [post(CHUNKED, chunks(b"%x;x=\"y\"" % len(ROW)))], 1),
    ("trailer", [post(CHUNKED, chunks(trailer=b"X: y\r\n"))], 1),
    ("chunked body, then GET", [post(CHUNKED, CHUNKS) + get()], 2),
    ("Expect: 100-continue", [post(length() + b"Expect: 100-continue\r\n", b""), WAIT_100, ROW], 1),
    ("Expect: 100-continue, the body is there", [post(length() + b"Expect: 100-continue\r\n")], 1),
    ("HEAD, then GET", [get(method=b"HEAD") + get()], 2, True),
    ("HTTP/1.0", [get(version=b"HTTP/1.0")], 1),
    ("HTTP/1.0 with keep-alive, twice",
     [get(b"Connection: keep-alive\r\n", version=b"HTTP/1.0") * 2], 2),
    ("HTTP/1.7", [get(version=b"HTTP/1.7")], 1),
    ("Connection: foo, close", [get(b"Connection: foo, close\r\n")], 1),
    ("Connection: close, then GET", [get(b"Connection: close\r\n") + get()], 2),
    ("a value that is not ASCII", [get(b"X: \xc3\xa4\r\n")], 1),
    ("**Must be refused, or two servers read two things**",),
    ("Transfer-Encoding and Content-Length", [post(CHUNKED + length(5), CHUNKS)], 1),
    ("two different Content-Length", [post(length() + length(5))], 1),
    ("the same Content-Length twice", [post(length() + length())], 1),
    ("Content-Length: 69, 69", [post(b"Content-Length: 69, 69\r\n")], 1),
    ("Content-Length: +69", [post(b"Content-Length: +69\r\n")], 1),
    ("Content-Length: -1", [post(b"Content-Length: -1\r\n", b"")], 1),
    ("Content-Length: 0x45", [post(b"Content-Length: 0x45\r\n")], 1),
    ("Content-Length without a value", [post(b"Content-Length:\r\n", b"")], 1),
    ("Transfer-Encoding: gzip", [post(b"Transfer-Encoding: gzip\r\n", CHUNKS)], 1),
    ("Transfer-Encoding: gzip, chunked", [post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS)], 1),
    ("Transfer-Encoding: xchunked", [post(b"Transfer-Encoding: xchunked\r\n", CHUNKS)], 1),
    ("Transfer-Encoding twice", [post(CHUNKED + CHUNKED, CHUNKS)], 1),
    ("Transfer-Encoding in HTTP/1.0", [post(CHUNKED, CHUNKS, b"HTTP/1.0")], 1),
    ("blank before the colon", [post(b"Content-Length : 69\r\n")], 1),
    ("folded header", [post(length() + b"X: a\r\n b\r\n")], 1),
    ("folded Transfer-Encoding", [post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS)], 1),
    ("bare CR in a value", [get(b"X: a\rb\r\n")], 1),
    ("NUL in a value", [get(b"X: a\0b\r\n")], 1),
    ("lines that end in LF alone", [get().replace(b"\r\n", b"\n")], 1),
    ("no Host in HTTP/1.1", [get(host=b"")], 1),
    ("two Hosts", [get(b"Host: b\r\n")], 1),
    ("Host: a b", [get(host=b"Host: a b\r\n")], 1),
    ("header without a colon", [get(b"X\r\n")], 1),
    ("blank in the target", [get(target=b"/ x")], 1),
    ("not ASCII in the target", [get(target=b"/?\xc3\xa4")], 1),
    ("fragment in the target", [get(target=b"/#x")], 1),
    ("%zz in the path", [get(target=b"/%zz")], 1),
    ("%00 in the path", [get(target=b"/%00")], 1),
    ("blank before the method", [b" " + get()], 1),
    ("two blanks behind the method", [get(method=b"GET ")], 1),
    ("http/1.1 in small letters", [get(version=b"http/1.1")], 1),
    ("HTTP/2.0", [get(version=b"HTTP/2.0")], 1),
    ("chunk size x", [post(CHUNKED, chunks(b"x"))], 1),
    ("chunk size 0x45", [post(CHUNKED, chunks(b"0x45"))], 1),
    ("chunk size missing", [post(CHUNKED, chunks(b""))], 1),
    ("chunk that is longer than its size", [post(CHUNKED, chunks(b"44"))], 1),
    ("chunk size of 20 digits", [post(CHUNKED, chunks(b"f" * 20))], 1),
    ("LF alone behind a chunk", [post(CHUNKED, chunks(end=b"\n"))], 1),
    ("Expect: tea", [post(length() + b"Expect: tea\r\n", b"")], 1),
    ("**Limits**",),
    ("200 KB in one header", [get(b"X: " + b"x" * 200_000 + b"\r\n")], 1),
    ("10,000 headers", [get(b"X: y\r\n" * 10_000)], 1),
    ("20 MB announced and waited with",
     [post(length(TOO_LARGE) + b"Expect: 100-continue\r\n", b"")], 1),
    ("20 MB sent, then the answer read", [post(length(TOO_LARGE), b""), FLOOD], 1),
    ("20 MB in one chunk", [post(CHUNKED, b"%x\r\n" % TOO_LARGE), FLOOD], 1),
]


class Reader:
    """What a server sends back, one status at a time."""

    def __init__(self, sock):
        self.sock, self.data, self.end = sock, b"", None

    def more(self, seconds):
        self.sock.settimeout(seconds)
        try:
            got = self.sock.recv(1 << 16)
            self.data += got
            self.end = None if got else "close"
        except TimeoutError:
            self.end = "silence"
        except OSError:
            self.end = "reset"
        return self.end is None

    def status(self, bodiless):
        while b"\r\n\r\n" not in self.data:
            if not self.more(3):
                return None
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        status = int(head.split()[1])
        found = re.search(rb"(?im)^content-length: *(\d+)", head)
        body = 0 if bodiless or status < 200 or not found else int(found[1])
        if not found and re.search(rb"(?im)^transfer-encoding: *chunked", head) and not bodiless:
            while b"0\r\n\r\n" not in self.data and self.more(3):
                pass
            self.data = self.data.partition(b"0\r\n\r\n")[2]
        while len(self.data) < body and self.more(3):
            pass
        self.data = self.data[body:]
        return status


def squeeze(statuses):
    """200 200 200 400 -> 3 x 200, 400"""
    parts = []
    for status in statuses:
        if parts and parts[-1][1] == status:
            parts[-1][0] += 1
        else:
            parts.append([1, status])
    return ", ".join(f"{n} x {s}" if n > 1 else str(s) for n, s in parts)


def send(sock, reader, piece, each):
    """False when nothing more can be sent."""
    if piece is HALF_CLOSE:
        sock.shutdown(socket.SHUT_WR)
    elif piece is FLOOD:
        for _ in range(TOO_LARGE // 100_000):
            sock.sendall(b" " * 100_000)
    elif each:
        for i in range(len(piece)):
            sock.sendall(piece[i:i + 1])
    else:
        sock.sendall(piece)


def run(address, pieces, answers, head_first=False):
    statuses = []
    each = EACH_BYTE in pieces
    with socket.create_connection(address, timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(sock)
        try:
            for piece in pieces:
                if piece is WAIT_100:
                    statuses.append(reader.status(False) or 0)
                    if statuses != [100]:
                        break
                elif piece is not EACH_BYTE:
                    sock.settimeout(5)
                    send(sock, reader, piece, each)
        except OSError:
            pass  # the answer may be there all the same
        while sum(s >= 200 for s in statuses) < answers:
            status = reader.status(head_first and not statuses)
            if status is None:
                break
            statuses.append(status)
        if reader.end is None:
            reader.more(0.15)
            if reader.end is None and re.match(rb"HTTP/1\.1 \d+", reader.data):
                statuses.append("and more")
            reader.end = None if reader.end == "silence" else reader.end
    return ", ".join(filter(None, [squeeze(statuses), reader.end]))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(port, process):
    for _ in range(500):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    sys.exit(f"nothing listens on port {port}")


@contextlib.contextmanager
def running(argv, port):
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def nginx(program):
    port, behind = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        paths = "".join(f"{kind}_temp_path {folder}/{kind};"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(f"{folder}/nginx.conf", "w", encoding="ascii") as conf:
            conf.write(f"""daemon off; pid {folder}/pid; error_log /dev/null;
events {{}}
http {{ access_log off; client_max_body_size 16m; {paths}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}
  server {{ listen 127.0.0.1:{behind}; location / {{ return 200 ok; }} }} }}
""")
        with running([program, "-p", folder, "-c", f"{folder}/nginx.conf"], port) as address:
            yield address


def ridged(program):
    port = free_port()
    return running([program, "--model_dir=model/california-housing.json", "--host=127.0.0.1",
                    f"--http_port={port}", "--metrics_port=0", "--drain_delay=0"], port)


def check(name, address):
    """A column whose server does not answer 200 to what is well formed says nothing."""
    base = f"http://{address[0]}:{address[1]}"
    predict = urllib.request.Request(base + PREDICT, ROW, {"Content-Type": "application/json"})
    for request in (base + "/", predict):
        with urllib.request.urlopen(request, timeout=10) as got:
            if got.status != 200:
                sys.exit(f"{name}: expected 200, got {got.status}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--ridged", default="build/ridged")
    parser.add_argument("--nginx", default="nginx")
    parser.add_argument("--column", action="append", default=[], metavar="name=host:port")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        columns = [("nginx", stack.enter_context(nginx(options.nginx))),
                   ("ridged", stack.enter_context(ridged(options.ridged)))]
        for column in options.column:
            name, _, address = column.partition("=")
            host, _, port = address.rpartition(":")
            columns.append((name, (host, int(port)) if address else None))
        for name, address in columns:
            if address:
                check(name, address)
        names = [name for name, _ in columns]
        print(f"| sent | {' | '.join(names)} |")
        print("|---" * (len(names) + 1) + "|")
        for title, *case in CASES:
            cells = [run(address, *case) if case and address else "" for _, address in columns]
            print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
