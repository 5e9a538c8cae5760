"""From samples to a table: medians, spread, and whether each aim is shown to be met."""
import json
import os
import re
import statistics
import subprocess

MARKS = "<!-- benchmark: written by tests/bench --readme -->", "<!-- benchmark: end -->"
TRIM_FROM = 7  # rounds; from there the lowest and the highest figure do not count for the spread


def spread(values):
    """Of an odd lot of noisy figures: from, to."""
    ordered = sorted(values)
    return (ordered[1], ordered[-2]) if len(ordered) >= TRIM_FROM else (ordered[0], ordered[-1])


def judge(values, limit):
    low, high = spread(values)
    return "met" if high <= limit else "missed" if low > limit else "not shown"


def evaluate(aims, samples):
    """Aims whose contestants are all here; the others are "not tried"."""
    rows = []
    for aim in aims:
        row = {"aim": aim.says, "limit": aim.limit, "unit": aim.unit}
        try:
            values = aim.values(samples)
        except KeyError as missing:
            rows.append({**row, "verdict": f"not tried: no {missing.args[0]}"})
            continue
        low, high = spread(values)
        rows.append({**row, "values": values, "median": statistics.median(values), "low": low, "high": high,
                     "verdict": judge(values, aim.limit)})
    return rows


def machine():
    def first(path, pattern, default="?"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return re.search(pattern, file.read(), re.M).group(1).strip()
        except (OSError, AttributeError):
            return default
    flags = first("/proc/cpuinfo", r"^(?:flags|Features)\s*: (.*)", "").split()
    return {
        "cpu": first("/proc/cpuinfo", r"^model name\s*: (.*)", os.uname().machine), "cores": os.cpu_count(),
        "sha_instructions": bool({"sha_ni", "sha2"} & set(flags)),
        "memory_gib": round(int(first("/proc/meminfo", r"^MemTotal: +(\d+)", "0")) / (1 << 20)),
        "kernel": os.uname().release, "system": first("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)'),
    }


def revision():
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False,
                          cwd=os.path.dirname(os.path.abspath(__file__)))
    return said.stdout.strip() or "unknown"


def table(rows, right=()):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) if i in right else cell.ljust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


def number(value):
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def figures_table(cases):
    rows = [["CASE", "PROGRAM", "WALL s", "SPREAD", "CPU s", "PEAK MB", "WRITTEN MiB", "HEAD", "GET"]]
    for case in cases:
        for name, samples in case["samples"].items():
            wall = [sample["wall"] for sample in samples]
            low, high = spread(wall)
            median = {key: statistics.median(sample.get(key, 0) for sample in samples) for key in
                      ("cpu", "rss", "write_bytes", "HEAD", "GET")}
            rows.append([case["case"], name, f"{statistics.median(wall):.3f}", f"{low:.3f}-{high:.3f}",
                         f"{median['cpu']:.3f}", f"{median['rss'] / 1e6:.1f}", f"{median['write_bytes'] / (1 << 20):.1f}",
                         *(f"{median[key]:.0f}" if key in samples[0] else "" for key in ("HEAD", "GET"))])
    return table(rows, right=range(2, 9))


def aims_table(cases):
    rows = [["CASE", "AIM", "MEDIAN", "SPREAD", "VERDICT"]]
    for case in cases:
        for aim in case["aims"]:
            measured = [f"{number(aim['median'])} {aim['unit']}", f"{number(aim['low'])}-{number(aim['high'])}"
                        ] if "median" in aim else ["", ""]
            rows.append([case["case"], aim["aim"], *measured, aim["verdict"]])
    return table(rows, right=(2, 3))


def about(result):
    m, sizes = result["machine"], result["sizes"]
    lines = [f"{result['date']}, {result['revision']}: {m['cores']} cores of {m['cpu']}"
             f"{' with' if m['sha_instructions'] else ' without'} SHA instructions, {m['memory_gib']} GiB, {m['system']}, "
             f"Linux {m['kernel']}; {result['rounds']} rounds; {sizes['unique'] >> 20} MiB of unique blobs in five images, "
             f"big layer {sizes['big'] >> 20} MiB"]
    if result["unquiet"]:
        lines.append(f"Before {result['unquiet']} measurements the disk did not become quiet: somebody else was writing.")
    if result["rounds"] >= TRIM_FROM:
        lines.append("Spread: without the lowest and the highest round. Ratios are taken within a round.")
    return "\n".join(lines)


def text(result):
    return "\n\n".join([about(result), figures_table(result["cases"]), aims_table(result["cases"])]) + "\n"


def peers_table(case):
    """Who took how long for one and the same."""
    known = {"ours": "**warmer**: all hashed, all synced", "curl": "`curl -Z` of the same blobs, then sync: nothing hashed",
             "fork": "kaniko's warmer, living fork", "archived": "kaniko's warmer, archived", "crane": "`crane pull`",
             "skopeo": "`skopeo copy`"}
    lines = [f"| {case['about']} | wall s | CPU s | written MiB |", "|---|---|---|---|"]
    for name, samples in case["samples"].items():
        wall, cpu, written = (statistics.median(sample[key] for sample in samples) for key in ("wall", "cpu", "write_bytes"))
        lines.append(f"| {known.get(name, name)} | {wall:.2f} | {cpu:.2f} | {written / (1 << 20):.0f} |")
    return lines


def markdown(result):
    """For the README."""
    m, sizes = result["machine"], result["sizes"]
    lines = [f"{result['date']}, {m['cores']} cores ({m['cpu']}) shared with the registry, {m['system']}: medians of "
             f"{result['rounds']} rounds, {sizes['unique'] >> 20} MiB of unique blobs in five images.", ""]
    lines += peers_table(result["cases"][0])
    lines += ["", "<details><summary>Each aim, and whether it is met</summary>", "",
              "*Not shown*: the rounds disagree. Ratios are taken within a round.", "",
              "| case | aim | median | spread | |", "|---|---|---|---|---|"]
    for case in result["cases"]:
        for aim in case["aims"]:
            if "median" in aim:
                lines.append(f"| {case['about']} | {aim['aim'].replace('|', chr(92) + '|')} | {number(aim['median'])} {aim['unit']} | "
                             f"{number(aim['low'])} to {number(aim['high'])} | {aim['verdict']} |")
    return "\n".join([*lines, "", "</details>"])


def write_readme(path, result):
    """Between the two marks."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    begin, end = (page.index(mark) for mark in MARKS)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{page[:begin]}{MARKS[0]}\n{markdown(result)}\n{page[end:]}")


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)
