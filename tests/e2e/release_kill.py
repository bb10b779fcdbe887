"""Kills teal with -9 at random times while it releases an app of two services, and looks at what it comes up with.

After each start, the weights must be those that the journal's lines say were applied last, read here without teal's
code; both services must have the same; the hash chain must hold; an open release must hold, and one that was
confirmed or rolled back must go on where it was. Then it goes on at random, so that many states are hit. Prints how many
kills hit which phase; the seed is printed first and may be given.
"""

import argparse
import collections
import glob
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import urllib.request

SERVICES = ("servicea", "serviceb")
OPEN = ("shifting", "baking", "judging", "awaiting_confirm", "holding")
DEADLINE = 30.0
# Longest time from the first word to the end.
ALIVE_MAX = 1.2


class Journal:
    """What the journal's lines say, as of the last one that is whole."""

    def __init__(self, folder, file_weights):
        # By service; what is not in the first counts as in the second, else as in the file.
        self.overrides, self.baselines, self.file = {}, {}, file_weights
        self.releases, self.order = {}, []
        self.records, self.tail = 0, collections.deque(maxlen=12)
        last, intent = "0" * 64, None
        # Nothing is there before the first record.
        current = glob.glob(os.path.join(folder, "journal"))
        for name in sorted(glob.glob(os.path.join(folder, "journal-*"))) + current:
            with open(name, "rb") as file:
                text = file.read()
            for line in text.split(b"\n")[:-1]:
                # The hash is that of the line without it.
                body, _, digest = line.rpartition(b',"hash":"')
                assert hashlib.sha256(body + b"}").hexdigest() == digest[:64].decode(), f"{name}: hash"
                record = json.loads(line)
                if self.records == 0:
                    last = record["previous"]
                assert record["previous"] == last, f"{name}: record {record['sequence']} does not follow"
                last = digest[:64].decode()
                self.records += 1
                about = record.get("edits") or record.get("release", {}).get("phase", "")
                self.tail.append(f"{record['sequence']} {record['kind']} {about}")
                intent = self.take(record, intent)
        self.unfinished = intent

    def take(self, record, intent):
        kind = record["kind"]
        if kind == "checkpoint":
            self.checkpoint(record)
        elif kind == "intent":
            return record
        elif kind == "applied":
            assert intent is not None and record["intent"] == intent["sequence"]
            self.apply(intent)
        elif kind in ("ended", "emergency"):
            self.apply(record)
        elif kind == "release":
            self.note(record["release"])
        return None

    def checkpoint(self, record):
        self.overrides, self.baselines = {}, {}
        for service, kept in record["overrides"].get("services", record["overrides"]).items():
            for into, word in ((self.overrides, "weights"), (self.baselines, "baseline")):
                if kept.get(word):
                    into[service] = kept[word]["weights"]
        for release in record["releases"].get("all", []):
            self.note(release)

    def apply(self, record):
        for edit in record["edits"]:
            into = {"weights": self.overrides, "baseline": self.baselines}[edit["of"]]
            into.pop(edit["service"], None)
            # Without it, an override or a baseline of its own has ended.
            if edit.get("covers"):
                into[edit["service"]] = edit["after"]
        if record.get("release"):
            self.note(record["release"])

    def weights(self, service):
        return self.overrides.get(service, self.baselines.get(service, self.file))

    def note(self, release):
        if release["id"] not in self.releases:
            self.order.append(release["id"])
        self.releases[release["id"]] = release

    def last(self):
        return self.releases[self.order[-1]] if self.order else None


class Teal:
    """One life of the daemon."""

    def __init__(self, options):
        self.options = options
        self.environment = {**os.environ, "TEAL_SOCKET": options.socket, "TEAL_LOG": "info"}
        with open(options.log, "ab") as log:
            self.process = subprocess.Popen(
                [options.teal, "run", "--config", options.config, "--state-dir", options.state,
                 "--socket", options.socket],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        self.wait(self.is_ready, "readiness")

    def is_ready(self):
        assert self.process.poll() is None, f"teal ended with {self.process.returncode}"
        try:
            with urllib.request.urlopen(self.options.ready, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait(self, condition, what):
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {DEADLINE} s"
            time.sleep(0.01)

    def ask(self, *arguments):
        return subprocess.run([self.options.teal, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=self.environment, timeout=DEADLINE, check=False)

    def tell(self, *arguments):
        """Does not wait for it."""
        return subprocess.Popen([self.options.teal, *arguments], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)

    def weights(self):
        answer = json.loads(self.ask("status", "--json").stdout)
        return {service["name"]: {color["name"]: color["weight"] for color in service["colors"]}
                for service in answer["services"]}

    def release(self):
        answer = json.loads(self.ask("release", "status", "--json").stdout)
        return answer["releases"][-1] if answer["releases"] else None

    def kill(self):
        self.process.kill()
        self.process.wait()


def look(teal, journal):
    """What a start must have found; the phase that it was killed in."""
    found = teal.weights()
    for service in SERVICES:
        assert found[service] == journal.weights(service), (
            f"{service} has {found[service]}, applied last were {journal.weights(service)}")
    assert found[SERVICES[0]] == found[SERVICES[1]], f"the members differ: {found}"
    kept, now = journal.last(), teal.release()
    if kept is None:
        assert now is None, f"a release from nowhere: {now}"
        return "nothing"
    assert now["release"] == kept["id"], f"{now['release']} and not {kept['id']}"
    phase = kept["phase"]["phase"]
    if phase in OPEN:
        teal.wait(lambda: teal.release()["phase"] == "holding", f"hold of what was {phase}")
        if phase != "holding":
            assert teal.release()["hold"]["reason"] == "restart", teal.release()["hold"]
    else:
        allowed = {"confirming": ("confirming", "confirmed"), "confirmed": ("confirmed", "closed"),
                   "rolling_back": ("rolling_back", "rolled_back", "closed"), "rolled_back": ("rolled_back", "closed"),
                   "closed": ("closed",)}
        assert now["phase"] in allowed[phase], f"{now['phase']} after {phase}"
    assert teal.weights() == found, "something moved by itself"
    verified = teal.ask("release", "log", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    if journal.unfinished is not None:
        phase += ", an intent open"
    return phase


def go_on(teal, dice, specification):
    """Words that fit, or not: a word that is refused must do no harm either."""
    release = teal.release()
    phase = release["phase"] if release else "closed"
    why = ("-m", "at random")
    if phase in ("closed", "confirmed"):
        if phase == "confirmed" and dice.random() < 0.4:
            return teal.tell("release", "undo", "shop", *why)
        # The other way round than it is.
        to = "green" if teal.weights()["servicea"]["green"] == 0 else "blue"
        return teal.tell("release", "start", specification[to], *why)
    if phase == "holding":
        word = dice.choices(("resume", "rollback", "next"), (7, 2, 1))[0]
    else:
        word = dice.choice(("next", "hold", "rollback"))
    if phase == "awaiting_confirm" or release["percent"] == 100 and dice.random() < 0.5:
        if phase == "holding":
            teal.ask("release", "resume", "shop")
            teal.ask("release", "wait", "shop", "--for", "awaiting", "--timeout", "500ms")
        return teal.tell("release", "confirm", "shop", "--no-save", *why)
    if word == "rollback":
        return teal.tell("release", "rollback", "shop", *why)
    return teal.tell("release", word, "shop", *(("--skip-checks", *why) if word == "next" else ()))


def main():
    options = argparse.ArgumentParser()
    for name in ("teal", "config", "state", "socket", "ready", "log", "to-green", "to-blue"):
        options.add_argument("--" + name, required=True)
    options.add_argument("--kills", type=int, required=True)
    options.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = options.parse_args()
    print(f"seed {options.seed}", flush=True)
    dice = random.Random(options.seed)
    specification = {"green": options.to_green, "blue": options.to_blue}
    hit = collections.Counter()
    teal = Teal(options)
    try:
        for kill in range(options.kills):
            told = [go_on(teal, dice, specification)]
            time.sleep(dice.random() ** 2 * ALIVE_MAX)
            if dice.random() < 0.3:
                told.append(go_on(teal, dice, specification))
                time.sleep(dice.random() ** 3 * ALIVE_MAX)
            teal.kill()
            for child in told:
                child.wait(timeout=DEADLINE)
            journal = Journal(options.state, {"blue": 100, "green": 0})
            teal = Teal(options)
            try:
                hit[look(teal, journal)] += 1
            except AssertionError as error:
                print("the journal ends with:", *journal.tail, sep="\n")
                sys.exit(f"after kill {kill + 1}, seed {options.seed}: {error}")
    finally:
        teal.kill()
    hits = ", ".join(f"{phase} {count}" for phase, count in hit.most_common())
    print(f"{options.kills} kills: {hits}; {journal.records} records in the journal, all in one chain; "
          f"{len(journal.order)} releases")


main()
