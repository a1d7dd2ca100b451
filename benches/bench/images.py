"""The images that are measured with, and the loopback registry that serves them.

Made once with mmdebstrap and kept as OCI layouts. `six` is what `one` is, cut into six layers of 35, 30, 20, 10, 4
and 1 per cent, each with the parent directories of what it holds, as a builder would write them.
"""
import hashlib
import io
import json
import random
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request

from .machine import run, say

PACKAGES = "nginx-light,python3,nodejs,gcc,ca-certificates,curl"
SHARES = (35, 30, 20, 10, 4, 1)
FILES, DIRECTORIES = 60_000, 6_000
# Part → images it uses.
NEEDED = {
    "pull": ["six-gz", "one-gz", "six-zst", "one-zst", "files-gz"],
    "rmi": ["files-gz"],
    "check": ["six-gz"],
    "run": ["busybox"],
    "build": ["base"],
}
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def needed(parts):
    return sorted({image for part in parts for image in NEEDED.get(part, [])})


def make_all(directory, parts):
    directory.mkdir(parents=True, exist_ok=True)
    for name in needed(parts):
        if not (directory / name / "index.json").exists():
            say(f"making the image {name}")
            make(directory, name)


def make(directory, name):
    content, _, compression = name.partition("-")
    sources = {"one": debian_tar, "six": debian_layers, "files": small_files, "busybox": busybox, "base": base}
    tars = sources[content](directory)
    write_layout(directory / name, tars, compression or "gz")


def debian_tar(directory):
    path = directory / "debian.tar"
    if not path.exists():
        part = directory / "debian.part.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", part, stderr=subprocess.DEVNULL)
        part.rename(path)
    return [path]


def debian_layers(directory):
    paths = [directory / f"debian.{number}.tar" for number in range(len(SHARES))]
    if not all(path.exists() for path in paths):
        split(debian_tar(directory)[0], paths)
    return paths


def split(whole, paths):
    """Cuts a tar by bytes; a hard link goes where its target went."""
    total, written, home, directories = whole.stat().st_size, 0, {}, {}
    layers = [tarfile.open(path, "w", format=tarfile.PAX_FORMAT) for path in paths]
    seen = [set() for _ in paths]
    with tarfile.open(whole) as source:
        for member in source:
            share, number = written / total * 100, 0
            while number < len(SHARES) - 1 and share >= sum(SHARES[: number + 1]):
                number += 1
            if member.islnk():
                number = home[member.linkname]
            home[member.name] = number
            if member.isdir():
                directories[member.name] = member
            parts = member.name.split("/")
            for parent in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
                if parent in directories and parent not in seen[number]:
                    layers[number].addfile(directories[parent])
                    seen[number].add(parent)
            if member.name not in seen[number]:
                layers[number].addfile(member, source.extractfile(member) if member.isreg() else None)
            if member.isdir():
                seen[number].add(member.name)
            written += 512 + (member.size + 511) // 512 * 512 if member.isreg() else 512
    for layer in layers:
        layer.close()


def small_files(directory):
    """Looks like a large node_modules: 60,000 short text files in 6,000 directories."""
    path = directory / "files.tar"
    if path.exists():
        return [path]
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz_$.(){};=", k=dice.randint(2, 12))) for _ in range(9000)]
    text = " ".join(dice.choices(words, k=700_000)).encode()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        add_directory(tar, "app")
        for number in range(DIRECTORIES):
            add_directory(tar, f"app/package-{number}")
            for file in range(FILES // DIRECTORIES):
                size = int(dice.lognormvariate(7.4, 0.9)) % 60_000
                start = dice.randrange(len(text) - size)
                add_file(tar, f"app/package-{number}/file-{file}.js", text[start : start + size])
    return [path]


def busybox(directory):
    path = directory / "busybox.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        add_directory(tar, "bin")
        tar.add(static_busybox(), "bin/busybox")
        for name in ("true", "sh", "echo", "cat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return [path]


def base(directory):
    """What is built upon: busybox with all its names, and ten megabytes that do not compress."""
    path = directory / "base.tar"
    program = static_busybox()
    names = subprocess.run([program, "--list"], check=True, stdout=subprocess.PIPE).stdout.decode().split()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("bin", "etc", "srv", "tmp"):
            add_directory(tar, name)
        tar.add(program, "bin/busybox")
        for name in names:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if name != "busybox":
                tar.addfile(link)
        add_file(tar, "ten", random.Random(10).randbytes(10_000_000))
    return [path]


def static_busybox():
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "busybox-static", stdout=subprocess.DEVNULL)
    return "/bin/busybox"


def add_directory(tar, name):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(entry)


def add_file(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o644, 1_700_000_000
    tar.addfile(entry, io.BytesIO(data))


def digest_of_file(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def write_layout(layout, tars, compression):
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    layers = []
    for tar in tars:
        part = blobs / "part"
        command = ["gzip", "-6", "-n", "-c"] if compression == "gz" else ["zstd", "-3", "-q", "-c"]
        with open(part, "wb") as out:
            run(*command, tar, stdout=out)
        digest, size = digest_of_file(part), part.stat().st_size
        part.rename(blobs / digest[7:])
        layers.append({"mediaType": f"{LAYER}+{'gzip' if compression == 'gz' else 'zstd'}", "digest": digest, "size": size})
    config = image_config([digest_of_file(tar) for tar in tars])
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob(blobs, CONFIG, config), "layers": layers,
        "annotations": {"bench.uncompressed": str(sum(tar.stat().st_size for tar in tars))},
    }
    root = blob(blobs, MANIFEST, manifest) | {"annotations": {"org.opencontainers.image.ref.name": "bench"}}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))


def image_config(diff_ids):
    return {
        "created": "2026-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def blob(blobs, media_type, value):
    data = json.dumps(value).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    (blobs / digest[7:]).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def many(path, count):
    """A docker archive of `count` images: two shared layers and one of 3 kB that is its own."""
    shared = [plain_layer(f"shared-{number}", 200_000) for number in range(2)]
    manifest, blobs = [], {}
    for number in range(count):
        layers = [*shared, plain_layer(f"own-{number}", 1_000)]
        config = json.dumps(image_config([f"sha256:{digest}" for digest, _ in layers])).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        blobs |= {f"{digest}/layer.tar": data for digest, data in layers} | {config_name: config}
        names = [f"{digest}/layer.tar" for digest, _ in layers]
        manifest.append({"Config": config_name, "RepoTags": [f"bench/many:{number}"], "Layers": names})
    with tarfile.open(path, "w") as tar:
        for name, data in blobs.items():
            add_file(tar, name, data)
        add_file(tar, "manifest.json", json.dumps(manifest).encode())


def plain_layer(name, size):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add_file(tar, f"data/{name}", random.Random(name).randbytes(size))
    data = buffer.getvalue()
    return hashlib.sha256(data).hexdigest(), data


class Registry:
    """docker-registry on a free loopback port, with the images in it."""

    def __init__(self, work, parts):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        config = work / "registry.yml"
        config.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {work}/registry\n"
            f"http:\n  addr: {self.host}\nlog:\n  level: error\n  accesslog:\n    disabled: true\n"
        )
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL)
        self.wait()
        self.uncompressed = {}
        for name in needed(parts):
            layout = work / "images" / name
            root = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
            manifest = json.loads((layout / "blobs/sha256" / root[7:]).read_text())
            self.uncompressed[name] = int(manifest["annotations"]["bench.uncompressed"])
            run("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:bench", f"docker://{self.reference(name)}")

    def wait(self):
        for _ in range(200):
            try:
                return urllib.request.urlopen(f"http://{self.host}/v2/")
            except urllib.error.URLError:
                time.sleep(0.05)
        raise SystemExit("docker-registry does not come up")

    def reference(self, name):
        return f"{self.host}/bench/{name}:1"

    def stop(self):
        self.process.kill()
        self.process.wait()

