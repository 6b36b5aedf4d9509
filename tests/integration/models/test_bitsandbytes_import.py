"""Nothing is fetched, and nothing said, because bitsandbytes happens to be installed."""

import os
import subprocess
import sys
import textwrap

import pytest
import tiny_study

pytest.importorskip("bitsandbytes")


FAKE = """
import sys

def get_kernel(*_, **__):
    print('FETCHED', file=sys.stderr, flush=True)
    raise OSError
"""


def test_no_kernel_is_fetched_as_it_is_imported(tmp_path):
    (tmp_path / "kernels.py").write_text(FAKE)
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from alignstudy.methods.faults import quiet_libraries
        with quiet_libraries():
            import alignstudy.methods.loop.trl_adapter
        import bitsandbytes, kernels
        assert kernels.get_kernel
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_check_fetches_none_either(tmp_path):
    """It shows rows as a trainer's collator makes them."""
    (tmp_path / "kernels.py").write_text(FAKE)
    study = tiny_study.write_study(tmp_path / "study.yaml")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    done = tiny_study.cli("check", study, home=tmp_path / "home", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "FETCHED" not in done.stderr
    assert "kernels" not in done.stderr
