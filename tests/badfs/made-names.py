#!/usr/bin/python3
"""made-names.py DIRECTORY < STRACE

Reads what `strace -f -y` says of a run, and prints every name below DIRECTORY that it made, moved
something to, or opened: relative to it, without those that are random.
"""
import re
import sys

root = sys.argv[1].rstrip("/") + "/"
names = set()
for line in sys.stdin:
    if not re.search(r"\b(openat2?|mkdirat|renameat2?|linkat|unlinkat|utimensat)\(", line):
        continue
    for directory, name in re.findall(r'\d+<([^>]*)>, "([^"]*)"', line):
        path = f"{directory}/{name}"
        if path.startswith(root) and not re.search(r"/run-|/probe|/\.basewarm-trash|/\.$", path):
            names.add(path[len(root):])
print("\n".join(sorted(names)))
