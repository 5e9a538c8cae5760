#!/usr/bin/python3
"""dns.py PORT-FILE [PORT]: a name server that knows everything below .test, as 127.0.0.1

AAAA gets an empty answer; other names do not exist. As a resolver's peer in tests, it reads one
question a packet.
"""
import socket
import struct
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0))
with open(sys.argv[1], "w", encoding="ascii") as file:
    print(server.getsockname()[1], file=file)
while True:
    query, client = server.recvfrom(512)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]])
        at += 1 + query[at]
    question = query[12:at + 5]
    kind, = struct.unpack(">H", query[at + 1:at + 3])
    known = labels[-1].lower() == b"test"
    answer = b""
    if known and kind == 1:
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])
    flags = 0x8180 if known else 0x8183
    server.sendto(query[:2] + struct.pack(">HHHHH", flags, 1, bool(answer), 0, 0) + question + answer, client)
