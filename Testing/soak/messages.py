"""Sends the engine messages that nobody would send, and looks whether each is answered once and the engine lives on.

Three targets: the supervisor with its real processes, each of these processes by itself, and the client's half, which
reads what an engine could say. Messages are drawn by hypothesis, or are recorded conversations with something changed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ActiveSegExtension"))

import numpy as np  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from activeseg.client.engine_client import EngineClient  # noqa: E402
from activeseg.client.launch import engine_command, engine_environment  # noqa: E402
from activeseg.client.protocol import LINE_LIMIT, NAME_LIMIT, Lines  # noqa: E402
from activeseg.core.geometry import Geometry  # noqa: E402
from activeseg.engine.methods import METHODS  # noqa: E402
from activeseg.io.npy import read_array, write_array  # noqa: E402

BATCH = 25
ANSWER_WITHIN_S = 120.0
INTERNAL = -32603
OWN = ("hello", "cancel", "jobs.list", "job.release", "log.tail")
RARE = ("engine.warm", "models.check")
"""They import what takes seconds; one in fifty of their messages is sent."""
SURROGATE = "\ud800"
sys.setrecursionlimit(5000)  # what is sent here is nested more deeply than what anybody sends


class Failed(Exception):
    """What must hold does not; the text says what and after which messages."""


# What is sent.

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "~", "~nobody", "/", ".", "..", "a" * 300, "é" * 200, SURROGATE, "\udc80", "a\0b", "CT", "auto"]
    ),
    st.sampled_from(["hounsfield", "demo", "nnunet:/nowhere", "project:x", "totalsegmentator:total", "run", "cancel"]),
)
NUMBERS = st.one_of(
    st.integers(-3, 3), st.integers(), st.floats(), st.sampled_from([10**30, 10**400, -(2**63), 1e308, 5e-324])
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
PARAMS = re.findall(
    r"\w+",
    """job lines protocol client model image images settings focus regions output overwrite allow_coarser label_first
    draft folder layers state has_edits base dataset case prediction edited review states mapping annotator notes
    seconds patient private_dir store schema channels decided labels target rename project matching changes parent part
    device plan control run after first second version reason file add same_image_again""",
)
DRAWN = st.tuples(
    st.sampled_from([*OWN, *METHODS, *METHODS]) | TEXTS,
    st.dictionaries(st.sampled_from(PARAMS) | TEXTS, VALUES, max_size=6) | VALUES,
)


def recorded(sandbox: Path) -> list[tuple[str, dict[str, Any]]]:
    """Requests as the panel makes them, about a tiny image, a dataset, a draft and a project below ``sandbox``."""
    geometry = Geometry((6, 7, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    array = np.full(geometry.shape_kji, -1000, np.int16)
    array[2:4, 2:5, 2:6] = 40
    labels = (array > 0).astype(np.uint8)
    image = {"array": write_array(sandbox / "ct.npy", array), "geometry": geometry.to_dict()}
    label_map = {"array": write_array(sandbox / "labels.npy", labels), "geometry": geometry.to_dict()}
    names = [{"name": "soft_tissue", "value": 1, "color": [200, 100, 50], "terminology": None}]
    schema = {"labels": names}
    draft, dataset, project = (str(sandbox / name) for name in ("drafts/one", "data", "project"))
    layers = {"json": {"layers": [{"segments": ["a"]}]}, "arrays": [label_map["array"]]}
    base = {
        "record": {"schema": schema, "decided": ["soft_tissue"], "origin": {"dataset": dataset, "case": "CT_0001"}},
        "labels": label_map,
        "image": image,
    }
    return [
        ("segment", {"model": "hounsfield", "image": image, "regions": 2}),
        ("segment", {"model": "hounsfield", "image": image, "output": str(sandbox / "out"), "overwrite": True}),
        ("segment", {"model": "hounsfield", "image": image, "draft": draft, "label_first": True, "focus": ["fat"]}),
        ("segment", {"model": "hounsfield", "image": image, "settings": {"members": 2, "structures": ["bone"]}}),
        ("segment", {"model": "nnunet:/nowhere", "image": str(sandbox / "ct.nii.gz")}),
        ("regions.find", {"draft": draft, "focus": ["fat"], "regions": 2}),
        ("draft.save", {"draft": draft, "layers": layers, "state": {"name": "A^B"}, "has_edits": True}),
        ("draft.save", {"draft": draft + "2", "layers": layers, "base": base}),
        ("draft.open", {"draft": draft}),
        ("draft.list", {"folder": str(sandbox / "drafts")}),
        ("draft.discard", {"draft": draft}),
        ("dataset.create", {"dataset": dataset, "schema": schema, "channels": ["CT"]}),
        ("dataset.add", {"dataset": dataset, "images": {"CT": image}, "labels": label_map, "schema": schema}),
        ("dataset.show", {"dataset": dataset}),
        ("dataset.verify", {"dataset": dataset}),
        ("dataset.open", {"dataset": dataset, "case": "CT_0001"}),
        ("dataset.remove", {"dataset": dataset, "case": "CT_0001"}),
        ("dataset.migrate", {"dataset": dataset, "target": dataset + "2", "schema": schema}),
        (
            "export",
            {"prediction": str(sandbox / "out"), "edited": label_map, "dataset": dataset, "states": {"1": "accepted"}},
        ),
        ("project.new", {"project": project, "model": "demo", "dataset": dataset}),
        ("project.show", {"project": project}),
        ("finetune.plan", {"project": project, "changes": {"epochs": 2}, "device": "cpu"}),
        ("finetune.state", {"project": project, "after": 3}),
        ("finetune.control", {"project": project, "control": "pause"}),
        ("versions.compare", {"project": project, "first": "v0001", "second": "v0002"}),
        ("versions.promote", {"project": project, "version": "v0001", "reason": "better"}),
        ("versions.import", {"project": project, "file": str(sandbox / "x.zip")}),
        ("models.list", {}),
        ("system.info", {}),
        ("jobs.list", {}),
        ("log.tail", {"lines": 5}),
        ("cancel", {"job": "1"}),
        ("job.release", {"job": "1"}),
        ("hello", {"protocol": 2, "client": "fuzz"}),
    ]


class Messages:
    """Lines to send: drawn values and changed recordings, all below a folder."""

    def __init__(self, sandbox: Path, chance: random.Random) -> None:
        self._sandbox, self._chance = sandbox, chance
        self._recorded = recorded(sandbox)
        self._count = 0

    def id(self) -> Any:
        """Mostly a new one; now and then one that is used, odd, or as long as can be."""
        self._count += 1
        kind = self._chance.random()
        if kind < 0.9:
            return self._count if kind < 0.5 else f"job {self._count}"
        odd = [
            self._chance.randint(1, self._count),
            "x" * (NAME_LIMIT - 6) + f"{self._count:06d}",
            None,
            True,
            1.5,
            [],
            "",
        ]
        return self._chance.choice(odd)

    def drawn(self, method: str, params: Any) -> bytes:
        """A request of hypothesis's."""
        return self._line({"jsonrpc": "2.0", "id": self.id(), "method": method, "params": self._inside(params)})

    def changed(self) -> bytes:
        """A recorded request with up to three changes, of what it says or of its bytes."""
        method, params = self._chance.choice(self._recorded)
        body = {"jsonrpc": "2.0", "id": self.id(), "method": method, "params": json.loads(json.dumps(params))}
        for _ in range(self._chance.randint(0, 2)):
            self._change(body)
        body["params"] = self._inside(body.get("params"))
        line = self._line(body)
        return self._torn(line) if self._chance.random() < 0.15 else line

    def _line(self, body: dict[str, Any]) -> bytes:
        if body.get("method") == "shutdown":
            body["method"] = "shut down"
        return json.dumps(body, allow_nan=True, default=str).encode()

    def _change(self, body: dict[str, Any]) -> None:
        places = list(_places(body))
        container, key = self._chance.choice(places)
        kind = self._chance.random()
        if kind < 0.15:
            del container[key]
        elif kind < 0.3:
            container[key] = "y" * self._chance.choice([10, 300, 5000, LINE_LIMIT - 3000, LINE_LIMIT])
        elif kind < 0.4:
            deep: Any = []
            for _ in range(self._chance.choice([5, 95, 120, 900])):
                deep = [deep]
            container[key] = deep
        elif kind < 0.6:
            other, name = self._chance.choice(places)
            container[key] = json.loads(json.dumps(other[name]))
        else:
            odd = [
                None,
                True,
                -1,
                0,
                10**400,
                1e308,
                "",
                SURROGATE,
                "\0",
                "~nobody/x",
                {},
                [],
                [[]],
                {"a": SURROGATE},
                "/dev/zero",
            ]
            container[key] = self._chance.choice(odd)

    def _torn(self, line: bytes) -> bytes:
        kind = self._chance.random()
        place = self._chance.randrange(len(line))
        if kind < 0.4:
            return line[:place]
        if kind < 0.7:
            return line[:place] + bytes([self._chance.randrange(256)]) + line[place + 1 :]
        return line[:place] + line[self._chance.randrange(len(line)) :]

    def _inside(self, value: Any, depth: int = 0) -> Any:
        """The same with every path that something could be written to below the sandbox."""
        if depth > 90:
            return value
        if isinstance(value, dict):
            return {key: self._inside(entry, depth + 1) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self._inside(entry, depth + 1) for entry in value]
        if (
            isinstance(value, str)
            and value.startswith("/")
            and not value.startswith((str(self._sandbox), "/nowhere", "/dev/"))
        ):
            return str(self._sandbox) + value
        return value.replace("..", ".") if isinstance(value, str) else value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in entries:
        yield value, key
        if isinstance(entry, dict | list):
            yield from _places(entry)


# Whom it is sent to.


class Process:
    """A process that is spoken to in lines; what it says is read by a thread."""

    def __init__(self, command: list[str], sandbox: Path) -> None:
        environment = {**engine_environment(), "HOME": str(sandbox), "USERPROFILE": str(sandbox)}
        environment["XDG_DATA_HOME"] = environment["XDG_CACHE_HOME"] = str(sandbox / "xdg")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment, cwd=sandbox
        )
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def next(self, within_s: float = ANSWER_WITHIN_S) -> bytes | None:
        """The next line; None when it has ended. Raises Failed when nothing comes."""
        try:
            return self._said.get(timeout=within_s)
        except queue.Empty:
            raise Failed(f"No word within {within_s:.0f} s. {self.errors()}") from None

    def close(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(ANSWER_WITHIN_S)

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")[-2000:]

    def _read(self) -> None:
        assert self.process.stdout is not None
        lines = Lines()
        while data := os.read(self.process.stdout.fileno(), 65536):
            for line in lines.feed(data):
                self._said.put(b"" if line is None else line)
        self._said.put(None)


def expected(line: bytes) -> str | None:
    """The id of a request that must be answered under it; None when a refusal may not know whose it is."""
    try:
        body = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    value = body.get("id") if isinstance(body, dict) else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= NAME_LIMIT else None


class Engine:
    """A real engine, for which is counted what it was sent and what it answered."""

    def __init__(self, sandbox: Path, home: Path) -> None:
        self._engine = Process(engine_command(sys.executable, home), sandbox)
        self.answered = 0
        self._kept: list[str] = []
        self.inbox = Path(self.ask("first", "hello", {"protocol": 2, "client": "fuzz"})["result"]["inbox"])

    def ask(self, id: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One request that must succeed or fail in words; its answer."""
        line = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()
        return self.exchange([line])[0]

    def exchange(self, lines: list[bytes]) -> list[dict[str, Any]]:
        """Send lines and wait for an answer to each. Raises Failed unless each is answered once."""
        parts = [part for line in lines for part in line.split(b"\n")]
        self._engine.send(b"".join(part + b"\n" for part in parts))
        answers: list[dict[str, Any]] = []
        try:
            while len(answers) < len(parts):
                said = self._engine.next()
                if said is None:
                    raise Failed(f"The engine ended with code {self._engine.process.wait()}. {self._engine.errors()}")
                if said == b"":
                    raise Failed("The engine sent a line that is too long.")
                body = json.loads(said)
                if "method" not in body:
                    answers.append(body)
            wanted = Counter(expected(part) for part in parts if len(part) < LINE_LIMIT)
            got = Counter(answer["id"] for answer in answers)
            missing = wanted - got
            strange = set(got) - set(wanted) - {None}
            if strange or sum(missing.values()) > missing[None] + got[None]:
                raise Failed(f"Not answered: {dict(missing)}. Answered unasked: {strange}.")
            if any(not answer["error"]["message"] for answer in answers if "error" in answer):
                raise Failed("An error without words.")
        except Failed as failure:
            shown = b"\n".join(part[:600] for part in parts).decode("utf-8", "replace")
            raise Failed(f"{failure} After:\n{shown}") from None
        self.answered += len(answers)
        if self.answered > len(answers):
            self._kept += [answer["id"] for answer in answers if str(self.inbox.parent) in str(answer.get("result"))]
        return answers

    def finish(self, image: dict[str, Any], home: Path) -> None:
        """It is alive, idle and clean, and an ordinary job works. Raises Failed."""
        done = self.ask("an ordinary job", "segment", {"model": "hounsfield", "image": image, "regions": 1})
        if "result" not in done or read_array(done["result"]["labels"]).shape != tuple(image["geometry"]["shape_kji"]):
            raise Failed(f"An ordinary job fails afterwards: {str(done)[:500]}")
        jobs = self.ask("which jobs", "jobs.list", {})["result"]["jobs"]
        going = [job for job in jobs if job["state"] in ("queued", "running", "cancelling")]
        if going:
            raise Failed(f"Jobs go on: {going}")
        for number, job in enumerate(self._kept):
            self.ask(f"release {number}", "job.release", {"job": job})
        left = [path.name for path in self.inbox.parent.iterdir() if path.name != "inbox"]
        if left:
            raise Failed(f"Left in the scratch folder: {left}")
        import psutil

        children = psutil.Process(self._engine.process.pid).children(recursive=True)
        self.ask("the end", "shutdown", {})
        code = self._engine.close()
        _, alive = psutil.wait_procs(children, 10)
        if code or alive or list((home / "scratch").iterdir()):
            raise Failed(f"Not a clean end: code {code}, still there {alive}. {self._engine.errors()}")


# The three targets.


def to_the_supervisor(messages: int, number: int, sandbox: Path) -> dict[str, Any]:
    """As many messages to an engine with real processes; counts. Raises Failed."""
    chance = random.Random(number)
    source = Messages(sandbox, chance)
    home = sandbox.with_name(sandbox.name + "-home")
    engine = Engine(sandbox, home)
    kinds: Counter[str] = Counter()
    unexpected: set[str] = set()

    def send(lines: list[bytes]) -> None:
        for answer in engine.exchange(lines):
            kinds["result" if "result" in answer else str(answer["error"]["code"])] += 1
            if "error" in answer and answer["error"]["code"] == INTERNAL:
                unexpected.add(answer["error"]["message"][:300])

    for drawn in _drawn_batches(messages // 2, number):
        send([source.drawn(method, params) for method, params in drawn if method not in RARE or chance.random() < 0.02])
    while engine.answered < messages:
        send([line for line in (source.changed() for _ in range(BATCH)) if b"\n" not in line])
    engine.finish(recorded(sandbox)[0][1]["image"], home)
    beside = [path.name for path in sandbox.rglob(".activeseg-*")]
    if beside:
        raise Failed(f"Left beside outputs: {beside}")
    return {"answered": engine.answered, **dict(sorted(kinds.items())), "unexpected": sorted(unexpected)}


def to_a_child(messages: int, number: int, sandbox: Path, role: str) -> dict[str, Any]:
    """Messages to one of the engine's own processes: it answers each request, or ends. Raises Failed."""
    chance = random.Random(number)
    source = Messages(sandbox, chance)
    start = ROOT / "ActiveSegExtension" / "activeseg" / "engine" / "start.py"
    home = sandbox / "child-home"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-I", "-X", "utf8", "-u", str(start), f"--role={role}", f"--home={home}"]
    command.append(f"--parent={os.getpid()}")
    sent = answered = ended = 0
    child: Process | None = None
    while sent < messages:
        child = child or Process(command, sandbox)
        line = _for_a_child(source.changed(), chance, sandbox)
        sent += 1
        wanted = expected(line)
        try:
            child.send(line + b"\n")
        except OSError:
            child, ended = None, ended + 1
            continue
        if wanted is None:  # ends, or says whose it is not
            probe = json.dumps(
                {"jsonrpc": "2.0", "id": f"probe {sent}", "method": "system.info", "params": {}}
            ).encode()
            try:
                child.send(probe + b"\n")
                wanted = f"probe {sent}"
            except OSError:
                child, ended = None, ended + 1
                continue
        while True:
            said = child.next()
            if said is None:
                child, ended = None, ended + 1
                break
            if json.loads(said).get("id") == wanted and "method" not in json.loads(said):
                answered += 1
                break
    code = 0 if child is None else child.close()
    if child is not None and (code not in (0, 1, -9) or "Traceback" in child.errors()):  # 1, -9: it still worked then
        raise Failed(f"The {role} ended with code {code}. {child.errors()}")
    return {"role": role, "sent": sent, "answered": answered, "ended instead": ended}


def _for_a_child(line: bytes, chance: random.Random, sandbox: Path) -> bytes:
    """A request as the supervisor passes it on, or now and then as it came."""
    if chance.random() < 0.2:
        return line.replace(b"\n", b"")
    try:
        body = json.loads(line)
        body["params"] = {"params": body.get("params"), "folder": tempfile.mkdtemp(dir=sandbox)}
        return json.dumps(body).encode()
    except (ValueError, TypeError, RecursionError, AttributeError):
        return line.replace(b"\n", b"")


def to_the_client(messages: int, number: int, sandbox: Path) -> dict[str, Any]:
    """What an engine could say, to the client's half: it never raises, and gives events only. Raises Failed."""
    chance = random.Random(number)
    kinds: Counter[str] = Counter()
    client = EngineClient("fuzz")
    said = [
        {
            "jsonrpc": "2.0",
            "method": "progress",
            "params": {"job": "1", "stage": "a", "fraction": 0.5, "eta_s": 3, "text": "t"},
        },
        {"jsonrpc": "2.0", "method": "estimate", "params": {"job": "1", "estimate": {"seconds": 3}}},
        {"jsonrpc": "2.0", "method": "notice", "params": {"job": "1", "text": "t"}},
        {"jsonrpc": "2.0", "method": "label", "params": {"job": "1", "result": {"labels": "x"}}},
        {"jsonrpc": "2.0", "method": "log", "params": {"line": "x"}},
        {"jsonrpc": "2.0", "id": "1", "result": {"protocol": 2, "log": "/x"}},
        {
            "jsonrpc": "2.0",
            "id": "2",
            "error": {"code": -32000, "message": "m", "data": {"code": "input", "details": {}}},
        },
    ]
    source = Messages(sandbox, chance)
    client.hello()
    for count in range(messages):
        if len(client.pending) < 3:
            client.request("segment", {})
        if count % 1000 == 999:
            client.closed("It ended.")
            client.hello()
        body = json.loads(json.dumps(chance.choice(said)))
        if "id" in body:
            body["id"] = chance.choice([*client.pending, "9", None])
        for _ in range(chance.randint(0, 3)):
            source._change(body)
        line = json.dumps(body, allow_nan=True).encode()
        line = source._torn(line) if chance.random() < 0.2 else line
        try:
            events = client.receive(line + b"\n")
        except Exception as error:
            raise Failed(f"The client raised {type(error).__name__}: {error}. After {line[:2000]!r}") from error
        kinds.update(type(event).__name__ for event in events)
    return dict(sorted(kinds.items()))


def _drawn_batches(messages: int, number: int) -> Iterator[list[tuple[str, Any]]]:
    """Batches of hypothesis's own, by a thread, so that they can be sent while the next ones are drawn."""
    batches: queue.Queue[list[tuple[str, Any]] | None] = queue.Queue(maxsize=4)

    @seed(number)
    @settings(
        max_examples=max(messages // BATCH, 1),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(DRAWN, min_size=BATCH, max_size=BATCH))
    def draw(batch: list[tuple[str, Any]]) -> None:
        batches.put(batch)

    def work() -> None:
        try:
            draw()
        finally:
            batches.put(None)

    threading.Thread(target=work, daemon=True).start()
    while (batch := batches.get()) is not None:
        yield batch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000, help="to the supervisor and to the client's half each")
    parser.add_argument("--child-messages", type=int, default=2000, help="to each of the engine's own processes")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; without it one is drawn and printed")
    given_arguments = parser.parse_args()
    number = random.SystemRandom().randrange(1 << 32) if given_arguments.seed is None else given_arguments.seed
    print(f"seed {number}", flush=True)
    count, children = given_arguments.messages, given_arguments.child_messages
    failures = 0
    targets = [
        ("supervisor", lambda folder: to_the_supervisor(count, number, folder)),
        ("worker", lambda folder: to_a_child(children, number, folder, "worker")),
        ("clerk", lambda folder: to_a_child(children, number + 1, folder, "clerk")),
        ("client", lambda folder: to_the_client(count, number, folder)),
    ]
    for name, target in targets:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            sandbox = Path(folder) / "sandbox"
            sandbox.mkdir()
            try:
                print(f"{name}: {target(sandbox)} in {time.monotonic() - started:.0f} s", flush=True)
            except Failed as failure:
                failures += 1
                print(f"{name}: FAILED after {time.monotonic() - started:.0f} s. {failure}", flush=True)
    print(f"messages: {'all held' if not failures else f'{failures} of {len(targets)} targets failed'} (seed {number})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
