"""Holds COUNT connections to 127.0.0.1:PORT open, each as slow as a client can be, until stdin is closed.

A third of them say nothing, a third send a byte of a request each second, a third send a request but for its last
line. Those that the server closes are opened again. Prints "loaded" when all are open, and at the end one line of
JSON: how many were open (median, minimum of samples each 50 ms) and how many were opened again.
"""

import errno
import json
import resource
import selectors
import socket
import statistics
import sys
import time

REQUEST = b"GET /status HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 4000


class Client:
    def __init__(self, port, kind):
        self.kind, self.sent, self.is_open = kind, 0, False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        result = self.socket.connect_ex(("127.0.0.1", port))
        if result not in (0, errno.EINPROGRESS):
            raise OSError(result, "connect")

    def speak(self):
        """Sends what its kind sends at this point."""
        if self.kind == 1:
            self.socket.send(REQUEST[self.sent:self.sent + 1])
            self.sent = min(self.sent + 1, len(REQUEST) - 1)
        elif self.kind == 2 and self.sent == 0:
            self.sent = self.socket.send(REQUEST[:60])


def main(port, count):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[1], max(limit[0], count + 200)), limit[1]))
    selector, clients, serial, reopened, levels = selectors.DefaultSelector(), set(), 0, 0, []
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    loaded = False
    next_word, next_level = time.monotonic() + 1, 0.0
    give_up = time.monotonic() + 30

    def drop(client):
        nonlocal reopened
        selector.unregister(client.socket)
        client.socket.close()
        clients.discard(client)
        reopened += 1

    while True:
        while len(clients) < count:
            client = Client(port, serial % 3)
            serial += 1
            clients.add(client)
            selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
        for key, events in selector.select(0.02):
            client = key.data
            if client is None:
                print(json.dumps({"median": statistics.median(levels or [0]), "minimum": min(levels or [0]),
                                  "reopened": reopened}), flush=True)
                return
            try:
                if events & selectors.EVENT_WRITE and not client.is_open:
                    error = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if error:
                        raise OSError(error, "connect")
                    client.is_open = True
                    client.speak()
                    selector.modify(client.socket, selectors.EVENT_READ, client)
                if events & selectors.EVENT_READ and not client.socket.recv(65536):
                    drop(client)
            except BlockingIOError:
                pass
            except OSError:
                drop(client)
        now = time.monotonic()
        if now >= next_word:
            next_word = now + 1
            for client in [client for client in clients if client.is_open]:
                try:
                    client.speak()
                except BlockingIOError:
                    pass
                except OSError:
                    drop(client)
        if not loaded and (len([1 for client in clients if client.is_open]) >= count or reopened >= count):
            loaded = True
            print("loaded", flush=True)
        if not loaded and now > give_up:
            sys.exit("slow_clients: the connections could not be opened within 30 s")
        if loaded and now >= next_level:
            next_level = now + 0.05
            levels.append(len([1 for client in clients if client.is_open]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
