"""What the benchmark needs of the machine: packages, peers, namespaces, a disk, a clock, CPU accounts."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {
    "mmdebstrap": "mmdebstrap", "skopeo": "skopeo", "docker-registry": "docker-registry", "zstd": "zstd",
    "mkfs.ext4": "e2fsprogs", "ip": "iproute2", "nft": "nftables", "time": "time", "gzip": "gzip",
}
PEER_PACKAGES = (
    "ca-certificates,docker.io,docker-cli,docker-buildx,podman,buildah,crun,runc,netavark,aardvark-dns,iptables,nftables,passt,procps"
)


def run(*command, **options):
    """Runs a command that must succeed."""
    return subprocess.run([str(c) for c in command], check=True, **options)


def say(text):
    print(f"-- {text}", file=sys.stderr, flush=True)


def install_missing():
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = sorted({package for command, package in PACKAGES.items() if not shutil.which(command, path=path)})
    if missing:
        say(f"installing {' '.join(missing)}")
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, stdout=subprocess.DEVNULL)


def make_peers(tree, tools):
    """docker and podman of Debian sid, in a tree of their own."""
    if not {"docker", "podman", "buildah"} & set(tools) or (tree / "usr/bin/podman").exists():
        return
    say(f"installing docker and podman of Debian sid into {tree}; minutes")
    tree.parent.mkdir(parents=True, exist_ok=True)
    run("mmdebstrap", "--variant=minbase", f"--include={PEER_PACKAGES}", "sid", tree, stderr=subprocess.DEVNULL)


def build_berth(binary, tools):
    if "berth" in tools and not binary.exists():
        say("building berth")
        run("cargo", "build", "--release", "--locked", "-p", "berth", cwd=REPOSITORY)
        if not binary.exists():
            sys.exit(f"there is no {binary}; --tools docker,podman goes without it")


def reenter_in_namespaces():
    """Starts this script again where no mount, interface or process outlives it."""
    arguments = [sys.executable, *sys.argv, "--inside"]
    os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", *arguments])


def say_if_busy():
    load = os.getloadavg()[0]
    if load > 0.7:
        say(f"the load is {load:.1f}: these figures will not mean much")


def fresh_disk(work):
    """A new ext4 with the defaults of mkfs, on a loop device with direct I/O: the file system people have.

    The root of a cloud machine may have no journal or an old format, and every tool pays for that differently.
    """
    run("ip", "link", "set", "lo", "up")
    work.mkdir(parents=True, exist_ok=True)
    image, mount = work / "disk.img", work / "disk"
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(40 << 30)
    # Lazy initialisation would go on in the background during the measurements.
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
    device = run("losetup", "--find", "--show", "--direct-io=on", image, stdout=subprocess.PIPE).stdout.decode().strip()
    mount.mkdir(exist_ok=True)
    run("mount", device, mount)
    # The device goes when the last mount of it goes, that is with this namespace.
    run("losetup", "--detach", device)
    image.unlink()
    return mount


def sync(disk):
    """Seconds until everything written to the file system of `disk` is durable."""
    start = time.perf_counter()
    run("sync", "--file-system", disk)
    return time.perf_counter() - start


def used_bytes(directory):
    """Bytes of disk that a directory occupies, mounts in it left out, hard links once."""
    if not directory.exists():
        return 0
    out = run("du", "-sx", "--block-size=1", directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return int(out.split()[0])


class Account:
    """A cgroup that counts the CPU time of whatever is started in it."""

    def __init__(self, name):
        v1 = Path("/sys/fs/cgroup/cpuacct")
        self.is_v1 = v1.exists()
        root = v1 if self.is_v1 else Path("/sys/fs/cgroup")
        self.home = root / "cgroup.procs"
        self.group = root / f"berth-bench-{name}"
        self.group.mkdir(exist_ok=True)

    def seconds(self):
        if self.is_v1:
            return int((self.group / "cpuacct.usage").read_text()) / 1e9
        lines = dict(line.split() for line in (self.group / "cpu.stat").read_text().splitlines())
        return int(lines["usage_usec"]) / 1e6

    def __enter__(self):
        """Children started inside of `with` belong to the account."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))
        return self

    def __exit__(self, *_):
        self.home.write_text(str(os.getpid()))


def remove_cgroups():
    """What the accounts and dockerd have made; a cgroup with a process in it stays."""
    for group in sorted(Path("/sys/fs/cgroup").glob("**/berth-bench-*/**/"), reverse=True):
        try:
            group.rmdir()
        except OSError:
            pass


def peak_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def reset_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")
