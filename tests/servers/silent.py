#!/usr/bin/python3
"""Servers that never answer, each in its own way. silent.py KIND PORT-FILE [PORT]

    accept    takes connections and says nothing
    full      takes none: the queue is full, so that connect() hangs
    dns       a UDP socket that swallows every query
"""
import os
import signal
import socket
import sys

kind, port_file = sys.argv[1:3]
port = int(sys.argv[3]) if len(sys.argv) > 3 else 0

if kind == "dns":
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", port))
else:
    server = socket.socket()
    server.bind(("127.0.0.1", port))
    server.listen(0)
    fillers = []
    if kind == "full":
        for _ in range(2):  # one in the queue, and one that the kernel keeps half open
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            fillers.append(filler)

with open(port_file + ".new", "w", encoding="ascii") as file:
    file.write(str(server.getsockname()[1]))
os.rename(port_file + ".new", port_file)

connections = []
while kind == "accept":
    connections.append(server.accept())
signal.pause()
