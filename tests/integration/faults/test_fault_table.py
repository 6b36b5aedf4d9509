"""Every fault of the table: what a user is told, by which exit code, and how soon."""

import data_faults
import pytest
import study_faults
from fault_table import assert_told, command

FAULTS = [*data_faults.FAULTS, *study_faults.FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    fault.lay(tmp_path)
    assert_told(command(fault.command, encoding=fault.encoding), fault)
