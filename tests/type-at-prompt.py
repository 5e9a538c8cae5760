#!/usr/bin/env python3
"""tests/type-at-prompt.py SHELL SCRIPT... -- TYPED
Starts an interactive bash or zsh that has sourced the completion scripts, types TYPED and a tab into
its terminal, and prints the line as it then stands."""
import os
import pty
import re
import select
import sys
import time

shell = sys.argv[1]
split = sys.argv.index("--")
scripts, typed = sys.argv[2:split], sys.argv[split + 1]
start = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
# ^X shows the line as the shell has it.
setup = {"bash": """bind 'set bell-style none'; bind -x '"\\C-x": echo "[[$READLINE_LINE]]"'""",
         "zsh": "autoload -U compinit; compinit -u -D; unsetopt list_beep; show() echo \"[[$BUFFER]]\"; "
                "zle -N show; bindkey '^X' show; bindkey '^I' complete-word"}[shell]

pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", HISTFILE="")
    os.execvp(start[0], start)


def read_until(done, what):
    text, deadline = "", time.monotonic() + 30
    while not done(text):
        if not select.select([terminal], [], [], deadline - time.monotonic())[0]:
            sys.exit(f"{what} did not come within 30 s: {text!r}")
        text += os.read(terminal, 65536).decode("utf-8", "replace")
    return text


def type_in(text):
    os.write(terminal, text.encode())


type_in(setup + "".join(f"; source {script}" for script in scripts) + "; PS1='>''>'\n")
read_until(lambda text: ">>" in text, "the prompt")
type_in(typed + "\t\x18")
print(re.search(r"\[\[(.*?)\]\]", read_until(lambda text: "]]" in text, "the line"), re.S)[1])
type_in("\x15exit\n")
