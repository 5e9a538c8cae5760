#!/usr/bin/env python3
"""tests/watch-terminal.py [OPTION]... FILE -- COMMAND...
Runs COMMAND on a terminal of its own, and writes what that shows into FILE: every screen that differs
from the one before, with a line "=== SECONDS" before each, the last one as "=== end". Exits as
COMMAND does.
    --size COLUMNSxROWS          80x24
    --resize N:COLUMNSxROWS      when N screens have shown a time left; repeatable
    --term NAME                  xterm-256color
    --png FILE                   and a picture of a screen in the middle, and of the last one"""
import argparse
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

import pyte


def size(text):
    return tuple(int(number) for number in text.split("x"))


parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("--size", type=size, default=(80, 24))
parser.add_argument("--resize", action="append", default=[])
parser.add_argument("--term", default="xterm-256color")
parser.add_argument("--png")
parser.add_argument("file")
parser.add_argument("command", nargs="+")
options = parser.parse_args()
resizes = [(int(when), size(what)) for when, what in (r.split(":") for r in options.resize)]

screen = pyte.Screen(*options.size)
stream = pyte.ByteStream(screen)
pid, terminal = pty.fork()
if pid == 0:
    time.sleep(0.1)  # until the size is set
    os.environ["TERM"] = options.term
    os.execvp(options.command[0], options.command)


def set_size(columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def picture():
    """Rows of (character, colour, bold) without the blank rows at the end."""
    rows = [[(screen.buffer[y][x].data, screen.buffer[y][x].fg, screen.buffer[y][x].bold)
             for x in range(screen.columns)] for y in range(screen.lines)]
    while rows and all(c[0] == " " for c in rows[-1]):
        rows.pop()
    return rows


def paint(rows, path):
    from PIL import Image, ImageDraw, ImageFont
    colors = {"default": "#d8d8d8", "red": "#f07070", "brown": "#e0c060", "cyan": "#60c8d8",
              "white": "#ffffff", "green": "#80d080"}
    font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf", 15)
    wide, high = int(font.getlength("M")), 20
    image = Image.new("RGB", (wide * screen.columns + 32, high * len(rows) + 32), "#1c1c22")
    draw = ImageDraw.Draw(image)
    for y, row in enumerate(rows):
        for x, (character, color, _) in enumerate(row):
            if character != " ":
                draw.text((16 + x * wide, 16 + y * high), character, font=font,
                          fill=colors.get(color, "#d8d8d8"))
    image.quantize(64).save(path, optimize=True)


set_size(*options.size)
began, last, busy = time.monotonic(), None, []
with open(options.file, "w", encoding="utf-8") as out:
    while True:
        while resizes and len(busy) >= resizes[0][0]:
            columns, rows = resizes.pop(0)[1]
            screen.resize(rows, columns)
            set_size(columns, rows)
        if not select.select([terminal], [], [], 0.05)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: nobody has the other end any more
            break
        if not data:
            break
        stream.feed(data)
        shown = "\n".join(line.rstrip() for line in screen.display).rstrip()
        if shown != last:
            out.write(f"=== {time.monotonic() - began:.2f}\n{shown}\n")
            last = shown
            if "left" in shown:
                busy.append(picture())
    out.write(f"=== end\n{last or ''}\n")
if options.png:
    blank = [[(" ", "default", False)]]
    paint(busy[len(busy) // 3] + blank + picture() if busy else picture(), options.png)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
