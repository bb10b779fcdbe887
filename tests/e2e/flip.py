"""Changes weights at a steady rate by rename, and checks the split over every interval.

For change i: scrape (A), rename the new file over the old one, wait until teal counts the reload as
applied, scrape again (B). Between B of one change and A of the next exactly one set of weights was in
effect, so what was decided there must match these weights:

- a window of one life of a split is the difference of two prefixes, each within 1/2 of its share (two
  colors), so it is within 1;
- a scrape reads the counters of both colors at one moment, but a decision is counted a moment after it is
  made: at each of the two scrapes one connection of each worker may be on one side only (SLACK).

What was decided between A and B belongs to either of the two sets of weights; it may lie anywhere
between the two shares, and no further. The windows' errors need not cancel out, as what a color is owed
at a change is paid back before B; that no color is favoured over many changes is tested where every life
of a split can be counted whole (balance::split). Here their mean may be half a connection.
"""

import argparse
import http.client
import os
import re
import sys
import time
import urllib.parse

# Weights of (blue, green): short and long cycles, both zeros, and big steps.
WEIGHTS = [(97, 3), (3, 97), (50, 50), (100, 0), (1, 999), (0, 100), (70, 30), (999, 1), (25, 75), (2, 1)]
# Two scrapes; as many workers as cores.
SLACK = 2 * os.cpu_count()
APPLIED_DEADLINE = 5.0


class Metrics:
    """Reads teal's metrics over one connection that is kept."""

    def __init__(self, url, service):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=5)
        self.path = parts.path
        self.service = f'service="{service}"'

    def read(self):
        """(decided blue, decided green, reloads applied)"""
        self.connection.request("GET", self.path)
        text = self.connection.getresponse().read().decode()
        decided = {"blue": 0, "green": 0}
        applied = 0
        for line in text.splitlines():
            found = re.match(r"(teal_split_decisions_total|teal_config_reloads_total)\{(.*)\} (\S+)$", line)
            if not found:
                continue
            name, labels, value = found.groups()
            if name == "teal_config_reloads_total":
                applied += int(float(value)) if 'result="applied"' in labels else 0
            elif self.service in labels:
                for color in decided:
                    decided[color] += int(float(value)) if f'color="{color}"' in labels else 0
        return decided["blue"], decided["green"], applied


def rename_in(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def main():
    options = argparse.ArgumentParser()
    for name in ("config", "template", "service", "metrics"):
        options.add_argument("--" + name, required=True)
    options.add_argument("--rate", type=float, required=True)
    options.add_argument("--changes", type=int, required=True)
    options = options.parse_args()
    with open(options.template, encoding="utf-8") as file:
        template = file.read()
    metrics = Metrics(options.metrics, options.service)

    problems, slowest, late = [], 0.0, 0
    in_windows, off_in_sum, unclear, worst = 0, 0.0, 0, 0.0
    last, share = None, None
    begin = time.monotonic()
    for change in range(options.changes):
        due = begin + change / options.rate
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        elif pause < -1 / options.rate:
            late += 1
        blue, green = WEIGHTS[change % len(WEIGHTS)]
        before = metrics.read()
        if last is not None:
            window = (before[0] - last[0], before[1] - last[1])
            number = sum(window)
            off = window[1] - number * share
            worst = max(worst, abs(off))
            in_windows += number
            off_in_sum += off
            if abs(off) > 1 + SLACK:
                problems.append(f"change {change}: {window} decided at green's share {share:.3f}: off by {off:.2f}")
        renamed = time.monotonic()
        rename_in(options.config, template.replace("@BLUE@", str(blue)).replace("@GREEN@", str(green)))
        while True:
            after = metrics.read()
            if after[2] > before[2]:
                break
            if time.monotonic() - renamed > APPLIED_DEADLINE:
                sys.exit(f"change {change}: not applied within {APPLIED_DEADLINE} s")
        slowest = max(slowest, time.monotonic() - renamed)
        if after[2] != before[2] + 1:
            problems.append(f"change {change}: counted {after[2] - before[2]} times")
        old, share = share, green / (blue + green)
        mixed = sum(after[:2]) - sum(before[:2])
        if old is not None:
            unclear += mixed
            green_got = after[1] - before[1]
            least, most = mixed * min(old, share), mixed * max(old, share)
            if max(least - green_got, green_got - most) > 2 + SLACK:
                problems.append(f"change {change}: green got {green_got} of {mixed} at the change")
        last = after
    if abs(off_in_sum) > 1 + SLACK + options.changes / 2:
        problems.append(f"the windows add up to {off_in_sum:.1f} too many for green")

    print(
        f"{options.changes} changes in {time.monotonic() - begin:.1f} s, {late} of them late; "
        f"rename to seen in effect at most {slowest * 1000:.0f} ms; {in_windows} decisions in exact windows, "
        f"worst window off by {worst:.2f}, all together by {off_in_sum:+.2f}; {unclear} at the changes"
    )
    for problem in problems[:20]:
        print("  " + problem)
    sys.exit(bool(problems))


main()
