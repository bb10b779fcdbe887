"""lookup.py NAME...: one line for each: NAME MILLISECONDS ADDRESSES|ERROR."""

import socket
import sys
import time

for name in sys.argv[1:]:
    begin = time.monotonic()
    try:
        found = sorted({one[4][0] for one in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        found = ["error", error.strerror]
    print(name, f"{(time.monotonic() - begin) * 1000:.1f}", *found)
