"""A proxy between Kafka clients and one broker that knows where requests begin and what kind they are, and can
delay, cut, repeat or hold single kinds of them.

    proxy = Proxy(listen=21500, broker=21394)       # the broker advertises the proxy: Broker(..., proxy=21500)
    proxy.rules = [Rule("EndTxn", "late", one_in=5, seconds=2.0)]
    proxy.start()

What a rule does to a request that it meets:
    delay    the broker gets it so much later; what follows on the connection waits behind it
    cut      the broker gets it, and the connection ends before the answer: the client does not know the outcome
    lose     the connection ends, and the broker does not get it
    late     as lose; but a copy reaches the broker so much later, on a connection of its own (KAFKA-17754)
    repeat   the broker gets it twice, from two connections, before the client hears of it. (A copy behind the answer, of what the
             client has sent once, is nothing that TCP does, and no client can survive it: it ends the next transaction.)
`proxy.close(True)` cuts everything and lets nobody in: the broker is unreachable. `proxy.freeze(True)` lets nothing
through in either direction and says nothing, as a link that was cut; what was under way arrives when it is back, as TCP repeats it.
"""
import collections
import random
import socket
import struct
import threading
import time

API = {"Produce": 0, "Fetch": 1, "Metadata": 3, "OffsetFetch": 9, "FindCoordinator": 10, "JoinGroup": 11, "Heartbeat": 12,
       "SyncGroup": 14, "InitProducerId": 22, "AddPartitionsToTxn": 24, "AddOffsetsToTxn": 25, "EndTxn": 26,
       "TxnOffsetCommit": 28, "DeleteRecords": 21}
NAMES = {number: name for name, number in API.items()}


class Rule:
    def __init__(self, api, what, one_in=1, seconds=1.0):
        self.key, self.what, self.one_in, self.seconds = API[api], what, one_in, seconds


class Proxy:
    def __init__(self, listen, broker, seed=0):
        self.address = ("127.0.0.1", listen)
        self.broker = ("127.0.0.1", broker)
        self.rules = []
        self.closed = False
        self._flows = threading.Event()
        self._flows.set()
        self.done = collections.Counter()   # "EndTxn late" -> how often
        self._random = random.Random(seed)
        self._open = set()
        self._lock = threading.Lock()
        self._server = None

    def start(self):
        self._server = socket.create_server(self.address, backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self, closed):
        """Makes the broker unreachable, or reachable again."""
        self.closed = closed
        if closed:
            with self._lock:
                ends = list(self._open)
            for end in ends:
                self._shut(end)

    def freeze(self, frozen):
        self._flows.clear() if frozen else self._flows.set()

    def stop(self):
        self.freeze(False)
        self.close(True)
        self._server.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.closed:
                client.close()
                continue
            try:
                broker = socket.create_connection(self.broker, timeout=10)
            except OSError:   # it is down
                client.close()
                continue
            broker.settimeout(None)
            with self._lock:
                self._open |= {client, broker}
            threading.Thread(target=self._requests, args=(client, broker), daemon=True).start()
            threading.Thread(target=self._answers, args=(client, broker), daemon=True).start()

    @staticmethod
    def _shut(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _end(self, *ends):
        for end in ends:
            self._shut(end)
            with self._lock:
                self._open.discard(end)

    @staticmethod
    def _read(end, size):
        data = bytearray()
        while len(data) < size:
            part = end.recv(size - len(data))
            if not part:
                raise ConnectionError
            data += part
        return bytes(data)

    def _requests(self, client, broker):
        try:
            while True:
                head = self._read(client, 4)
                request = head + self._read(client, struct.unpack(">i", head)[0])
                if not self._forward(request, client, broker):
                    break
        except OSError:
            pass
        self._end(client, broker)

    def _answers(self, client, broker):
        try:
            while True:
                data = broker.recv(1 << 18)
                if not data:
                    break
                self._flows.wait()
                client.sendall(data)
        except OSError:
            pass
        self._end(client, broker)

    def _forward(self, request, client, broker):
        """False: the connection ends here."""
        self._flows.wait()
        key = struct.unpack(">h", request[4:6])[0]
        rule = next((r for r in self.rules if r.key == key and self._random.randrange(r.one_in) == 0), None)
        if rule is None:
            broker.sendall(request)
            return True
        self.done[f"{NAMES[key]} {rule.what}"] += 1
        if rule.what == "delay":
            time.sleep(rule.seconds)
        if rule.what == "repeat":
            self._later(request, 0)
        if rule.what == "late":
            threading.Thread(target=self._later, args=(request, rule.seconds), daemon=True).start()
        if rule.what in ("late", "lose"):
            return False
        if rule.what == "cut":
            self._shut(client)   # first: no answer gets through
            broker.sendall(request)
            time.sleep(0.05)     # the broker reads it before the connection ends
            return False
        broker.sendall(request)
        return True

    def _later(self, request, seconds):
        time.sleep(seconds)
        try:
            with socket.create_connection(self.broker, timeout=10) as broker:
                broker.sendall(request)
                self._read(broker, 4)
        except OSError:
            pass
