"""Mutation testing: makes small faults in the code, one at a time, and shows those that no test finds.

`make mutants` runs it. mutmut makes the faults, and notes which tests reach the function of each; these run with the
fault, the quickest first, until one fails. To try all faults takes hours, so a part is chosen at random: ``SEED``
chooses the same part again, and ``COUNT`` says how large it is. docs/testing.md has the score, and what may stay.
"""

import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mutmut import __main__ as mutmut
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from mutmut.workers.isolation import get_mutant_runner


# Less than half an hour on two cores, even if others use them as well.
COUNT = 150
# How much longer than without a fault the tests may take, and how long Python takes to start.
TIMES, START_SECONDS = 3, 30
PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "--rootdir=.", "-p", "no:cacheprovider", "-p", "no:schemathesis")


def main() -> None:
    """Try a part of all faults, and show those that no test finds."""
    os.environ["TEST_BACKENDS"] = "valkey"
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    names = make_all()
    mutmut.collect_or_load_stats(get_mutant_runner())
    chosen = random.Random(seed).sample(names, min(int(os.environ.get("COUNT") or COUNT), len(names)))
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (outcome, by) in zip(chosen, pool.map(try_out, chosen), strict=True):
            outcomes[outcome] += 1
            print(f"{outcome}: {name} {by}", flush=True)
            if outcome == "survived":
                path = Path(*name.split(".")[:-1])
                file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
                print(get_diff_for_mutant(name, path=file), flush=True)
    found = 1 - outcomes["survived"] / len(chosen)
    print(f"{found:.1%} of {len(chosen):,} faults are found: {dict(outcomes)}. There are {len(names):,} in all.")
    print(f"The same ones again: make mutants SEED={seed} COUNT={len(chosen)}")


def make_all() -> list[str]:
    """Make all faults, in a copy of the code, and return their names."""
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    mutmut.create_mutants(max_children=1)
    faults, _ = mutmut.collect_source_file_mutation_data(mutant_names=())
    return sorted(name for _, name, _ in faults)


def try_out(name: str) -> tuple[str, str]:
    """Run the tests that reach a fault, and return what became of it, and by which test."""
    durations = state().duration_by_test
    tests = sorted(
        state().tests_by_mangled_function_name[mangled_name_from_mutant_name(name)], key=durations.__getitem__
    )
    if not tests:
        return "survived", "without any test that reaches it"
    seconds = START_SECONDS + TIMES * sum(map(durations.__getitem__, tests))
    environment = {**os.environ, "MUTANT_UNDER_TEST": name}
    try:
        run = subprocess.run(
            [*PYTEST, *tests],
            cwd="mutants",
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "out of time", ""
    if run.returncode == os.EX_OK:
        return "survived", f"{len(tests):,} tests"
    assert run.returncode != pytest.ExitCode.USAGE_ERROR, run.stderr
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR "))]
    return "found", "".join(failed[:1])


if __name__ == "__main__":
    main()
