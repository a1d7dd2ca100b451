"""The table: medians, how many times faster berth is, and the target beside it."""
import json
import os
import platform


class Table:
    """Collects rows and prints each as it comes, so that a long run can be watched."""

    def __init__(self, options):
        self.options, self.rows = options, []
        heads = "".join(f"{name:>12}" for name in options.tools)
        ratios = "".join(f"{name + '/berth':>14}" for name in options.tools if name != "berth")
        print(f"{'median of ' + str(options.rounds) + ' rounds':<36}{heads}{ratios}  target")

    def row(self, what, unit, medians, faster=None, most=None, least=None):
        """One measure. `faster`: {peer: times}; `most` and `least`: what berth itself must keep to."""
        ours = medians.get("berth")
        ratios = {name: value / ours for name, value in medians.items() if ours and name != "berth"}
        verdicts = [(f"≥ {times}× {peer}", ratios.get(peer), lambda r, t=times: r >= t) for peer, times in (faster or {}).items()]
        verdicts += [(f"≤ {show(most, unit)}", ours, lambda v: v <= most)] if most is not None else []
        verdicts += [(f"≥ {show(least, unit)}", ours, lambda v: v >= least)] if least is not None else []
        target = ", ".join(f"{text} {mark(value, holds)}" for text, value, holds in verdicts)
        cells = "".join(f"{show(medians.get(name), unit):>12}" for name in self.options.tools)
        shown = "".join(
            f"{'' if name not in ratios else format(ratios[name], '.1f') + '×':>14}"
            for name in self.options.tools if name != "berth"
        )
        print(f"{what:<36}{cells}{shown}  {target}", flush=True)
        self.rows.append({"what": what, "unit": unit, "medians": medians, "ratios": ratios, "target": target})

    def others(self, what, unit, medians, most_of):
        """A measure of other contenders than the table's: each with its name, berth not above that of `most_of`."""
        ours, theirs = medians.get("berth"), medians.get(most_of)
        cells = "   ".join(f"{name} {show(value, unit)}" for name, value in medians.items())
        holds = None if ours is None or theirs is None else ours / theirs
        target = f"≤ 1.0× {most_of} {mark(holds, lambda ratio: ratio <= 1)}"
        ratio = "" if holds is None else f"   {1 / holds:.2f}× {most_of}/berth"
        print(f"{what:<36}  {cells}{ratio}  {target}", flush=True)
        self.rows.append({"what": what, "unit": unit, "medians": medians, "target": target})

    def finish(self, contenders, name="images"):
        about = {
            "machine": f"{os.cpu_count()} cores, Linux {platform.release()}", "rounds": self.options.rounds,
            "versions": {tool.name: tool.version() for tool in contenders},
        }
        print(f"\n{about['machine']}; " + "; ".join(about["versions"].values()))
        path = self.options.work / f"{name}.json"
        path.write_text(json.dumps(about | {"rows": self.rows}, indent=1, ensure_ascii=False))
        print(f"also in {path}")


def mark(value, holds):
    return "(not measured)" if value is None else "✓" if holds(value) else "✗"


def show(value, unit):
    if value is None:
        return "failed"
    if unit == "s":
        return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.2f} {unit}" if value < 10 else f"{value:.0f} {unit}"
