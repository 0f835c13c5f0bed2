"""Kills the making of the engine's environment at random moments, and looks whether what is left can be gone on with.

A small stand-in for the engine's packages is installed from a folder of wheels, without internet. After each kill the
check must tell the truth, and installing, repairing, updating or removing must work and leave nothing behind.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ActiveSegExtension"), str(ROOT / "Testing" / "unit")]

from installable import load_uv, make_wheel, offline, small_lock  # noqa: E402

from activeseg.client.environment.environment import EngineEnvironment, State  # noqa: E402
from activeseg.client.environment.folder import LOCK_FILE, MARKER  # noqa: E402
from activeseg.client.launch import engine_environment  # noqa: E402

CHILD = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from installable import offline, small_lock
from activeseg.client.environment.environment import EngineEnvironment
environment = EngineEnvironment({folder!r}, small_lock({version!r}))
if {action!r} == "install":
    environment.install(environment.plan(offline(Path({wheels!r}))))
elif {action!r} == "remove":
    environment.remove()
else:
    getattr(environment, {action!r})()
"""
AFTERWARDS = {MARKER, LOCK_FILE, "environment", "uv", "python", "install.log", "uv.toml"} | {
    f"{name}.txt" for name in ("requirements", "pins", "excludes", "packages")
}
"""What may lie in the folder of a complete environment."""


class Failed(Exception):
    """What must hold after a kill does not."""


def make_wheels(folder: Path) -> Path:
    """The installer and small packages, in two versions."""
    folder.mkdir()
    load_uv(folder)
    for version in ("1.0", "2.0"):
        make_wheel(folder, "alveole", version, needs=("bronchus", "trachea"))
    make_wheel(folder, "bronchus", "1.0")
    return folder


def start(action: str, version: str, folder: Path, wheels: Path) -> subprocess.Popen[bytes]:
    """An action in another process."""
    code = CHILD.format(paths=sys.path[:2], folder=str(folder), version=version, action=action, wheels=str(wheels))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_what_goes_on(folder: Path) -> None:
    """An installer that the killed process had started keeps the lock until it has ended."""
    if (folder / LOCK_FILE).exists():
        with (folder / LOCK_FILE).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)


def imports(environment: EngineEnvironment, version: str) -> bool:
    """Whether the Python that the environment names has the packages."""
    code = f"import alveole; assert alveole.VERSION == {version!r}"
    command = [str(environment.python), "-I", "-c", code]
    return subprocess.run(command, capture_output=True, check=False, env=engine_environment()).returncode == 0


def check_truth(folder: Path, wanted: str, had: str | None, action: str) -> State:
    """What the check says is so; an environment that was there is usable unless it was being repaired or removed."""
    environment = EngineEnvironment(folder, small_lock(wanted))
    status = environment.check()
    if status.usable:
        has = wanted if status.state is State.READY else had
        if has is None or not imports(environment, has):
            raise Failed(f"The check says '{status.state.value}', and the packages do not import.")
    elif had is not None and action in ("install", "update"):
        raise Failed(f"The environment that was there is '{status.state.value}': {status.problem}")
    elif not (status.problem and status.action):
        raise Failed(f"'{status.state.value}' without a word on what to do.")
    return status.state


def go_on(folder: Path, wanted: str, wheels: Path, chance: random.Random, state: State) -> tuple[str, str | None]:
    """Do something with what was left; what it was, and the version that is installed afterwards."""
    environment = EngineEnvironment(folder, small_lock(wanted))
    ways = ["install"] if state is State.MISSING else ["install", "repair", "remove", "update"]
    way = chance.choice(ways)
    if way == "remove":
        left = environment.remove()
        if left or folder.exists():
            raise Failed(f"Left after removing: {left or os.listdir(folder)}")
        return way, None
    if way == "install":
        done = environment.install(environment.plan(offline(wheels)))
    elif way == "repair" and environment.folder.marker():
        done = environment.repair()
    else:
        done = environment.update()
    if done.state is not State.READY or not imports(environment, wanted):
        raise Failed(f"After '{way}' it is '{done.state.value}': {done.problem}")
    strange = set(os.listdir(folder)) - AFTERWARDS
    if strange:
        raise Failed(f"Left after '{way}': {sorted(strange)}")
    return way, wanted


def run(kills: int, number: int, base: Path) -> Counter[str]:
    """As many kills; how often each state was found and each way was gone. Raises Failed."""
    chance = random.Random(number)
    wheels, folder = make_wheels(base / "wheels"), base / "engine"
    started = time.monotonic()
    if start("install", "1.0", folder, wheels).wait():
        raise Failed("Nothing can be installed here at all.")
    longest = time.monotonic() - started
    has: str | None = "1.0"
    counts: Counter[str] = Counter()
    for kill in range(kills):
        wanted = chance.choice(["1.0", "2.0"])
        action = "install" if has is None else chance.choice(["install", "update", "repair", "remove"])
        process = start(action, wanted, folder, wheels)
        # removing takes a moment after Python has started, the rest about as long as the first time
        moment = chance.uniform(0.0, longest * (0.3 if action == "remove" else 1.0))
        try:
            process.wait(moment)
            counts["had ended"] += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            counts[f"killed: {action}"] += 1
        wait_for_what_goes_on(folder)
        try:
            state = check_truth(folder, wanted, has, action)
            counts[f"found: {state.value}"] += 1
            way, has = go_on(folder, wanted, wheels, chance, state)
        except Exception as error:
            when = f"Kill {kill + 1}: {action} of {wanted} over {has} after {moment:.2f} s"
            raise Failed(f"{when}. {type(error).__name__}: {error}") from error
        counts[f"then: {way}"] += 1
        if (kill + 1) % 20 == 0:
            print(f"  {kill + 1} of {kills}", flush=True)
        beside = set(os.listdir(base)) - {"wheels", "engine"}
        if beside:
            raise Failed(f"Left beside the folder: {beside}")
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; without it one is drawn and printed")
    given = parser.parse_args()
    number = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {number}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        try:
            counts = run(given.kills, number, Path(base))
        except Failed as failure:
            print(f"environment kills: FAILED (seed {number}). {failure}")
            return 1
    for name, count in sorted(counts.items()):
        print(f"  {name}: {count}")
    killed = sum(count for name, count in counts.items() if name.startswith("killed"))
    print(f"environment kills: {given.kills} moments, {killed} kills, all held in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
