#!/usr/bin/env python3
"""Makes the committed Prometheus files run in seconds on one machine, and nothing else.

    rewrite.py FROM TO [--scale 30] [--targets FILE] [--replace OLD=NEW]...
    rewrite.py FROM TO --check ...          compares what is there; same options

FROM is k8s/monitoring; its *.yml files are written to TO under their names. Changed are:
  durations   divided by --scale, wherever Prometheus reads one: 5m becomes 10s
  discovery   the Kubernetes block becomes file discovery from --targets, which gives the __meta_kubernetes_*
              labels itself, so the committed relabelling is what runs
  addresses and paths, as given by --replace

Every run ends with the comparison. It shares no pattern with the rewriting: the two files must be the same
token for token, except that a duration may be --scale times smaller and what --targets and --replace name.
Exit code 1 says what else differs.
"""
import argparse
import pathlib
import re
import sys

DISCOVERY = "kubernetes_sd_configs:"
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def milliseconds(text):
    return sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdw])", text))


def divided(text, scale):
    ms, rest = divmod(milliseconds(text), scale)
    if rest or not ms:
        raise ValueError(f"{text}: expected a whole number of milliseconds after division by {scale}")
    unit = max((u for u in UNITS if ms % UNITS[u] == 0), key=UNITS.get)
    return f"{ms // UNITS[unit]}{unit}"


def rewrite(text, options):
    # In YAML the values of the keys that hold durations, in PromQL ranges, subqueries and offsets.
    for pattern in (r"(?m)(?<=: )((?:\d+(?:ms|[smhdw]))+)$",
                    r"(?<=\[)((?:\d+(?:ms|[smhdw]))+)(?=\])",
                    r"(?<=\boffset )((?:\d+(?:ms|[smhdw]))+)\b"):
        text = re.sub(pattern, lambda m: divided(m.group(), options.scale), text)
    text = re.sub(rf"(?m)^( +){DISCOVERY}\n(?:\1 .*\n)+",
                  lambda m: f"{m[1]}file_sd_configs:\n{m[1]}  - files: ['{options.targets}']\n", text)
    for old, new in options.replace:
        text = text.replace(old, new)
    return text


def without_discovery(lines):
    """The lines without the block that says where targets come from."""
    kept, inside = [], None
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if inside is not None and line.strip() and depth > inside:
            continue
        inside = depth if re.fullmatch(r"\s*\w+_sd_configs:", line) else None
        if inside is None:
            kept.append(line)
    return kept


def differences(committed, rewritten, options):
    """Yields one sentence for each difference that is not allowed."""
    old, new = (without_discovery(text.split("\n")) for text in (committed, rewritten))
    if len(old) != len(new):
        yield f"expected {len(old)} lines beside discovery, got {len(new)}"
        return
    for a, b in zip(old, new):
        for before, after in options.replace:
            a = a.replace(before, after)
        words, changed = re.findall(r"\w+|\W", a), re.findall(r"\w+|\W", b)
        same = len(words) == len(changed) and all(
            x == y or (x[0].isdigit() and y[0].isdigit() and x[-1] in "smhdw"
                       and milliseconds(x) == options.scale * milliseconds(y))
            for x, y in zip(words, changed))
        # A duration that was left as it was would make an alert wait 30 times too long.
        left = [x for x in re.findall(r"(?<=\[)\d+\w+(?=\])|(?<=: )\d+[smhdw]+$", b) if x in words]
        if not same or left:
            yield f"expected {a.strip()!r} but for durations, got {b.strip()!r}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--scale", type=int, default=30)
    parser.add_argument("--targets", default="targets.json")
    parser.add_argument("--replace", action="append", default=[], type=lambda s: s.split("=", 1))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    failed = False
    for path in sorted(options.source.rglob("*.yml")):
        name = path.relative_to(options.source)
        out = options.out / name
        if not options.check:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(rewrite(path.read_text(), options))
        for difference in differences(path.read_text(), out.read_text(), options):
            print(f"{name}: {difference}", file=sys.stderr)
            failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main())
