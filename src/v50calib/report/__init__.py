"""A run as one HTML page: what was done, every visit ranked by how far it is to be trusted, figures of some."""

from v50calib.report.build import Report, write_report

__all__ = ["Report", "write_report"]
