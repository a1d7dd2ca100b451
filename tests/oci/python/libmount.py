"""The part of libmount's Python module that crun's tests of mounts use, where Debian has no package with it.

A table of mounts is read from a file in the form of /proc/self/mountinfo, and asked for the mount on a place.
"""

import re

# The options of a mount that belong to the mount itself come first in a line, those of its file system last.
LINE = re.compile(r"^\d+ \d+ \S+ \S+ (?P<target>\S+) (?P<vfs>\S+) .*?- \S+ \S+ (?P<fs>\S+)$")


class Mount:
    def __init__(self, line):
        found = LINE.match(line)
        if found is None:
            raise ValueError("not a line of mountinfo: %r" % line)
        self.target, self.vfs_options, self.fs_options = found.group("target", "vfs", "fs")


class Table:
    def __init__(self, path):
        with open(path) as file:
            self.mounts = [Mount(line) for line in file.read().splitlines() if line.strip()]

    def find_target(self, target):
        # The last one covers the others.
        return next((mount for mount in reversed(self.mounts) if mount.target == target), None)
