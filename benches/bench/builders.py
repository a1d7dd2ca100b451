"""The contenders of benches/build: how each is asked to build. Docker's builder is the BuildKit in dockerd."""
import os
from pathlib import Path

from . import tools
from .machine import say
from .tools import Failed


class Berth(tools.Berth):
    def build(self, tag, context, *flags):
        return ["build", "-q", "-t", tag, *flags, str(context)]

    def resident_kib(self):
        """Memory of whatever of it is still there when nothing is being done."""
        found = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "exe") == str(self.binary):
                    found += resident(int(process.name))
            except OSError:
                pass
        return found


class Docker(tools.Docker):
    def build(self, tag, context, *flags):
        # Attestations are more work; nobody else makes them unasked.
        return ["build", "-q", "--provenance=false", "-t", tag, *flags, inside(context)]

    def resident_kib(self):
        return sum(map(resident, self.daemons()))


class Without(tools.Podman):
    """Podman and buildah: no daemon, the same library. Caches only with --layers."""

    binary, build_options = "podman", []

    def build(self, tag, context, *flags):
        return ["build", "-q", "--tls-verify=false", "--layers", *self.build_options, "-t", tag, *flags, inside(context)]

    def resident_kib(self):
        return 0

    def find_build_options(self, context):
        """A root without every capability, or hybrid cgroups, need more words than the defaults."""
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        for options in ([], limits, self.runc + limits, ["--isolation", "chroot"]):
            self.build_options = options
            try:
                self.call(*self.build("bench:try", context))
            except Failed as failed:
                problem = failed
                continue
            return say(f"{self.name} build needs: {' '.join(options) or 'nothing more'}")
        raise problem


class Podman(Without):
    name, runc = "podman", []

    def command(self, *arguments):
        # The words of the container library come before the command, with podman alone.
        return [*super().command("version")[:-1], "--runtime", "runc", *arguments]


class Buildah(Without):
    name, runc = "buildah", ["--runtime", "runc"]

    def command(self, *arguments):
        return self.chrooted(
            "buildah", "--root", self.inside, "--runroot", "/run/bench-buildah", "--storage-driver", "overlay", *arguments
        )


def inside(context):
    """Where the tree of the peers has the measured disk."""
    return f"/bench/{Path(context).name}"


def resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def start(options, disk, base):
    """Starts the contenders, and lets each prove that it can build."""
    known = {"berth": Berth, "docker": Docker, "podman": Podman, "buildah": Buildah}
    if set(options.tools) - {"berth"}:
        tools.enter_tree(options.peers, disk)
    context = disk / "try"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {base}\nRUN true\n")
    ready = []
    for name in options.tools:
        tool = known[name](disk / name, options)
        try:
            if hasattr(tool, "find_build_options"):
                tool.find_build_options(context)
            else:
                tool.call(*tool.build("bench:try", context))
            ready.append(tool)
        except Failed as failed:
            say(str(failed))
    return ready
