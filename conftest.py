"""Settings of the notebook checks, so that plain ``pytest --nbval`` does the right thing."""

import pytest

CELL_TIMEOUT = 120  # seconds; nbval's own limit is over half an hour


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("nbval"):
        return
    # The kernel is the environment that pytest runs in, whatever kernel a notebook was last saved with.
    config.option.nbval_current_env = config.option.nbval_kernel_name is None
    config.option.nbval_cell_timeout = min(config.option.nbval_cell_timeout, CELL_TIMEOUT)
