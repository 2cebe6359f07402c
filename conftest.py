"""Settings of the notebook checks, so that plain ``pytest --nbval`` does the right thing."""

import os
from pathlib import Path

import pytest

LONGEST = ("tests/test_course_robot.py", "tests/test_course_proofs.py")
CELL_TIMEOUT = 120  # seconds; nbval's own limit is over half an hour


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("nbval"):
        return
    # The kernel is the environment that pytest runs in, whatever kernel a notebook was last saved with.
    config.option.nbval_current_env = config.option.nbval_kernel_name is None
    # Pictures must come as output of their cells, as they do in Jupyter.
    os.environ.pop("MPLBACKEND", None)
    config.option.nbval_cell_timeout = min(config.option.nbval_cell_timeout, CELL_TIMEOUT)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Solutions must print what they printed when they were made; chapters, full of stubs, must run to their end."""
    if type(collector).__name__ != "IPyNbFile":
        return
    collector.compare_outputs = Path(collector.path).parent.name == "solutions"
    # Pictures and sound depend on the versions of their libraries, warnings on the machine.
    collector.skip_compare = (*collector.skip_compare, "stderr", "image/png", "image/svg+xml", "text/html")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with what takes longest come first, so that no process is left alone with one in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.nodeid.startswith(LONGEST), item.path not in slow))
