"""Configuration of photometry: what each key may say, and its default."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import InstrumentWord, QualityChecks, Section, SeriesStageConfig


class InstrumentChoice(Section):
    """name: all, FGS1, AIRS (AIRS-CH0) or an instrument of the root's detector.yaml."""

    name: InstrumentWord = "all"
    per_channel: bool | None = None


class Track(Section):
    """max_step_px: a position further than this from the median of its neighbours is interpolated and flagged;
    smooth_window: pairs in a running mean of the positions (1: none)."""

    enabled: bool = False
    max_step_px: float = Field(default=1.0, gt=0)
    smooth_window: int = Field(default=1, ge=1)


class Centroid(Section):
    """roi: [first row, last row + 1, first column, last column + 1]; null: the aperture (barycenter), else ±6 px about the star."""

    enabled: bool = True
    method: Literal["barycenter", "gaussian2d", "quadratic", "peak", "phase_corr", "none"] = "barycenter"
    roi: list[int] | None = None
    track: Track = Track()

    @model_validator(mode="after")
    def _box(self) -> Centroid:
        roi = self.roi
        if roi is not None and not (len(roi) == 4 and 0 <= roi[0] <= roi[1] - 3 and 0 <= roi[2] <= roi[3] - 3):
            raise ValueError(f"centroid.roi is {roi}: write [first row, last row + 1, first column, last column + 1], at least 3 x 3 px")
        return self

    @property
    def chosen(self) -> str:
        """The method, `none` where centroids are off."""
        return self.method if self.enabled else "none"

    @property
    def measured(self) -> bool:
        """Whether positions are measured at all."""
        return self.chosen != "none"


class Method(Section):
    method: Literal["auto", "aperture", "psf", "optimal"] = "auto"


class Ellipse(Section):
    """Semi-axes; theta_deg turns `a` from +x towards +y."""

    a_px: float = Field(default=8.0, gt=0)
    b_px: float = Field(default=6.0, gt=0)
    theta_deg: float = 0.0


class Box(Section):
    height_px: float = Field(default=12.0, gt=0)
    width_px: float = Field(default=12.0, gt=0)


class ApertureCorrection(Section):
    """Divide by the share of the mean PSF inside the aperture: a constant factor, so it never changes a depth."""

    enabled: bool = False
    model: Literal["empirical", "gaussian"] = "empirical"


class Aperture(Section):
    """mask_treatment: `fill` estimates masked pixels, `omit` leaves them out of the sum as the host does, `rescale` leaves
    them out and scales the sum by the mean image's share that is left."""

    shape: Literal["circular", "elliptical", "box"] = "circular"
    radius_px: float = Field(default=7.0, gt=0)
    ellipse: Ellipse = Ellipse()
    box: Box = Box()
    edge_sampling: Literal["exact", "centre", "subpixel"] = "exact"
    subpixels: int = Field(default=5, ge=1, le=64)
    recenter_on_centroid: bool = False
    aperture_correction: ApertureCorrection = ApertureCorrection()
    mask_treatment: Literal["fill", "omit", "rescale"] = "fill"

    @model_validator(mode="after")
    def _moving_apertures_fill(self) -> Aperture:
        if self.recenter_on_centroid and self.mask_treatment != "fill":
            raise ValueError(
                f"aperture.recenter_on_centroid with mask_treatment={self.mask_treatment}: a masked pixel would move through the aperture; "
                "use mask_treatment=fill"
            )
        return self

    @property
    def samples(self) -> int:
        """Sub-pixels a side of the edges' sampling; 0: exact areas."""
        return {"exact": 0, "centre": 1, "subpixel": self.subpixels}[self.edge_sampling]

    @property
    def half_height_px(self) -> float:
        """Half the height of the strip that the aperture is on a spectrum."""
        return self.radius_px if self.shape == "circular" else self.box.height_px / 2

    @property
    def omits_masked(self) -> bool:
        """Whether the light of masked pixels is left out, and nothing makes up for it."""
        return self.mask_treatment == "omit"


class Columns(Section):
    """smooth_columns: running mean of the background along wavelength; it has no lines, and its noise would
    otherwise enter every pixel of the aperture at once."""

    edge_rows: int = Field(default=8, ge=1)
    smooth_columns: int = Field(default=15, ge=1)


class Annulus(Section):
    inner_px: float = Field(default=10.0, gt=0)
    outer_px: float = Field(default=20.0, gt=0)


class Mesh(Section):
    box_height_px: int = Field(default=8, ge=2)
    box_width_px: int = Field(default=8, ge=2)
    statistic: Literal["mean", "median", "biweight"] = "median"


class Poly2d(Section):
    degree: int = Field(default=1, ge=0, le=4)


class Spline2d(Section):
    intervals: int = Field(default=3, ge=1, le=8)
    smoothing_lambda: float = Field(default=1.0, gt=0)


class SkyClip(Section):
    """Rejection of sky pixels in each frame; null keeps the background one weighted sum."""

    sigma_clip: float | None = Field(default=None, gt=0)
    max_iters: int = Field(default=5, ge=1)


class Background(Section):
    """smooth_s: length of the running mean in time. Short against ingress, so the star's own wings in the
    background region follow the transit and the depth stays unbiased; long against a pair, so it adds no noise."""

    method: Literal["auto", "columns", "annulus", "mesh", "poly2d", "spline2d", "none"] = "auto"
    columns: Columns = Columns()
    annulus: Annulus = Annulus()
    mesh: Mesh = Mesh()
    poly2d: Poly2d = Poly2d()
    spline2d: Spline2d = Spline2d()
    robust: SkyClip = SkyClip()
    smooth_s: float = Field(default=150.0, ge=0)


class PsfBounds(Section):
    """Limits of the shape fitted to the mean frame, and of a pair's shift against it."""

    min_width_px: float = Field(default=0.3, gt=0)
    max_width_px: float = Field(default=6.0, gt=0)
    min_beta: float = Field(default=1.05, gt=1)
    max_beta: float = Field(default=20.0, gt=1)
    max_shift_px: float = Field(default=2.0, gt=0)


class PsfInit(Section):
    width_px: float = Field(default=1.2, gt=0)
    beta: float = Field(default=2.5, gt=1)


class Psf(Section):
    """mode: `fit` flux and place in each pair, or `matched_filter` with the PSF fixed in the mean frame.
    kernel_path: an .npy image of the PSF at detector sampling, centred in its array, for model=empirical."""

    mode: Literal["fit", "matched_filter"] = "fit"
    model: Literal["gaussian", "moffat", "empirical"] = "empirical"
    kernel_path: str | None = None
    fit_window: int = Field(default=6, ge=2)
    bounds: PsfBounds = PsfBounds()
    init: PsfInit = PsfInit()

    @model_validator(mode="after")
    def _kernel_needs_empirical(self) -> Psf:
        if self.kernel_path is not None and self.model != "empirical":
            raise ValueError(f"psf.kernel_path is an image and goes with psf.model=empirical, but the model is {self.model}")
        if self.bounds.min_width_px >= self.bounds.max_width_px or self.bounds.min_beta >= self.bounds.max_beta:
            raise ValueError("psf.bounds: each minimum must be smaller than its maximum")
        return self


class Window(Section):
    half_height_px: int = Field(default=8, ge=2)


class TraceLine(Section):
    """How the centre of each column is measured in the mean frame, and what is fitted through the centres."""

    measure: Literal["moment", "gaussian"] = "gaussian"
    degree: int = Field(default=2, ge=0, le=6)
    knots: int = Field(default=4, ge=1, le=20)


class Profile(Section):
    """refit: after the first fit, pixels of the mean frame off the profile are rejected and it is fitted again."""

    model: Literal["empirical", "gaussian"] = "empirical"
    degree: int = Field(default=5, ge=0, le=12)
    refit: bool = False
    variance_weighted: bool = True


class PixelClip(Section):
    """Horne's rejection of pixels in each pair; jitter_px: motion of the star that must not look like a hit."""

    sigma_clip: float | None = Field(default=None, gt=0)
    max_iters: int = Field(default=4, ge=1)
    jitter_px: float = Field(default=0.3, ge=0)


class Optimal(Section):
    trace_model: Literal["fixed_row", "centerline_poly", "centerline_spline"] = "fixed_row"
    trace: TraceLine = TraceLine()
    window: Window = Window()
    profile: Profile = Profile()
    robust: PixelClip = PixelClip()

    @property
    def straight(self) -> bool:
        """Whether the spectrum is taken to lie along one row."""
        return self.trace_model == "fixed_row"


class NoiseModel(Section):
    """flat_error: relative 1-sigma error of the flat of one pixel; it enters the noise ledger, and no variance, because a
    constant error becomes noise only as the star moves over it. null: not known, as for the challenge's flat."""

    flat_error: float | None = Field(default=None, ge=0)
    read_noise: float | None = Field(default=None, gt=0)
    include_shot_noise: bool = True
    include_background_var: bool = True


class OutlierReplace(Section):
    enabled: bool = True
    threshold_sigma: float = Field(default=8.0, gt=0)


class Save(Section):
    """Which variables the stored product keeps."""

    flux: bool = True
    variance: bool = True
    background: bool = True
    centroids: bool = True


class PhotometryOutput(Section):
    """flux_units: of photometry, its variances and background in the product; the series stages work in e-."""

    flux_units: Literal["e", "e_per_s", "ADU"] = "e"
    save: Save = Save()


class FlagThresholds(Section):
    """Thresholds beyond which samples are flagged; null: no check. Nothing is changed but the flags.

    excessive_bkg    sigma of a pair's background above its median -> OUTLIER
    off_center       px of a pair from the visit's median position -> OUTLIER
    too_many_replaced  share of a channel's light in estimated pixels -> DO_NOT_USE
    low_snr          median signal-to-noise of a channel's pairs -> DO_NOT_USE
    """

    saturation: bool = True
    excessive_bkg: float | None = Field(default=None, gt=0)
    off_center: float | None = Field(default=None, gt=0)
    too_many_replaced: float | None = Field(default=None, ge=0)
    low_snr: float | None = Field(default=None, gt=0)


class PhotometryIO(Section):
    """Variables that the stage reads and writes."""

    input_key: Literal["cds_corrected"] = "cds_corrected"
    output_key: Literal["photometry"] = "photometry"


class PhotometryQuality(QualityChecks):
    """Bounds of the light curves: shares of their samples, and the way of the star between the visit's first and last tenth."""

    max_nonfinite_fraction: float = Field(default=0.05, ge=0, le=1)
    max_outlier_fraction: float = Field(default=0.01, ge=0, le=1)
    max_saturated_fraction: float = Field(default=0.01, ge=0, le=1)
    max_drift_px: float = Field(default=2.0, gt=0)


class PhotometryConfig(SeriesStageConfig):
    io: PhotometryIO = PhotometryIO()
    instrument: InstrumentChoice = InstrumentChoice()
    centroid: Centroid = Centroid()
    photometry: Method = Method()
    aperture: Aperture = Aperture()
    background: Background = Background()
    psf: Psf = Psf()
    optimal: Optimal = Optimal()
    noise_model: NoiseModel = NoiseModel()
    outlier_replace: OutlierReplace = OutlierReplace()
    output: PhotometryOutput = PhotometryOutput()
    flags: FlagThresholds = FlagThresholds()
    quality_checks: PhotometryQuality = PhotometryQuality()
