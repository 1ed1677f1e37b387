#!/usr/bin/env python3
"""Builds an OCI image archive without a container engine: `ctr images import`, `podman load` and `docker load` take it.

    mkimage.py OUT.tar REFERENCE --file target/release/weft-proxy:/usr/local/bin/weft-proxy --entry /usr/local/bin/weft-proxy

One layer, uncompressed. The same inputs give the same bytes: entries are sorted, times are fixed. Of programs that are
added, the shared libraries that the dynamic loader would take are added too, with the loader itself.
"""

import argparse
import fnmatch
import hashlib
import io
import json
import os
import platform
import stat
import subprocess
import sys
import tarfile
import tempfile

# Beside root: the proxy's user, whom interception lets pass, and the user that other programs run as.
PASSWD = """root:x:0:0:root:/:/bin/sh
weft:x:1337:1337:weft:/:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
nonroot:x:65532:65532:nonroot:/:/sbin/nologin
"""
GROUP = "root:x:0:\nweft:x:1337:\nnogroup:x:65534:\nnonroot:x:65532:\n"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Root:
    """The files of an image, by absolute path."""

    def __init__(self):
        self.entries = {}  # path -> (kind, mode, content or target)
        self.folder("/tmp", 0o1777)
        self.text("/etc/passwd", PASSWD)
        self.text("/etc/group", GROUP)
        # Names first from files, then from DNS: what getaddrinfo does without this file differs between systems.
        self.text("/etc/nsswitch.conf", "hosts: files dns\n")

    def folder(self, path, mode=0o755):
        if path != "/":
            self.folder(os.path.dirname(path))
            self.entries.setdefault(path, (tarfile.DIRTYPE, mode, None))

    def put(self, path, kind, mode, content):
        self.folder(os.path.dirname(path))
        self.entries[path] = (kind, mode, content)

    def text(self, path, text):
        self.put(path, tarfile.REGTYPE, 0o644, text.encode())

    def link(self, target, path):
        self.put(path, tarfile.SYMTYPE, 0o777, target)

    def file(self, source, path, strip=False, beside=()):
        """Adds a file with its content; links are followed. A program brings its libraries, but for those `beside`."""
        if path in self.entries:
            return
        content, mode = read(source, strip), 0o755 if os.access(source, os.X_OK) else 0o644
        self.put(path, tarfile.REGTYPE, mode, content)
        if content[:4] == b"\x7fELF":
            for library in libraries(source, beside):
                self.file(library, library)

    def tree(self, source, path, without, beside=None):
        """Adds a folder; entries whose name is like one of `without` are left out."""
        # A runtime finds libraries of its own by other means than the loader's search path.
        beside = beside or {name for _, _, names in os.walk(source) for name in names}
        for name in sorted(os.listdir(source)):
            if any(fnmatch.fnmatch(name, pattern) for pattern in without):
                continue
            inner, outer = os.path.join(source, name), os.path.join(path, name)
            mode = os.lstat(inner).st_mode
            if stat.S_ISLNK(mode) and not os.path.isabs(os.readlink(inner)):
                self.link(os.readlink(inner), outer)
            elif os.path.isdir(inner):
                self.folder(outer)
                self.tree(inner, outer, without, beside)
            elif os.path.isfile(inner):
                self.file(inner, outer, beside=beside)

    def layer(self):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path, (kind, mode, content) in sorted(self.entries.items()):
                add(tar, path.lstrip("/"), kind, mode, content)
        return buffer.getvalue()


def add(tar, name, kind, mode, content):
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    if kind == tarfile.SYMTYPE:
        info.linkname, content = content, None
    info.size = len(content or b"")
    tar.addfile(info, io.BytesIO(content or b""))


def read(source, strip):
    if strip:
        # Debugging information makes most of a program, and nobody debugs in the image.
        with tempfile.NamedTemporaryFile() as stripped:
            result = subprocess.run(["strip", "--strip-debug", "-o", stripped.name, source], capture_output=True)
            if result.returncode != 0:
                sys.exit(f"mkimage.py: strip {source}: {result.stderr.decode().strip()}")
            return read(stripped.name, False)
    with open(source, "rb") as file:
        return file.read()


def libraries(program, beside):
    """What the dynamic loader takes for a program, and the loader. A static program has none."""
    result = subprocess.run(["ldd", program], capture_output=True, text=True)
    found = []
    for line in result.stdout.splitlines():
        words = line.split()
        path = words[2] if len(words) > 2 and words[1] == "=>" else words[0] if words else ""
        if words and words[0] in beside:
            continue
        if "not found" in line:
            sys.exit(f"mkimage.py: {program} needs {words[0]}, which this machine lacks")
        if path.startswith("/"):
            found.append(path)
    return found


def archive(out, reference, layer, config):
    blobs = {}

    def blob(content):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def document(value):
        return json.dumps(value, sort_keys=True).encode()

    media = "application/vnd.oci.image"
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    layer = blob(layer)
    image = blob(document({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }))
    manifest = blob(document({
        "schemaVersion": 2,
        "mediaType": f"{media}.manifest.v1+json",
        "config": {"mediaType": f"{media}.config.v1+json", **image},
        "layers": [{"mediaType": f"{media}.layer.v1.tar", **layer}],
    }))
    index = {
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": f"{media}.manifest.v1+json",
            **manifest,
            "platform": {"architecture": architecture, "os": "linux"},
            "annotations": {
                "io.containerd.image.name": reference,
                "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[-1],
            },
        }],
    }
    path = {digest: f"blobs/sha256/{digest}" for digest in blobs}
    # Docker before 25 knows only its own index.
    docker = [{
        "Config": path[image["digest"].split(":")[1]],
        "RepoTags": [reference],
        "Layers": [path[layer["digest"].split(":")[1]]],
    }]
    unfinished = out + ".new"
    with tarfile.open(unfinished, "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "oci-layout", tarfile.REGTYPE, 0o644, document({"imageLayoutVersion": "1.0.0"}))
        add(tar, "index.json", tarfile.REGTYPE, 0o644, document(index))
        add(tar, "manifest.json", tarfile.REGTYPE, 0o644, document(docker))
        for digest, content in sorted(blobs.items()):
            add(tar, path[digest], tarfile.REGTYPE, 0o644, content)
    os.replace(unfinished, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the archive")
    parser.add_argument("reference", help="name and tag, such as localhost/weft-proxy:0.1.0")
    parser.add_argument("--program", action="append", default=[], metavar="FILE:PATH", help="a program, without debugging information")
    parser.add_argument("--file", action="append", default=[], metavar="FILE:PATH", help="a file as it is")
    parser.add_argument("--tree", action="append", default=[], metavar="FOLDER:PATH", help="a folder")
    parser.add_argument("--without", action="append", default=[], metavar="PATTERN", help="names left out of trees")
    parser.add_argument("--link", action="append", default=[], metavar="TARGET:PATH", help="a symbolic link")
    parser.add_argument("--certificates", action="store_true", help="the roots that this machine trusts")
    parser.add_argument("--entry", default="", metavar="PATH[,ARGUMENT…]", help="what runs")
    parser.add_argument("--user", default="65532:65532", help="who runs it")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()

    root = Root()
    for pair in arguments.program:
        root.file(*pair.rsplit(":", 1), strip=True)
    for pair in arguments.file:
        root.file(*pair.rsplit(":", 1))
    for pair in arguments.tree:
        root.tree(*pair.rsplit(":", 1), without=set(arguments.without))
    for pair in arguments.link:
        root.link(*pair.rsplit(":", 1))
    if arguments.certificates:
        root.file(os.path.realpath(CERTIFICATES), CERTIFICATES)
    config = {
        "User": arguments.user,
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *arguments.env],
        "Entrypoint": arguments.entry.split(",") if arguments.entry else None,
        "Labels": dict(pair.split("=", 1) for pair in arguments.label),
        "WorkingDir": "/",
    }
    archive(arguments.out, arguments.reference, root.layer(), config)
    print(f"{arguments.out}: {arguments.reference}, {os.path.getsize(arguments.out) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
