"""Asking what the doctor found."""

from scenes.doctor import Finding


def not_ok(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level != "ok"]


def only(found: list[Finding], level: str, subject: str, text: str) -> Finding:
    """The finding with these, which must be the only one that is not ok."""
    bad = not_ok(found)
    assert [(f.level, f.subject) for f in bad] == [(level, subject)], "\n".join(map(str, bad))
    assert text in str(bad[0])
    return bad[0]


def one(found: list[Finding], level: str, subject: str, text: str) -> None:
    """There is a finding with these."""
    assert any((f.level, f.subject) == (level, subject) and text in str(f) for f in found), "\n".join(map(str, found))
