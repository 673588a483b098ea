"""`python -m v50calib`: the command line without a console script on the path."""

from __future__ import annotations

from v50calib.cli.main import main

if __name__ == "__main__":
    main(prog_name="v50calib")
