#!/usr/bin/env python3
"""The bench driver; start it with run.sh. Standard library only.

A peer is benches/load/peers/NAME.sh: `NAME.sh supports` prints the modes it can do,
`NAME.sh start` starts it (in the background, writing "A PID" / "B PID" lines to
$RUN/pids) with this environment:
  MODE      http | grpc | tcp | pair-h1 | pair-h2 | pair-tcp | pair-tcp-full | routes | routes-empty
  IN_PORT   the client connects to 127.0.0.1:IN_PORT
  MID_PORT  pair modes: proxy B's mTLS port
  BACKENDS  space-separated 127.0.0.1:PORT
  RUN       an empty directory for configs, logs and pids; CERTS: ca.pem, {client,server}.{pem,key,bundle.pem}
            (a "PORT n" or "ADDR h:p" line in pids sends the client elsewhere)
  PIN       prefix for the proxy command (taskset ...); WORKERS: worker threads per proxy process
The driver stops it by the pids.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, time

D = os.environ["BENCH_DIR"]
SCRATCH = os.environ["BENCH_SCRATCH"]
MB = os.environ["MB"]
HZ = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PROXY_CPU = os.environ.get("PROXY_CPU", "1")
LOAD_CPU = os.environ.get("LOAD_CPU", "0")
WORKERS = os.environ.get("WORKERS", "1")
NICE = os.environ.get("NICE", "-10")  # shots are short; keeps other work on a shared machine from preempting them
IN, MID = 8100, 8200
PORTS = {"http": [9001], "h2c": [9011, 9012, 9013], "source": [9021], "sink": [9031]}

# workload -> (mode, load kind, backend kind)
W = {
    "w1": ("http", "wrk", "http"),
    "w1mb": ("http", "mb", "http"),
    "w2": ("pair-h1", "wrk", "http"),
    "w2h2": ("pair-h2", "wrk", "http"),
    "w2tcp": ("pair-tcp", "wrk", "http"),
    "w3": ("grpc", "h2load", "h2c"),
    "w4": ("tcp", "stream", "source"),
    "w4up": ("tcp", "stream-up", "sink"),
    "w4pair": ("pair-tcp", "stream", "source"),
    "w5": ("pair-tcp-full", "close", "http"),
    "w6": ("routes", "routes", "http"),
    "w6empty": ("routes-empty", "routes", "http"),
    "w7": ("http", "idle", "http"),
    "w8": ("http", "rate", "http"),
    "w8pair": ("pair-h1", "rate", "http"),
}


def pin(cpu):
    return (["nice", "-n", NICE] if NICE != "0" else []) + ([] if cpu == "" else ["taskset", "-c", cpu])


def tree(pid):
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                todo += [int(x) for x in open(f"/proc/{p}/task/{t}/children").read().split()]
        except OSError:
            pass
    return out


def cpu_of(pids):
    u = s = 0
    for p in pids:
        try:
            f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        u += int(f[11])
        s += int(f[12])
    return u / HZ, s / HZ


def cpu_ns(pids):
    """CPU time in ns (the scheduler's own count: same as utime+stime, without the 10 ms steps)."""
    n = 0
    for p in pids:
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                n += int(open(f"/proc/{p}/task/{t}/schedstat").read().split()[0])
        except OSError:
            pass
    return n


def mem_of(pids):
    rss = hwm = pss = 0
    for p in pids:
        try:
            for line in open(f"/proc/{p}/status"):
                if line.startswith("VmRSS:"):
                    rss += int(line.split()[1])
                elif line.startswith("VmHWM:"):
                    hwm += int(line.split()[1])
            for line in open(f"/proc/{p}/smaps_rollup"):
                if line.startswith("Pss:"):
                    pss += int(line.split()[1])
        except OSError:
            pass
    return rss, hwm, pss


def machine_busy():
    """CPU-seconds all CPUs were busy (steal included) and stolen."""
    f = open("/proc/stat").readline().split()[1:]
    v = [int(x) / HZ for x in f]
    return v[0] + v[1] + v[2] + v[5] + v[6] + v[7], v[7]


def ours():
    """All CPU seconds ever spent in this pid namespace, the reaped included."""
    t = os.times()
    base = t.user + t.system + t.children_user + t.children_system
    live = sum(sum(cpu_of([int(p)])) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid())
    return base + live


def wait_port(port, http, deadline, host="127.0.0.1"):
    while time.time() < deadline:
        try:
            s = socket.create_connection((host, port), 1)
            if http:
                s.settimeout(2)
                s.sendall(b"GET / HTTP/1.1\r\nHost: svc-0.ns.svc.cluster.local\r\n\r\n")
                r = s.recv(64)
                if r.startswith(b"HTTP/1.1 200"):
                    s.close()
                    return True
            else:
                s.close()
                return True
            s.close()
        except OSError:
            pass
        time.sleep(0.05)
    return False


class Peer:
    def __init__(self, name):
        self.name = name
        self.script = os.path.join(D, "peers", name + ".sh")
        if not os.path.exists(self.script):
            sys.exit(f"no peer {name}")

    def supports(self, mode):
        r = subprocess.run([self.script, "supports"], capture_output=True, text=True)
        return mode in r.stdout.split()

    def start(self, mode, backends):
        self.run = os.path.join(SCRATCH, "run", self.name)
        shutil.rmtree(self.run, ignore_errors=True)
        os.makedirs(self.run)
        env = dict(os.environ, MODE=mode, IN_PORT=str(IN), MID_PORT=str(MID), RUN=self.run, WORKERS=WORKERS,
                   BACKENDS=" ".join(f"127.0.0.1:{p}" for p in backends), PIN=" ".join(pin(PROXY_CPU)))
        self.host, self.port = "127.0.0.1", IN
        t = time.time()
        r = subprocess.run([self.script, "start"], env=env, stdout=open(self.run + "/start.log", "w"),
                           stderr=subprocess.STDOUT)
        if r.returncode:
            raise RuntimeError(f"{self.name}: start failed: " + open(self.run + "/start.log").read()[-400:])
        self.roles = []
        for line in open(self.run + "/pids"):
            role, pid = line.split()
            if role == "PORT":
                self.port = int(pid)
            elif role == "ADDR":  # where the client must connect, if not 127.0.0.1:IN_PORT
                self.host, self.port = pid.split(":")[0], int(pid.split(":")[1])
            else:
                self.roles.append((role, int(pid)))
        http = mode in ("http", "pair-h1", "pair-h2", "pair-tcp-full", "routes", "routes-empty")
        if not wait_port(self.port, http, time.time() + 60, self.host):
            self.stop()
            raise RuntimeError(f"{self.name}: not ready in {mode}")
        self.ready_s = time.time() - t

    def pids(self, role=None):
        return [p for r, top in self.roles if role in (None, r) for p in tree(top)]

    def stop(self):
        ps = self.pids()
        for p in ps:
            try:
                os.kill(p, signal.SIGKILL)
            except OSError:
                pass
        for p in ps:
            try:
                os.waitpid(p, 0)
            except OSError:
                for _ in range(100):
                    if not os.path.exists(f"/proc/{p}"):
                        break
                    time.sleep(0.01)
        time.sleep(0.1)


def sh(cmd, timeout):
    r = subprocess.run(pin(LOAD_CPU) + cmd, capture_output=True, text=True, timeout=timeout)
    return r.stdout + r.stderr


def pct(v, q):
    return v[min(len(v) - 1, int(len(v) * q))] if v else 0


def load(kind, peer, a, dur):
    addr = f"{peer.host}:{peer.port}"
    if kind == "wrk":
        o = sh(["wrk", "-t1", f"-c{a.conns}", f"-d{dur}s", "--latency", "-s", D + "/wrk.lua", f"http://{addr}/"], dur + 30)
        return json.loads(o.split("\nMB", 1)[1].splitlines()[0])
    if kind in ("mb", "rate", "routes", "close"):
        x = {"mb": [], "rate": ["--rate", str(a.rate)], "routes": ["--hosts", "2000"], "close": ["--close"]}[kind]
        n = 32 if kind == "close" else a.conns
        o = sh([MB, "load", "--addr", addr, "--conns", str(n), "--dur", str(dur)] + x, dur + 30)
        return json.loads(o.strip().splitlines()[-1])
    if kind in ("stream", "stream-up"):
        o = sh([MB, "stream", "--addr", addr, "--conns", "4", "--dur", str(dur)] + (["--up"] if kind == "stream-up" else []), dur + 30)
        r = json.loads(o.strip().splitlines()[-1])
        r["requests"] = r["bytes"] / 1e9  # so that cpu_us is CPU us per GB
        r["rps"] = r["gbps"]
        return r
    if kind == "h2load":
        log = os.path.join(SCRATCH, "h2.log")
        body = os.path.join(SCRATCH, "grpc.body")
        with open(body, "wb") as f:  # a 64-byte protobuf message: field 1 = 62 bytes
            f.write(b"\0\0\0\0\x40\x0a\x3e" + b"x" * 62)
        if os.path.exists(log):
            os.unlink(log)
        o = sh(["h2load", "-t1", "-c8", "-m20", "-D", str(dur), "-d", body, "--log-file", log,
                "-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "user-agent: grpc-go/1.70",
                f"http://{addr}/bench.Echo/Unary"], dur + 30)
        g = lambda s: o.split(s, 1)[1]
        req = g("requests: ").split("\n")[0]
        n = lambda w: int(req.split(w)[0].split(",")[-1])
        v = sorted(int(l.split()[2]) for l in open(log))
        os.unlink(log)
        done = n(" done")
        # with -D every request still in flight at the end counts as failed: 8 x 20 at most
        bad = max(0, n(" failed") + n(" errored") - 2 * 160) + n(" timeout")
        return {"requests": done, "rps": done / dur, "errors": bad, "p50": pct(v, .5), "p90": pct(v, .9),
                "p99": pct(v, .99), "p999": pct(v, .999), "mean": sum(v) / max(1, len(v))}
    raise SystemExit(kind)


def once(w, peer, a):
    mode, kind, bk = W[w]
    peer.start(mode, PORTS[bk])
    try:
        time.sleep(0.3)
        rss0, _, pss0 = mem_of(peer.pids())
        r = {"rss_idle_kb": rss0, "pss_idle_kb": pss0, "ready_s": round(peer.ready_s, 2)}
        if kind == "idle":
            p = subprocess.Popen(pin(LOAD_CPU) + [MB, "idle", "--addr", f"{peer.host}:{peer.port}", "--conns", str(a.idle), "--hold", "3"],
                                 stdout=subprocess.PIPE, text=True)
            o = json.loads(p.stdout.readline())
            time.sleep(1)
            rss1, hwm, pss1 = mem_of(peer.pids())
            p.wait()
            time.sleep(1)
            rss2, _, _ = mem_of(peer.pids())
            r.update(errors=o["errors"], open=o["open"], rss_load_kb=rss1, rss_peak_kb=hwm, rss_after_kb=rss2,
                     kb_per_conn=(rss1 - rss0) / max(1, o["open"]), mb_per_5000=(rss1 - rss0) / 1024 * 5000 / max(1, o["open"]))
            return r
        if a.warm:
            load(kind, peer, a, a.warm)
        roles = sorted({x for x, _ in peer.roles})
        c0 = {x: cpu_of(peer.pids(x)) for x in roles}
        n0 = {x: cpu_ns(peer.pids(x)) for x in roles}
        m0, st0 = machine_busy()
        o0, t0 = ours(), time.time()
        q = load(kind, peer, a, a.dur)
        c1 = {x: cpu_of(peer.pids(x)) for x in roles}
        n1 = {x: cpu_ns(peer.pids(x)) for x in roles}
        m1, st1 = machine_busy()
        o1, dt = ours(), time.time() - t0
        rss1, hwm, _ = mem_of(peer.pids())
        n = max(q["requests"], 1e-9)
        us = lambda v: v * 1e6 / n
        r.update({k: q[k] for k in q})
        u = sum(c1[x][0] - c0[x][0] for x in roles)
        s = sum(c1[x][1] - c0[x][1] for x in roles)
        tot = sum(n1[x] - n0[x] for x in roles) / 1e9
        f = u / (u + s) if u + s > 0 else 0
        r.update(cpu_us=us(tot), cpu_user_us=us(tot * f), cpu_sys_us=us(tot * (1 - f)), util=tot / dt,
                 rss_load_kb=rss1, rss_peak_kb=hwm, steal=(st1 - st0) / dt,
                 foreign_cpu=max(0, ((m1 - m0) - (o1 - o0)) / dt))
        if len(roles) > 1:
            for x in roles:
                r["cpu_us_" + x] = us((n1[x] - n0[x]) / 1e9)
        return r
    finally:
        peer.stop()


def wait_quiet(limit, secs):
    end = time.time() + secs
    while time.time() < end:
        m0, _ = machine_busy()
        o0 = ours()
        time.sleep(1)
        f = machine_busy()[0] - m0 - (ours() - o0)
        if f < limit:
            return
        time.sleep(1)


def med(v):
    return {"med": round(statistics.median(v), 4), "min": round(min(v), 4), "max": round(max(v), 4)}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("workload")
    ap.add_argument("peers", nargs="+")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--dur", type=int, default=4)
    ap.add_argument("--warm", type=int, default=1)
    ap.add_argument("--conns", type=int, default=64)
    ap.add_argument("--rate", type=float, default=5000)
    ap.add_argument("--idle", type=int, default=5000)
    ap.add_argument("--quiet-wait", type=float, default=0, help="wait up to S seconds before each shot for other work to stop")
    ap.add_argument("--out", help="append the JSON lines to this file too")
    a = ap.parse_args()
    for c in (["ip", "link", "set", "lo", "up"], ["sysctl", "-qw", "net.ipv4.ip_local_port_range=20000 65000"],
              ["sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1"]):
        subprocess.run(c, check=False, stderr=subprocess.DEVNULL)
    be = [f"{k}:{p}" for k, v in PORTS.items() for p in v]
    backend = subprocess.Popen(pin(LOAD_CPU) + [MB, "backend"] + be)
    wait_port(PORTS["http"][0], True, time.time() + 5)
    names = list(W) if a.workload == "all" else a.workload.split(",")
    for w in names:
        mode = W[w][0]
        peers = [p for p in map(Peer, a.peers) if p.supports(mode)]
        rows = {p.name: [] for p in peers}
        for rnd in range(a.rounds):
            for p in peers:
                wait_quiet(0.3, a.quiet_wait)
                try:
                    rows[p.name].append(once(w, p, a))
                    x = rows[p.name][-1]
                    print(f"# {w} r{rnd} {p.name}: " + " ".join(f"{k}={x[k]:.1f}" if isinstance(x[k], float) else f"{k}={x[k]}"
                          for k in ("rps", "cpu_us", "util", "p50", "p99", "errors", "foreign_cpu", "mb_per_5000") if k in x),
                          file=sys.stderr, flush=True)
                except Exception as e:  # a peer that fails is reported, the others go on
                    print(f"# {w} r{rnd} {p.name}: FAILED {e}", file=sys.stderr, flush=True)
                    rows[p.name].append(None)
        for p in peers:
            rs = [r for r in rows[p.name] if r]
            if not rs:
                print(json.dumps({"workload": w, "peer": p.name, "failed": True}))
                continue
            o = {"workload": w, "mode": mode, "peer": p.name, "rounds": len(rs), "workers": int(WORKERS)}
            for k in sorted({k for r in rs for k in r}):
                v = [r[k] for r in rs if k in r]
                o[k] = sum(v) if k in ("errors", "non2xx", "timeouts", "unfinished") else med(v)
            for ref in ("envoy-istio", "envoy-bare"):
                if ref in rows and p.name != ref:
                    for k in ("cpu_us", "rps", "p50", "p99", "mb_per_5000", "rss_idle_kb"):
                        v = [x[k] / y[k] for x, y in zip(rows[p.name], rows[ref]) if x and y and k in x and y.get(k)]
                        if v:
                            o.setdefault("vs_" + ref, {})[k] = med(v)
            line = json.dumps(o)
            print(line, flush=True)
            if a.out:
                open(a.out, "a").write(line + "\n")
    backend.kill()


main()
