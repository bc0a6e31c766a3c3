"""What tests of the command line share."""

import cli


def refused(words, capsys):
    """What a command that fails says, and nothing else before it."""
    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said
