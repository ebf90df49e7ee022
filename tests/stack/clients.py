"""Those who ask a ridged for predictions and tell it true values."""
import csv
import http.client
import json
import threading
import time

from programs import MODEL

TARGET = "MedHouseVal"


def read_rows(path):
    """The names of the features, and a pair of inputs and true value per row."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        names = [n for n in reader.fieldnames if n != TARGET]
        return names, [([float(r[n]) for n in names], float(r[TARGET])) for r in reader]


IDLE_S = 30  # ridged closes a connection after 75 s of silence


class Client:
    """One connection to a ridged, kept while there is something to say."""

    def __init__(self, ridged):
        self.ridged, self.used = ridged, time.monotonic()
        self.http = http.client.HTTPConnection("127.0.0.1", ridged.port, timeout=30)

    def ask(self, method, verb, body=None, request_id=None):
        headers = {"Authorization": f"Bearer {self.ridged.token}"}
        if request_id:
            headers["x-request-id"] = request_id
        if time.monotonic() - self.used > IDLE_S:
            self.http.close()  # it opens again by itself
        self.used = time.monotonic()
        self.http.request(method, f"/v1/models/{MODEL}:{verb}", None if body is None else json.dumps(body), headers)
        response = self.http.getresponse()
        return response.status, response.read().decode()

    def post(self, verb, body, request_id=None):
        status, text = self.ask("POST", verb, body, request_id)
        if status != 200:
            raise RuntimeError(f":{verb}: {status} {text}")
        return json.loads(text)


class Replay:
    """Sends rows with their true values, half with their instances, half by the ids of their predictions, and
    keeps what a quality window of that size would hold. shift(inputs) is added to the true value."""

    def __init__(self, ridged, window):
        self.client, self.size, self.window, self.last_id, self.chunks = Client(ridged), window, [], None, 0

    def chunk(self, rows, shift):
        x, y = [r[0] for r in rows], [r[1] + shift(r[0]) for r in rows]
        self.chunks += 1
        name = f"chunk-{self.chunks}"
        if self.chunks % 2:
            answer = self.client.post("feedback", {"instances": x, "targets": y}, name)
            predictions = answer["predictions"]
        else:
            predictions = self.client.post("predict", {"instances": x}, name)["predictions"]
            answer = self.client.post("feedback", {"ids": [f"{name}/{i}" for i in range(len(y))], "targets": y})
        if answer["accepted"] != len(rows):
            raise RuntimeError(f"feedback: {answer}")
        self.last_id = f"{name}/{len(y) - 1}"
        self.window = (self.window + list(zip(predictions, y)))[-self.size:]

    def rows(self, rows, shift=lambda x: 0.0, rate=100, until=lambda: False):
        """All of them at that many a second, or until something has happened."""
        for i in range(0, len(rows), 10):
            if until():
                return
            self.chunk(rows[i:i + 10], shift)
            time.sleep(10 / rate)

    def figures(self):
        mean = sum(y for _, y in self.window) / len(self.window)
        squares = sum((f - y) ** 2 for f, y in self.window)
        return (sum(abs(f - y) for f, y in self.window) / len(self.window),
                1 - squares / sum((y - mean) ** 2 for _, y in self.window))


class Traffic(threading.Thread):
    """Asks for predictions until stopped, one row a request, now and then for an explanation or for nonsense."""

    def __init__(self, ridged, rows, rate=60, others=False):
        super().__init__(daemon=True)
        self.client, self.data, self.rate, self.others = Client(ridged), rows, rate, others
        self.change = lambda row: row
        self.answered, self.wrong, self.stopping = 0, [], False
        self.start()

    def step(self, i):
        row = self.change(self.data[i % len(self.data)][0])
        status, text = self.client.ask("POST", "predict", {"instances": [row, row] if self.others else [row]})
        answers = json.loads(text).get("predictions", []) if status == 200 else []
        if not answers or answers[0] != answers[-1]:
            self.wrong.append(f"{status} {text[:200]}")
        if self.others and i % 20 == 0:
            self.client.ask("POST", "explain", {"instances": [row]})
        if self.others and i % 50 == 0:
            self.client.ask("POST", "predict", {"instances": [["x"]]})

    def run(self):
        while not self.stopping:
            try:
                self.step(self.answered)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                return
            self.answered += 1
            time.sleep(1 / self.rate)

    def stop(self):
        self.stopping = True
        self.join(30)
        return self.answered, self.wrong
