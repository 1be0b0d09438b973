"""How a probe's report is told to people and to programs."""

from __future__ import annotations

from minid.cli.words import print_table, printable
from minid.formats.probe import Finding
from minid.formats.recipe_lines import show_lines
from minid.workbench.probe_subject import Subject
from minid.workbench.probing import Report


def went_wrong(report: Report) -> bool:
    """Whether the last run did not start, or failed."""
    return report.end is None or report.end.failed


def report_json(subject: Subject, report: Report) -> dict[str, object]:
    """A report as JSON."""
    end = report.end
    return {
        "name": subject.name,
        "recipe": subject.recipe or None,
        "version": subject.version,
        "run": subject.run or None,
        "manifest": subject.manifest or None,
        "of": subject.what,
        "findings": [
            finding_json(finding, number)
            for number, one in enumerate(report.rounds, 1)
            for finding in one.findings
        ],
        "lines": show_lines(report.lines),
        "end": None if end is None else {
            "running": end.alive,
            "exit_code": end.exit_code,
            "background": end.background,
            "output": list(end.output),
            "answers": list(end.answers),
        },
    }  # fmt: skip


def finding_json(finding: Finding, number: int) -> dict[str, object]:
    """A finding as JSON."""
    return {
        "round": number,
        "at_ms": finding.at_ms,
        "kind": finding.kind,
        "what": finding.what,
        "why": finding.why,
        "needed": finding.needed,
        "supplied_by": finding.supplied or None,
        "lines": show_lines(finding.lines),
        "advice": finding.advice or None,
    }


def print_report(subject: Subject, report: Report, *, recipe: str, everything: bool) -> None:
    """A table, the lines for the recipe's file, and how the last run ended."""
    print(printable(f"{subject.name} ({subject.what})"))
    rows = []
    left_out = 0
    for turn, one in enumerate(report.rounds, 1):
        for finding in one.findings:
            if not (finding.needed or finding.supplied or everything):
                left_out += 1
                continue
            rows.append(
                [str(turn), f"{finding.at_ms} ms", finding.kind, finding.what, _words(finding)]
            )
    print_table(["RUN", "AT", "KIND", "WHAT", "WHY"], rows)
    if left_out:
        print(f"{left_out} more that it does without: --all shows them")
    if report.lines:
        print(printable(f"for {recipe or 'a recipe'}:"))
        for line in show_lines(report.lines).splitlines():
            print(printable(f"  {line}".rstrip()))
    print(printable(_end_words(report)))
    end = report.end
    if end is not None and end.failed:
        for line in end.output[-5:]:
            print(printable(f"  | {line}"))


def _words(finding: Finding) -> str:
    words = finding.why if finding.needed or finding.supplied else f"{finding.why} (optional)"
    return f"{words}; {finding.advice}" if finding.advice else words


def _end_words(report: Report) -> str:
    end, given = report.end, "with these lines " if report.lines else ""
    if end is None:
        return f"{given}it does not start"
    if end.alive:
        return f"{given}it runs, and misses nothing" if not report.missing or given else "it runs"
    if end.background:
        return f"{given}it goes to the background, which ends the container"
    return f"{given}it ends with status {end.exit_code}"
