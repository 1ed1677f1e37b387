"""A sidecar for tests of the runtime: passes bytes through, and says where they were going."""
import os, signal, socket, struct, sys, threading

arguments = sys.argv[1:]


def value(name):
    return arguments[arguments.index(name) + 1] if name in arguments else None


def say(*words):
    print(*words, flush=True)


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def original(stream):
    if stream.family == socket.AF_INET:
        raw = stream.getsockopt(socket.SOL_IP, 80, 16)
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack("!H", raw[2:4])[0]
    raw = stream.getsockopt(41, 80, 28)
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]


def relay(stream, direction):
    host, port = original(stream)
    say(direction, host, port)
    upstream = socket.socket(stream.family)
    if direction == "outbound":
        upstream.setsockopt(socket.SOL_SOCKET, 36, 0x539)  # SO_MARK
    else:
        host = "127.0.0.1" if stream.family == socket.AF_INET else "::1"
    try:
        upstream.connect((host, port))
    except OSError as error:
        say("refused", error)
        return stream.close()
    threading.Thread(target=pump, args=(stream, upstream), daemon=True).start()
    pump(upstream, stream)


def serve(listener, handle):
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=handle, args=(stream,), daemon=True).start()


def listen(family, address, handle):
    listener = socket.socket(family)
    if family != socket.AF_UNIX:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(address)
    listener.listen(64)
    threading.Thread(target=serve, args=(listener, handle), daemon=True).start()


def ready(stream):
    stream.recv(4096)
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    stream.close()


def resolve():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 15053))
    while True:
        query, client = server.recvfrom(4096)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        question = query[12:at + 5]
        name = ".".join(labels)
        say("resolve", name)
        known = dict(line.split() for line in open(os.environ["STAND_IN_NAMES"]))
        answer = known.get(name) if kind == 1 else None
        code = 0x8180 if name in known else 0x8183
        reply = query[:2] + struct.pack("!HHHHH", code, 1, 1 if answer else 0, 0, 0) + question
        if answer:
            reply += struct.pack("!HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(answer)
        server.sendto(reply, client)


def leave(*_):
    say("left")
    os._exit(0)


signal.signal(signal.SIGTERM, leave)
say("arguments", *arguments)
if os.environ.get("STAND_IN_BROKEN"):
    sys.exit("the stand-in is broken on purpose")
say("capabilities", *[line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")])
if value("--mode") == "intercept":
    families = [(socket.AF_INET, "0.0.0.0")] + ([(socket.AF_INET6, "::")] if os.path.exists("/proc/net/if_inet6") else [])
    for family, every in families:
        listen(family, (every, 15001), lambda stream: relay(stream, "outbound"))
        listen(family, (every, 15006), lambda stream: relay(stream, "inbound"))
    threading.Thread(target=resolve, daemon=True).start()
else:
    host, port = value("--explicit-outbound").split(":")
    listen(socket.AF_INET, (host, int(port)), ready)
listen(socket.AF_UNIX, value("--admin-socket"), ready)
while True:
    signal.pause()
