"""What is measured about containers. Each part takes the contenders, the disk, the options and the table."""
import concurrent.futures
import json
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from statistics import median

from .machine import run, say
from .tools import Failed

IMAGE = "box"
APPLETS = "cat echo false id ls ps rm sh sleep test touch true".split()
FOREVER = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
# Containers that start together.
CROWD = 100


def prepare(contenders, disk):
    """One small image in every contender."""
    busybox = next(path for path in (Path("/usr/bin/busybox"), Path("/bin/busybox")) if path.exists())
    root = disk / "rootfs"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    archive = disk / "box.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".")
    for tool in list(contenders):
        inside = f"/bench/{archive.name}" if hasattr(tool, "tree") else archive
        try:
            tool.call("import", str(inside), IMAGE)
            if hasattr(tool, "find_run_options"):
                tool.find_run_options(IMAGE)
        except Failed as failed:
            say(str(failed))
            contenders.remove(tool)


def take_turns(contenders, rounds, once, warm_up=2):
    """Every contender once in each round; medians of what `once` answers."""
    results = {}
    for number in range(warm_up + rounds):
        for tool in contenders:
            if results.get(tool.name, []) is None:
                continue
            try:
                value = once(tool)
            except Failed as failed:
                say(str(failed))
                results[tool.name] = None
                continue
            if number >= warm_up:
                results.setdefault(tool.name, []).append(value)
    return {name: median(values) for name, values in results.items() if values}


def words(tool, *options):
    return ["run", *tool.run_options, *options]


def start(contenders, _disk, options, table):
    for network, most, times in (("bridge", 0.030, 15), ("none", 0.020, 20)):
        def once(tool, network=network):
            return tool.clock(*words(tool, "--rm", "--network", network), IMAGE, "true")

        medians = take_turns(contenders, options.rounds * 2, once)
        table.row(f"run --rm --network {network} true", "s", medians, faster={"docker": times, "podman": times}, most=most)


def running(contenders, name, *options):
    """A container that runs in each of them; those that have it."""
    able = []
    for tool in contenders:
        try:
            tool.call(*words(tool, "-d", "--name", name, "--network", "none", *options), IMAGE, *FOREVER)
            able.append(tool)
        except Failed as failed:
            say(str(failed))
    return able


def execute(contenders, _disk, options, table):
    able = running(contenders, "exec")
    medians = take_turns(able, options.rounds * 2, lambda tool: tool.clock("exec", "exec", "true"))
    table.row("exec true", "s", medians, faster={"docker": 10}, most=0.008)
    remove(able, "exec")


def remove(contenders, *names):
    for tool in contenders:
        tool.call("rm", "-f", *names)


def stop(contenders, _disk, options, table):
    def once(tool):
        tool.call(*words(tool, "-d", "--name", "stop", "--network", "none"), IMAGE, *FOREVER)
        wall = tool.clock("stop", "stop")
        tool.call("rm", "-f", "stop")
        return wall

    table.row("stop of one that listens", "s", take_turns(contenders, options.rounds, once, warm_up=1))


def memory(contenders, _disk, _options, table):
    """What the process beside each of three containers (monitor, shim, conmon) has to itself."""
    names = [f"memory-{number}" for number in range(3)]
    able = list(contenders)
    for name in names:
        able = running(able, name)
    medians = {}
    for tool in able:
        pids = [int(tool.call("inspect", "--format", "{{.State.Pid}}", name)) for name in names]
        medians[tool.name] = median(private_mib(beside(pid)) for pid in pids)
    table.row("private memory beside a container", "MiB", medians, most=2)
    remove(able, *names)


def status(pid, key):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(key + ":"))


def beside(pid):
    """Who started it; docker's and podman's helpers adopt it."""
    return int(status(pid, "PPid"))


def private_mib(pid):
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_")) / 1024


def many(contenders, _disk, options, table):
    """A hundred at once, until the last has ended: who waits for whom shows in the time of each."""
    def once(tool):
        begin = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
            command = words(tool, "--rm", "--network", "none")
            list(pool.map(lambda _: tool.clock(*command, IMAGE, "true"), range(CROWD)))
        return time.perf_counter() - begin

    medians = take_turns(contenders, max(options.rounds // 4, 1), once, warm_up=1)
    table.row(f"{CROWD} containers at once", "s", medians)
    table.row("each of them", "s", {name: wall / CROWD for name, wall in medians.items()})


def listing(contenders, _disk, options, table):
    able = [tool for tool in contenders if tool.name == "berth"] or contenders[:1]
    for tool in able:
        say(f"making {options.count} containers in {tool.name}")
        for number in range(options.count):
            tool.call("create", "--network", "none", "--name", f"many-{number}", IMAGE, "true")
    medians = take_turns(able, options.rounds, lambda tool: tool.clock("ps", "-a"))
    table.row(f"ps -a, {options.count} containers", "s", medians, most=0.015)


class Runtime:
    """A low-level runtime, and how it is called."""

    run_options = ()

    def __init__(self, name, command):
        self.name, self.words = name, command

    def command(self, *arguments):
        return [*self.words, *arguments]

    def once(self, bundle):
        """Seconds of one container of the bundle, from the runtime's start to its end."""
        command = self.command("run", "--bundle", f"/bench/{bundle.name}", f"bench-{self.name}")
        begin = time.perf_counter()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wall = time.perf_counter() - begin
        if done.returncode != 0:
            raise Failed(f"{self.name}: {done.stderr.decode().strip()[-300:]}")
        return wall


def oci(contenders, disk, options, table):
    """docker's own bundle, with the runtimes in turn; and what a process in new namespaces costs without any."""
    tools = {tool.name: tool for tool in contenders}
    if "docker" not in tools:
        return say("oci: the bundle is docker's own, and docker is not among the tools")
    tree = options.peers
    bundle = disk / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(config(tools["docker"], tree)))
    # crun does not run where v2 has a controller beside v1: in this namespace it sees none.
    controllers = tree / "sys/fs/cgroup/unified/cgroup.controllers"
    if controllers.exists():
        empty = disk / "empty"
        empty.touch()
        run("mount", "--bind", empty, controllers)
    # All three from inside the tree, where each finds its libraries and its state is in memory.
    shutil.copy(options.berth, disk / "berth-oci-runtime")
    programs = {"berth": ["/bench/berth-oci-runtime"], "crun": ["/usr/bin/crun"], "runc": ["/usr/sbin/runc"]}
    runtimes = [Runtime(name, ["chroot", str(tree), *program, "--root", f"/run/bench-oci-{name}"])
                for name, program in programs.items()]
    runtimes = [runtime for runtime in runtimes if works(runtime, bundle)]
    medians = take_turns(runtimes, options.rounds * 3, lambda runtime: runtime.once(bundle), warm_up=3)
    medians["floor"] = floor(disk / "rootfs", options.rounds * 3)
    table.others("oci-runtime run, docker's bundle", "s", medians, most_of="crun")


def works(runtime, bundle):
    try:
        runtime.once(bundle)
        return True
    except Failed as failed:
        say(str(failed))
        return False


def config(docker, tree):
    """The configuration that docker makes for a container of its own, cut free from docker's files."""
    docker.call(*words(docker, "-d", "--name", "bundle", "--network", "none", "--memory", "512m", "--pids-limit", "100",
                       "--cpus", "1"), IMAGE, *FOREVER)
    identity = docker.call("inspect", "--format", "{{.Id}}", "bundle").decode().strip()
    found = next((tree / "run").glob(f"bench-docker/**/{identity}/config.json"))
    spec = json.loads(found.read_text())
    remove([docker], "bundle")
    spec.pop("hooks", None)
    spec["process"]["args"] = ["true"]
    spec["root"] = {"path": "/bench/rootfs"}
    spec["mounts"] = [mount for mount in spec["mounts"] if mount.get("type") != "bind"]
    for namespace in spec["linux"]["namespaces"]:
        namespace.pop("path", None)
    kinds = {namespace["type"] for namespace in spec["linux"]["namespaces"]}
    spec["linux"]["namespaces"] += [{"type": "network"}] if "network" not in kinds else []
    spec["linux"]["cgroupsPath"] = "/berth-bench-oci/one"
    # What only root with every capability may have.
    spec["process"].pop("oomScoreAdj", None)
    return spec


def floor(rootfs, rounds):
    command = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "chroot", str(rootfs), "/bin/true"]
    walls = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run(*command)
        walls.append(time.perf_counter() - begin)
    return median(walls)


PARTS = {
    "start": start, "exec": execute, "stop": stop, "memory": memory, "many": many, "oci": oci, "ps": listing,
}
