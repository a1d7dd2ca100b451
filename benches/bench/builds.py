"""The parts of benches/build. What must be true before a measurement is made before it, outside of the clock."""
import os
import random
import shutil
import time

from . import machine
from .machine import say
from .parts import middle, rounds
from .tools import Failed

# Files, directories and bytes of the large context: 20,000 in 100 directories, a kilobyte each.
DIRECTORIES, BYTES = 100, 1_050


def context(disk, name, base, *lines, files=()):
    """A new directory to build from."""
    directory = disk / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for file, text in files:
        (directory / file).write_text(text)
    text = "\n".join(lines) if lines[0].startswith("FROM") else "\n".join([f"FROM {base}", *lines])
    (directory / "Dockerfile").write_text(text + "\n")
    return directory


def cached(contenders, base, disk, options, table):
    say("ten steps, all of them known")
    steps = [step for n in range(1, 6) for step in (f"COPY file{n} /{n}/", f"RUN echo {n} > /{n}/made")]
    directory = context(disk, "cached", base, *steps, files=[(f"file{n}", "text" * n) for n in range(1, 6)])
    # What was read within two seconds of its change has to be read again.
    time.sleep(2.1)

    def once(tool):
        return tool.clock(*tool.build("bench:cached", directory))

    results = rounds(contenders, options.rounds * 2, once)
    table.row("10 steps, all cached", "s", middle(results), faster={"docker": 3}, most=0.05)


def parallel(contenders, base, disk, options, table):
    say("three stages that sleep for a second")
    stages = [line for n in "abc" for line in (f"FROM {base} AS {n}", f"RUN sleep 1; echo {n} > /{n}")]
    last = [f"FROM {base}", *(f"COPY --from={n} /{n} /" for n in "abc")]
    directory = context(disk, "parallel", base, *stages, *last)

    def once(tool):
        return tool.clock(*tool.build("bench:parallel", directory, "--no-cache"))

    table.row("3 stages × sleep 1", "s", middle(rounds(contenders, options.rounds, once)), most=1.2)


def run(contenders, base, disk, options, table):
    say("ten steps that do nothing")
    directory = context(disk, "run", base, *["RUN true"] * 10)

    def once(tool):
        return tool.clock(*tool.build("bench:run", directory, "--no-cache"))

    results = rounds(contenders, options.rounds, once)
    table.row("10 × RUN true", "s", middle(results), faster={"docker": 4}, most=0.5)


def copy(contenders, base, disk, options, table):
    """Every round has a context of its own, which all build: new, as it is, with one change, touched all over."""
    say(f"COPY of {options.files:,} files")
    costs = {what: {tool.name: [] for tool in contenders} for what in ("cold", "unchanged", "one changed", "all touched")}
    out = set()
    for number in range(options.rounds):
        directory = context(disk, f"copy-{number}", base, "COPY . /srv/")
        small_files(directory, options.files, number)
        machine.sync(disk)
        time.sleep(2.1)
        for what, change in (
            ("cold", None), ("unchanged", None), ("one changed", change_one), ("all touched", touch_all),
        ):
            if change:
                change(directory, options.files)
            # What was read last stands in the store of each by now; disk writes of one are not the time of another.
            for tool in contenders:
                if tool.name in out:
                    continue
                machine.sync(disk)
                try:
                    costs[what][tool.name].append(tool.measure(*tool.build("bench:copy", directory)))
                except Failed as failed:
                    say(str(failed))
                    out.add(tool.name)
        shutil.rmtree(directory)
    for what, faster, most in (
        ("cold", 3, 2.5), ("unchanged", 6, 0.2), ("one changed", 10, 0.6), ("all touched", 8, 0.9),
    ):
        results = {name: values for name, values in costs[what].items() if values and name not in out}
        walls = middle(results, lambda cost: cost.wall)
        table.row(f"COPY of {options.files:,} files, {what}", "s", walls, faster={"docker": faster}, most=most)
        if what == "cold":
            peaks = middle(results, lambda cost: cost.peak_mib)
            table.row("… peak memory, daemon included", "MiB", peaks, most=100)


def small_files(directory, count, seed):
    dice = random.Random(seed)
    block = dice.randbytes(1 << 20).hex()
    for number in range(DIRECTORIES):
        (directory / f"d{number}").mkdir()
    for number in range(count):
        start = dice.randrange(len(block) - BYTES)
        path = directory / f"d{number % DIRECTORIES}/file-{number}.txt"
        path.write_text(f"{number}\n{block[start:start + BYTES - 10]}\n")


def change_one(directory, count):
    path = directory / f"d7/file-{7 + DIRECTORIES * (count // DIRECTORIES // 2)}.txt"
    path.write_text(path.read_text()[::-1])


def touch_all(directory, _count):
    for parent, _, names in os.walk(directory):
        for name in names:
            os.utime(os.path.join(parent, name))


def write(contenders, base, disk, options, table):
    say("a step that writes 300 MB")
    directory = context(disk, "write", base, "RUN for i in $(seq 30); do cat /ten; done > /out")

    def once(tool):
        machine.sync(disk)
        return tool.clock(*tool.build("bench:write", directory, "--no-cache"))

    table.row("RUN that writes 300 MB", "s", middle(rounds(contenders, options.rounds, once)), faster={"docker": 2})


def idle(contenders, _base, _disk, _options, table):
    say("what stays in memory when nothing is built")
    table.row("resident when idle", "MiB", {tool.name: tool.resident_kib() / 1024 for tool in contenders}, most=0)


PARTS = {"cached": cached, "parallel": parallel, "run": run, "copy": copy, "write": write, "idle": idle}
