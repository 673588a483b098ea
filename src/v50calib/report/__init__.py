"""A run as one HTML page: what was done, every visit ranked by the reasons to distrust it, figures of some."""

from v50calib.report.build import Report, write_report

__all__ = ["Report", "write_report"]
