"""What the terminal shows: a bar on a terminal, plain lines elsewhere."""

import io

from rich.console import Console

from fields.progress import Progress, show
from scenes.measure import HELD_OUT_PSNR, Score


def steps(count):
    for step in range(1, count + 1):
        yield Progress(
            step, count, {"l1": 0.25, "ssim": 0.5}, 0.1 * step, {"Gaussians": 12345}, Score(HELD_OUT_PSNR, 31.234)
        )


def test_plain_lines_where_there_is_no_terminal():
    out = io.StringIO()
    last = show(steps(50), "splats fox", stop=lambda: False, console=Console(file=out, width=200))
    assert last is not None and last.step == 50
    first, *_, end = lines = out.getvalue().splitlines()
    assert len(lines) == 2 and "\x1b" not in out.getvalue()
    assert first.startswith("splats fox  step 1/50")
    for word in (
        "step 50/50",
        "10.0 it/s",
        "0:00 left",
        "loss 0.7500",
        "held-out PSNR 31.23 dB",
        "12,345 Gaussians",
        " MB",
    ):
        assert word in end


def test_the_last_step_is_shown_when_it_is_stopped():
    out, asked = io.StringIO(), iter([False, False, True])
    last = show(steps(50), "t", stop=lambda: next(asked), console=Console(file=out, width=200))
    assert last is not None and last.step == 3
    assert "step 3/50" in out.getvalue().splitlines()[-1]


def test_a_bar_on_a_terminal():
    out = io.StringIO()
    console = Console(file=out, width=160, force_terminal=True, legacy_windows=False)
    show(steps(50), "splats fox", stop=lambda: False, console=console)
    assert "50/50" in out.getvalue() and "held-out PSNR 31.23 dB" in out.getvalue() and "\x1b" in out.getvalue()


def test_eighty_columns_hold_all_of_it():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, legacy_windows=False, no_color=True)
    show(steps(50), "splats lego[red]", stop=lambda: False, console=console)
    for word in (
        "splats lego[red]",
        "50/50",
        "10.0 it/s",
        "0:00 left",
        "held-out PSNR 31.23 dB",
        "12,345 Gaussians",
        " MB",
    ):
        assert word in out.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, _environ={"TERM": "dumb"})
    show(steps(50), "t", stop=lambda: False, console=console)
    assert [line.split("  ")[1] for line in out.getvalue().splitlines()] == ["step 1/50", "step 50/50"]


def test_the_generator_is_closed():
    closed = []

    def run():
        try:
            yield from steps(5)
        finally:
            closed.append(True)

    show(run(), "t", stop=lambda: True, console=Console(quiet=True))
    assert closed == [True]
