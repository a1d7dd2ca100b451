"""berth, docker and podman: how each is started, called, and what it costs."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import machine
from .machine import Account, run, say


class Cost:
    """What one command cost: wall seconds, CPU seconds of client and daemon, peak memory of both together."""

    def __init__(self, wall, cpu, peak_mib):
        self.wall, self.cpu, self.peak_mib = wall, cpu, peak_mib


class Failed(Exception):
    """A command that should have worked."""


class Tool:
    """A contender. Its data lies in `data`, on the disk that is measured."""

    name = ""
    run_options = []

    def __init__(self, data):
        self.data = data
        self.account = Account(self.name)
        self.stamp = data.parent / f"{self.name}.time"

    def command(self, *arguments):
        raise NotImplementedError

    def daemons(self):
        return []

    def version(self):
        return self.call("--version").decode().strip()

    def call(self, *arguments):
        """Runs a command whose cost does not matter; answers what it printed."""
        result = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if result.returncode != 0:
            raise Failed(f"{self.name} {' '.join(arguments)}: {result.stderr.decode().strip()[-300:]}")
        return result.stdout

    def measure(self, *arguments):
        """Runs a command and accounts for it.

        The small `time` stands between, because the kernel counts the memory of whoever called exec as the
        process's own, and Python would be the largest part of it.
        """
        for pid in self.daemons():
            machine.reset_peak(pid)
        command = [shutil.which("time"), "--quiet", "-o", str(self.stamp), "-f", "%e %M", *self.command(*arguments)]
        with self.account as account:
            cpu, start = account.seconds(), time.perf_counter()
            result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            wall, cpu = time.perf_counter() - start, account.seconds() - cpu
        if result.returncode != 0:
            raise Failed(f"{self.name} {' '.join(arguments)}: {result.stderr.decode().strip()[-300:]}")
        peak = int(self.stamp.read_text().split()[-1]) + sum(map(machine.peak_kib, self.daemons()))
        return Cost(wall, cpu, peak / 1024)

    def clock(self, *arguments):
        """Wall seconds of a short command, with nothing between it and us."""
        command = self.command(*arguments)
        program = shutil.which(command[0])
        null = [(os.POSIX_SPAWN_OPEN, descriptor, "/dev/null", os.O_RDWR, 0) for descriptor in (0, 1, 2)]
        start = time.perf_counter()
        pid = os.posix_spawn(program, command, os.environ, file_actions=null)
        status = os.waitpid(pid, 0)[1]
        wall = time.perf_counter() - start
        if status != 0:
            self.call(*arguments)
            raise Failed(f"{self.name} {' '.join(arguments)}: failed, and worked when tried again")
        return wall

    def forget(self, reference):
        """Removes an image, if it is there, and all that came with it."""
        try:
            self.call("rmi", "-f", reference)
        except Failed:
            return
        machine.sync(self.data.parent)

    def stop(self):
        """Ends what was started."""


class Berth(Tool):
    name = "berth"

    def __init__(self, data, options):
        super().__init__(data)
        self.binary = options.berth
        self.runroot = Path("/run/berth-bench")
        shutil.rmtree(self.runroot, ignore_errors=True)

    def command(self, *arguments):
        return [str(self.binary), "--root", str(self.data), "--runroot", str(self.runroot), *arguments]


class Peer(Tool):
    """A tool that lives in a Debian tree of its own, with the measured disk mounted at /bench in it."""

    def __init__(self, data, options):
        super().__init__(data)
        self.tree = options.peers
        self.inside = f"/bench/{data.name}"

    def chrooted(self, *command):
        return ["chroot", str(self.tree), *command]


class Docker(Peer):
    name = "docker"
    socket = "unix:///run/bench-docker.sock"

    def __init__(self, data, options):
        super().__init__(data, options)
        config = self.tree / "etc/bench-docker.json"
        config.write_text('{"features":{"containerd-snapshotter":true}}')
        log = open(options.work / "dockerd.log", "wb")
        daemon = self.chrooted(
            "dockerd", "--config-file", "/etc/bench-docker.json", "--data-root", self.inside,
            "--exec-root", "/run/bench-docker", "--pidfile", "/run/bench-docker.pid", "-H", self.socket,
            "--bip", "172.31.9.1/24", "--cgroup-parent", "berth-bench-containers",
        )
        with self.account:
            self.process = subprocess.Popen(daemon, stdout=log, stderr=log)
        self.wait_until_up(options.work / "dockerd.log")

    def wait_until_up(self, log):
        for _ in range(300):
            try:
                self.call("version")
                return
            except Failed:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        sys.exit(f"dockerd does not come up:\n{log.read_text()[-2000:]}")

    def command(self, *arguments):
        return self.chrooted("docker", "-H", self.socket, *arguments)

    def daemons(self):
        """dockerd and the containerd that it started."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [self.process.pid] + [int(pid) for file in children for pid in file.read_text().split()]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Podman(Peer):
    name = "podman"

    def command(self, *arguments):
        if arguments[0] == "pull":
            arguments = ("pull", "--tls-verify=false", *arguments[1:])
        return self.chrooted(
            "podman", "--root", self.inside, "--runroot", "/run/bench-podman", "--storage-driver", "overlay",
            "--cgroup-manager", "cgroupfs", "--log-level", "error", *arguments,
        )

    def find_run_options(self, reference):
        """A root without every capability, or hybrid cgroups, need more words than the defaults."""
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        for options in ([], limits, ["--runtime", "runc"], ["--runtime", "runc", *limits]):
            try:
                self.call("run", "--rm", *options, reference, "true")
            except Failed as failed:
                problem = failed
                continue
            self.run_options = options
            return say(f"podman run needs: {' '.join(options) or 'nothing more'}")
        raise problem


def start(options, disk):
    """Starts the contenders that were asked for."""
    known = {"berth": Berth, "docker": Docker, "podman": Podman}
    if {"docker", "podman"} & set(options.tools):
        enter_tree(options.peers, disk)
    return [known[name](disk / name, options) for name in options.tools]


def enter_tree(tree, disk):
    """Makes the tree a root directory that container tools can live in."""
    run("mount", "--bind", tree, tree)
    run("mount", "-t", "proc", "proc", tree / "proc")
    run("mount", "-t", "sysfs", "sysfs", tree / "sys")
    run("mount", "--rbind", "/sys/fs/cgroup", tree / "sys/fs/cgroup")
    run("mount", "--rbind", "/dev", tree / "dev")
    run("mount", "-t", "tmpfs", "tmpfs", tree / "run")
    (tree / "bench").mkdir(exist_ok=True)
    run("mount", "--bind", disk, tree / "bench")
