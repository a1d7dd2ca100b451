"""The parts of the benchmark. In each, the contenders take turns within a round, and medians are told."""
import time
from statistics import median

from . import images, machine
from .machine import say
from .tools import Failed


def rounds(contenders, count, measure, warm_up=1):
    """{tool: [what `measure` answered, …]} of `count` rounds, turn by turn, after `warm_up` rounds that do not count.

    Who fails is out, with a message; the others go on.
    """
    results, out = {tool.name: [] for tool in contenders}, set()
    for number in range(count + warm_up):
        for tool in contenders:
            if tool.name in out:
                continue
            try:
                value = measure(tool)
            except Failed as failed:
                say(str(failed))
                out.add(tool.name)
                results.pop(tool.name)
                continue
            if number >= warm_up:
                results[tool.name].append(value)
    return results


def middle(results, of=lambda value: value):
    return {name: median(map(of, values)) for name, values in results.items()}


def pull(contenders, registry, disk, options, table):
    targets = {
        "six-gz": {"docker": 4, "podman": 5}, "one-gz": {"docker": 2.8}, "six-zst": {"docker": 2.8},
        "one-zst": {}, "files-gz": {"docker": 8, "podman": 8},
    }
    for name, target in targets.items():
        say(f"pull {name}")
        reference, whole = registry.reference(name), registry.uncompressed[name]

        def once(tool, reference=reference):
            tool.forget(reference)
            before = machine.used_bytes(tool.data)
            machine.sync(disk)
            cost = tool.measure("pull", "-q", reference)
            cost.durable = cost.wall + machine.sync(disk)
            cost.disk = machine.used_bytes(tool.data) - before
            return cost

        results = rounds(contenders, options.rounds, once)
        table.row(f"pull {name}", "s", middle(results, lambda cost: cost.wall), faster=target)
        table.row(f"pull {name} + sync", "s", middle(results, lambda cost: cost.durable), faster=target)
        table.row(f"pull {name}: CPU", "s", middle(results, lambda cost: cost.cpu), faster={"docker": 4})
        table.row(f"pull {name}: peak memory", "MiB", middle(results, lambda cost: cost.peak_mib), most=32)
        relative = middle(results, lambda cost, whole=whole: cost.disk / whole)
        table.row(f"pull {name}: disk / layers", "×", relative, most=1.02)
        again = rounds(contenders, options.rounds, lambda tool, reference=reference: tool.clock("pull", "-q", reference))
        table.row(f"pull {name} again", "s", middle(again))
        # The next image may hold the same uncompressed layers, and nobody unpacks what is there.
        for tool in contenders:
            tool.forget(reference)


def rmi(contenders, registry, disk, options, table):
    say("rmi of the image with 60,000 files")
    reference = registry.reference("files-gz")

    def once(tool):
        tool.call("pull", "-q", reference)
        machine.sync(disk)
        return tool.measure("rmi", reference).wall

    table.row("rmi files-gz", "s", middle(rounds(contenders, options.rounds, once)), most=0.05)


def check(contenders, registry, _disk, options, table):
    say("verifying what is stored")
    ours = [tool for tool in contenders if tool.name == "berth"]
    reference, whole = registry.reference("six-gz"), registry.uncompressed["six-gz"]
    for tool in ours:
        tool.call("pull", "-q", reference)
    results = rounds(ours, options.rounds, lambda tool: whole / 1e9 / tool.clock("system", "check"))
    table.row("system check", "GB/s", middle(results), least=1.2)
    for tool in ours:
        tool.forget(reference)


def load_many(tool, archive):
    inside = archive if tool.name == "berth" else f"/bench/{archive.name}"
    tool.call("load", "-q", "-i", str(inside))


def many_archive(disk, options):
    archive = disk / "many.tar"
    if not archive.exists():
        images.many(archive, options.count)
    return archive


def listing(contenders, _registry, disk, options, table):
    archive = many_archive(disk, options)
    loaded = []
    for tool in contenders:
        say(f"loading {options.count} images into {tool.name}")
        try:
            load_many(tool, archive)
            loaded.append(tool)
        except Failed as failed:
            say(str(failed))
    for words, most in ((("images",), 0.005), (("system", "df"), 0.020)):
        results = rounds(loaded, options.rounds, lambda tool, words=words: tool.clock(*words))
        table.row(f"{' '.join(words)}, {options.count} images", "s", middle(results), most=most)


def prune(contenders, _registry, disk, options, table):
    archive = many_archive(disk, options)

    def once(tool):
        say(f"loading {options.count} images into {tool.name}")
        load_many(tool, archive)
        machine.sync(disk)
        start = time.perf_counter()
        tool.call("image", "prune", "-a", "-f")
        wall = time.perf_counter() - start
        left = tool.call("images", "-q").split()
        if left:
            raise Failed(f"{tool.name} image prune left {len(left)} images")
        return wall

    results = rounds(contenders, options.rounds, once, warm_up=0)
    table.row(f"image prune -a, {options.count} images", "s", middle(results), most=0.5)


def version(contenders, _registry, _disk, options, table):
    results = rounds(contenders, options.rounds * 4, lambda tool: tool.clock("version"), warm_up=3)
    table.row("version", "s", middle(results), most=0.003)


def run(contenders, registry, _disk, options, table):
    reference = registry.reference("busybox")
    ready = []
    for tool in contenders:
        try:
            tool.call("pull", "-q", reference)
            if hasattr(tool, "find_run_options"):
                tool.find_run_options(reference)
            ready.append(tool)
        except Failed as failed:
            say(str(failed))
    for network in ("bridge", "none"):
        def once(tool, network=network):
            return tool.clock("run", "--rm", "--network", network, *tool.run_options, reference, "true")

        results = rounds(ready, options.rounds * 4, once, warm_up=2)
        table.row(f"run --rm --network {network} true", "s", middle(results), faster={"docker": 10})


PARTS = {
    "pull": pull, "rmi": rmi, "check": check, "list": listing, "prune": prune, "version": version, "run": run,
}
