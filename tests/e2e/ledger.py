"""Compares three ledgers of one service: clients, teal's metrics and teal's connection log.

Every connection that clients tried must be in each of them, served or refused, with the same counts of
tries, spills and answers; what differs is printed, and the exit code is 1. Else prints one line of JSON:

  tried     connections of the clients that came and went (those held are not counted here)
  failed    of these, without a complete answer
  refused   of these, that no backend served
  cut       of these, that a backend served, and whose connection ended before the answer was complete
  spilled   connections that another color served
  retried   further tries
  cut_at    where those that were cut had been: endpoint to count
  shares    decisions of the split by color
  reasons   refused connections by reason
  failure   seconds from --fault until the last connection came that failed; null when none did
  felt      the same for one that failed, took more than one try, was spilled, or had no first byte within half
            a second
  back      seconds from --back until the first connection came that an --endpoint served; null when there is none

Where the last of them came at --back or later, `failure` and `felt` are text: "end + " and the seconds from then.
"""

import argparse
import collections
import datetime
import json
import re
import sys

ANSWER_OCTETS = 64
# A first byte that took longer was waiting for something.
SLOW_MS = 500
# As close to the end as that counts as the end.
LASTING_S = 0.1


def seconds(timestamp):
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


class Line:
    """A line of the connection log."""

    def __init__(self, fields, names):
        self.color = fields.get("color")
        self.endpoint = names.get(fields.get("endpoint"))
        self.why = fields.get("why")
        self.tries = fields["tries"]
        self.how = fields["ended_how"]
        self.served = "connect_ms" in fields
        self.answered = fields["bytes_out"] >= ANSWER_OCTETS
        self.came = seconds(fields["timestamp"]) - fields["duration_ms"] / 1000
        self.elsewhere = self.served and self.why in ("spill", "fallback")
        slow = fields.get("first_byte_ms", 0) > SLOW_MS
        self.felt = not self.answered or self.tries > 1 or self.elsewhere or slow


def connection_log(path, service, names):
    lines = []
    with open(path, encoding="utf-8") as file:
        for text in file:
            fields = json.loads(text)
            if fields.get("target") == "teal::connection" and fields["service"] == service:
                lines.append(Line(fields, names))
    return lines


def series(path, service):
    """{(name, labels): value} of a service, labels being a dictionary."""
    found = []
    with open(path, encoding="utf-8") as file:
        for text in file:
            match = re.match(r"(teal_\w+)\{(.*)\} (\S+)$", text)
            if match:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
                if labels.get("service") == service:
                    found.append((match[1], labels, int(float(match[3]))))
    return found


def by_label(found, name, label):
    counts = collections.Counter()
    for metric, labels, value in found:
        if metric == name and value:
            counts[labels[label]] += value
    return counts


def share_of_half(number, seen):
    """What a color at 50:50 may have of so many: `seen` where the bound of half a connection allows it."""
    return seen if abs(seen - number / 2) <= 0.5 else number / 2


def main():
    options = argparse.ArgumentParser()
    for name in ("service", "log", "metrics"):
        options.add_argument("--" + name, required=True)
    options.add_argument("--report", action="append", default=[], help="what `load open` printed")
    options.add_argument("--name", action="append", default=[], help="NAME=IP:PORT of a backend")
    options.add_argument("--held", action="append", default=[], help="NAME=COUNT of connections held there")
    options.add_argument("--fault", type=float, default=0, help="when it went wrong, in seconds since 1970")
    options.add_argument("--back", type=float, default=0, help="when it was over")
    options.add_argument("--endpoint", action="append", default=[], help="NAME of one that was at fault")
    options = options.parse_args()

    names = dict(reversed(name.split("=", 1)) for name in options.name)
    lines = connection_log(options.log, options.service, names)
    found = series(options.metrics, options.service)
    reports = [json.loads(report) for report in options.report]
    held = {name: int(count) for name, count in (entry.split("=", 1) for entry in options.held)}
    tried = sum(report["tried"] for report in reports)
    failed = sum(report["failed"] for report in reports)
    answers = collections.Counter(held)
    for report in reports:
        answers.update(report["answers"])
    connections = tried + sum(held.values())

    served = [line for line in lines if line.served]
    refused = [line for line in lines if not line.served]
    cut = [line for line in served if not line.answered]
    count = collections.Counter
    decided = by_label(found, "teal_split_decisions_total", "color")
    refused_of = by_label(found, "teal_connection_errors_total", "color")
    spilled_from = by_label(found, "teal_connections_spilled_total", "from")
    spilled_to = by_label(found, "teal_connections_spilled_total", "to")
    served_by = by_label(found, "teal_connections_total", "color")
    expected = [
        ("lines in the log", len(lines), connections),
        ("decisions of the split", decided.total(), connections),
        ("green's share of them", decided["green"], share_of_half(connections, decided["green"])),
        ("served, metrics and log", served_by, count(line.color for line in served)),
        ("refused, metrics and log", by_label(found, "teal_connection_errors_total", "reason"),
         count(line.how for line in refused)),
        ("spilled, metrics and log", spilled_to, count(line.color for line in served if line.elsewhere)),
        ("further tries, metrics and log", by_label(found, "teal_connect_retries_total", "color").total(),
         sum(max(line.tries - 1, 0) for line in lines)),
        ("served by color, and as decided", served_by,
         decided - refused_of - spilled_from + spilled_to),
        ("failed, as clients say, and refused or cut", failed, len(refused) + len(cut)),
        ("answers by backend, as clients say, and log", answers,
         count(line.endpoint for line in served if line.answered)),
    ]
    problems = [f"{what}: {one} and {other}" for what, one, other in expected if one != other]
    for problem in problems:
        print(f"{options.service}: {problem}", file=sys.stderr)

    def until_last(concerned):
        last = max((line.came for line in concerned), default=None)
        if last is None:
            return None
        # Who came just before the end was the last one that could.
        if last > options.back - LASTING_S:
            return f"end + {max(last - options.back, 0):.2f} s"
        return max(last - options.fault, 0)

    after = [line.came - options.back for line in served if line.endpoint in options.endpoint]
    print(json.dumps({
        "tried": tried,
        "failed": failed,
        "refused": len(refused),
        "cut": len(cut),
        "spilled": sum(line.elsewhere for line in lines),
        "retried": sum(max(line.tries - 1, 0) for line in lines),
        "cut_at": count(line.endpoint for line in cut),
        "shares": decided,
        "reasons": count(line.how for line in refused),
        "failure": until_last(refused + cut),
        "felt": until_last(line for line in lines if line.felt),
        "back": min((wait for wait in after if wait >= 0), default=None),
    }))
    sys.exit(bool(problems))


main()
