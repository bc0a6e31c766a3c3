"""Recording launches, judging what a compiled kernel needs, and the rules that every Triton kernel keeps."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels.compile import MOST_SPILLED, SHARED_LIMIT, Resources, operators
from kernels.composite.cases import cases as composite_cases
from kernels.launch import recording

KERNELS = Path(__file__).parents[2] / "kernels"


def needs(arch=90, registers=64, stack=0, shared=1024):
    return Resources("op", "kernel", "", arch, registers, stack, shared).problem()


def test_what_may_not_ship():
    assert needs() is None
    for arch, limit in SHARED_LIMIT.items():
        assert needs(arch=arch, shared=limit) is None
        assert "shared memory" in needs(arch=arch, shared=limit + 1)
        assert needs(arch=arch, stack=MOST_SPILLED[arch]) is None
        assert "spilled" in needs(arch=arch, stack=MOST_SPILLED[arch] + 8)
    assert "made nothing" in needs(registers=4)


def test_launches_are_recorded_as_they_are_made():
    from kernels.composite import composite

    case = composite_cases()["3 channels"]
    with recording() as launches:
        composite(**case.inputs, threshold=case.threshold, backend="gpu")
    assert launches and all(launch.module == "kernels.composite.gpu" for launch in launches)
    types = dict(launches[0].signature)
    assert "*fp32" in types.values() and "*i64" in types.values()
    assert not {name for name, _ in launches[0].signature} & {name for name, _ in launches[0].constants}
    composite(**case.inputs, threshold=case.threshold, backend="gpu")
    assert len(launches) == len(dict.fromkeys(launches))


@pytest.mark.parametrize("operator", ["distance"])
def test_compiles_ahead_of_time_without_a_gpu(operator):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "kernels.compile", "--op", operator, "--arch", "80", "90"]
    done = subprocess.run(command, cwd=KERNELS.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| distance | pass_kernel |" in done.stdout and "sm_90" in done.stdout


def jitted(path):
    """The Triton functions of a file that are launched: those that ask which program they are."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any("jit" in ast.unparse(d) for d in node.decorator_list):
            yield node


@pytest.mark.parametrize("operator", operators())
def test_kernels_count_in_64_bits_and_are_launched_by_launch(operator):
    """A program's number times a stride must not overflow: it is widened; and no kernel is called but by launch."""
    for path in (KERNELS / operator).glob("gpu*.py"):
        text = path.read_text()
        functions = [ast.unparse(node) for node in jitted(path)]
        if any("program_id" in function for function in functions):
            assert any(".to(tl.int64)" in function for function in functions), path
        assert "[grid]" not in text and ".run(" not in text, path


def test_every_operator_has_all_its_parts():
    for folder in sorted(path.parent for path in KERNELS.glob("*/reference.py")):
        names = {path.name for path in folder.iterdir()}
        assert {"__init__.py", "reference.py", "cpu.py", "cpu.cpp", "gpu.py", "cases.py", "work.py"} <= names, folder
        assert (Path(__file__).parent / f"test_{folder.name}.py").exists(), folder


def test_backend_gpu_wants_a_gpu_or_the_interpreter(monkeypatch):
    from kernels.dispatch import choose_backend

    monkeypatch.setenv("TRITON_INTERPRET", "0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="CUDA device"):
            choose_backend(torch.zeros(1), "gpu")
    with pytest.raises(ValueError, match="float32"):
        choose_backend(torch.zeros(1).double(), "gpu")
