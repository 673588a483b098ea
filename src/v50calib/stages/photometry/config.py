"""Config of `calib.photometry`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from v50calib.methods.choice import OPTIONS, Registered, options_of
from v50calib.stages.config import (
    PIXEL_RADIUS,
    InstrumentWord,
    Io,
    Section,
    SeriesQualityChecks,
    SeriesStageConfig,
    cover_a_pixel,
    in_order,
)

_Io = Io[Literal["cds_corrected"], Literal["photometry"]]


class InstrumentChoice(Section):
    """Which instrument, and whether its channels are summed one by one."""

    name: InstrumentWord = Field(default="all", description="restricts the run to one instrument; text: one of the root's detector.yaml")
    per_channel: bool | None = Field(default=None, description="sum each channel by itself; null: as the instrument is; false: one band")


class Track(Section):
    """Jumps of the measured positions."""

    enabled: bool = Field(default=False, description="interpolate and flag positions that jump")
    max_step_px: float = Field(
        default=1.0, gt=0, description="largest distance from the median of five neighbours; also how far an aperture may follow the star"
    )
    smooth_window: int = Field(default=1, ge=1, description="pairs in a running mean of the positions; 1: none")


class Centroid(Section):
    """Where the star is in each pair."""

    enabled: bool = Field(default=True, description="measure positions; false: as method=none")
    method: Literal["barycenter", "gaussian2d", "quadratic", "peak", "phase_corr", "none"] = Field(
        default="barycenter", description="AIRS-CH0 takes `barycenter`, `phase_corr` or `none`; its x is the spectrum's shift"
    )
    roi: list[int] | None = Field(
        default=None, description="[first row, last row + 1, first column, last column + 1]; null: the aperture, or ±6 px about the star"
    )
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
    """How pixels become flux."""

    method: Literal["auto", "aperture", "psf", "optimal"] | Annotated[str, Registered("photometry.photometry")] = Field(
        default="auto", description="`auto`: optimal for AIRS-CH0, aperture for FGS1"
    )
    options: Annotated[dict[str, Any], options_of("photometry.photometry")] = Field(default={}, validate_default=True, description=OPTIONS)


class Ellipse(Section):
    """Semi-axes and angle, with shape=elliptical."""

    a_px: float = Field(default=8.0, gt=0, description="semi-axis, along x at theta_deg=0")
    b_px: float = Field(default=6.0, gt=0, description="semi-axis, along y at theta_deg=0")
    theta_deg: float = Field(default=0.0, description="angle of a_px from +x towards +y")


class Box(Section):
    """A rectangle, with shape=box."""

    height_px: float = Field(default=12.0, gt=0, description="height, with shape=box")
    width_px: float = Field(default=12.0, gt=0, description="width, with shape=box (FGS1)")


class ApertureCorrection(Section):
    """The light outside the aperture."""

    enabled: bool = Field(default=False, description="divide by the mean PSF's share inside: a constant, so depths do not change")
    model: Literal["empirical", "gaussian"] = Field(
        default="empirical", description="the mean frame up to the detector's edge; `gaussian`: a fitted Gaussian's plane (FGS1)"
    )


class Aperture(Section):
    """The pixels that are summed."""

    shape: Literal["circular", "elliptical", "box"] = Field(
        default="circular", description="`box`: height_px x width_px; AIRS-CH0 uses the height"
    )
    radius_px: float = Field(default=7.0, gt=0, description="FGS1: circle; AIRS-CH0: half height of the strip")
    ellipse: Ellipse = Ellipse()
    box: Box = Box()
    edge_sampling: Literal["exact", "centre", "subpixel"] = Field(
        default="exact", description="`exact`: areas; `centre`: whole pixels; `subpixel`: by sub-pixel centres"
    )
    subpixels: int = Field(default=5, ge=1, le=64, description="sub-pixels along each side of a pixel, with edge_sampling=subpixel")
    recenter_on_centroid: bool = Field(default=False, description="the aperture follows the star pair by pair")
    aperture_correction: ApertureCorrection = ApertureCorrection()
    mask_treatment: Literal["fill", "omit", "rescale"] = Field(
        default="fill",
        description="masked pixels: `fill` estimates them; `omit` leaves them out, as the challenge's procedure does; "
        "`rescale` leaves them out and scales the sum by the mean image's share that is left",
    )

    @model_validator(mode="after")
    def _covers(self) -> Aperture:
        round_ones = {"aperture.radius_px": self.radius_px, "ellipse.a_px": self.ellipse.a_px, "ellipse.b_px": self.ellipse.b_px}
        cover_a_pixel(PIXEL_RADIUS, round_ones)
        cover_a_pixel(1.0, {"box.height_px": self.box.height_px, "box.width_px": self.box.width_px})
        return self

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
        """Sub-pixels along each side of a pixel where an edge is sampled; 0: exact areas."""
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
    """Background of each column from its edge rows."""

    edge_rows: int = Field(default=8, ge=1, description="rows at the top and at the bottom")
    smooth_columns: int = Field(default=15, ge=1, description="columns in the running mean along wavelength; 1: none")


class Annulus(Section):
    """Background from a ring about the star."""

    inner_px: float = Field(default=10.0, gt=0, description="inner radius about the star")
    outer_px: float = Field(default=20.0, gt=0, description="outer radius about the star")


class Mesh(Section):
    """Background from boxes of sky pixels, and a thin-plate spline through them."""

    box_height_px: int = Field(default=8, ge=2, description="height of a box of sky pixels")
    box_width_px: int = Field(default=8, ge=2, description="width of a box of sky pixels")
    statistic: Literal["mean", "median", "biweight"] = Field(
        default="median", description="value of a box; with `mean` the background stays one weighted sum"
    )


class Poly2d(Section):
    """Background as a polynomial surface."""

    degree: int = Field(default=1, ge=0, le=4, description="total degree in y and x")


class Spline2d(Section):
    """Background as a surface of cubic B-splines."""

    intervals: int = Field(default=3, ge=1, le=8, description="intervals of the cubic splines along each axis")
    smoothing_lambda: float = Field(default=1.0, gt=0, description="penalty on second differences")


class SkyClip(Section):
    """Rejection of sky pixels in each frame."""

    sigma_clip: float | None = Field(
        default=None, gt=0, description="reject sky pixels in each frame; null: none, and the background stays one weighted sum"
    )
    max_iters: int = Field(default=5, ge=1, description="iterations of the clip")


class Background(Section):
    """The background under the star.

    `smooth_s` is short against ingress, so the star's own wings in the background region follow the transit and the depth
    stays unbiased; and long against a pair, so it adds no noise. `columns.smooth_columns` may be wide since the background
    has no lines, and a column's own noise would enter every pixel of the aperture at once.
    """

    method: (
        Literal["auto", "columns", "annulus", "mesh", "poly2d", "spline2d", "none"] | Annotated[str, Registered("photometry.background")]
    ) = Field(default="auto", description="`auto`: columns for AIRS-CH0, annulus for FGS1")
    options: Annotated[dict[str, Any], options_of("photometry.background")] = Field(default={}, validate_default=True, description=OPTIONS)
    columns: Columns = Columns()
    annulus: Annulus = Annulus()
    mesh: Mesh = Mesh()
    poly2d: Poly2d = Poly2d()
    spline2d: Spline2d = Spline2d()
    robust: SkyClip = SkyClip()
    smooth_s: float = Field(default=150.0, ge=0, description="s, length of the running mean in time; 0: pair by pair")


class PsfBounds(Section):
    """Limits of the shape fitted to the mean frame, and of a pair's shift against it."""

    min_width_px: float = Field(default=0.3, gt=0, description="smallest sigma (gaussian) or gamma (moffat)")
    max_width_px: float = Field(default=6.0, gt=0, description="largest sigma (gaussian) or gamma (moffat)")
    min_beta: float = Field(default=1.05, gt=1, description="smallest exponent of the Moffat function")
    max_beta: float = Field(default=20.0, gt=1, description="largest exponent of the Moffat function")
    max_shift_px: float = Field(default=2.0, gt=0, description="largest shift of a pair against the mean frame")

    @model_validator(mode="after")
    def _ordered(self) -> PsfBounds:
        in_order(self, "min_width_px", "max_width_px")
        in_order(self, "min_beta", "max_beta")
        return self


class PsfInit(Section):
    """Where the fit of the shape starts."""

    width_px: float = Field(default=1.2, gt=0, description="sigma (gaussian) or gamma (moffat)")
    beta: float = Field(default=2.5, gt=1, description="exponent of the Moffat function")


class Psf(Section):
    """The point-spread function, with method=psf."""

    mode: Literal["fit", "matched_filter"] = Field(
        default="fit", description="`fit`: flux and position in each pair; `matched_filter`: position fixed in the mean frame"
    )
    model: Literal["gaussian", "moffat", "empirical"] = Field(
        default="empirical", description="`empirical`: the mean frame; or a Gaussian or Moffat function integrated over pixels"
    )
    kernel_path: str | None = Field(
        default=None,
        description="image of the PSF (an array file, FILE::NAME) at detector sampling, centred in its array, with model=empirical",
    )
    fit_window: int = Field(default=6, ge=2, description="px to each side of the star")
    bounds: PsfBounds = PsfBounds()
    init: PsfInit = PsfInit()

    @model_validator(mode="after")
    def _kernel_needs_empirical(self) -> Psf:
        if self.kernel_path is not None and self.model != "empirical":
            raise ValueError(
                f"psf.kernel_path is an image and goes with psf.model=empirical, but the model is {self.model}: change it, or leave "
                "kernel_path out"
            )
        return self


class Window(Section):
    """Rows of the extraction."""

    half_height_px: int = Field(default=8, ge=2, description="rows to each side of the trace")


class TraceLine(Section):
    """How the centre of each column is measured in the mean frame, and what is fitted through the centres."""

    measure: Literal["moment", "gaussian"] = Field(default="gaussian", description="centre of a column: Gaussian fit or moment")
    degree: int = Field(default=2, ge=0, le=6, description="degree of `centerline_poly`")
    knots: int = Field(default=4, ge=1, le=20, description="inner knots of `centerline_spline`")


class Profile(Section):
    """The spectrum's profile across the trace."""

    model: Literal["empirical", "gaussian"] = Field(
        default="empirical", description="`empirical`: polynomials along the columns, row by row; `gaussian`: about the trace"
    )
    degree: int = Field(default=5, ge=0, le=12, description="degree of the profile's polynomial along the columns")
    refit: bool = Field(default=False, description="reject pixels of the mean frame off the profile and fit again")
    variance_weighted: bool = Field(default=True, description="false: all pixels of a column alike")


class PixelClip(Section):
    """Horne's rejection of pixels in each pair."""

    sigma_clip: float | None = Field(
        default=None, gt=0, description="reject pixels off the profile in each pair (Horne's step 7); null: none"
    )
    max_iters: int = Field(default=4, ge=1, description="largest number of pixels rejected in a column of a pair")
    jitter_px: float = Field(default=0.3, ge=0, description="motion of the star that is not taken for a hit")


class Optimal(Section):
    """Horne's optimal extraction, with method=optimal."""

    trace_model: Literal["fixed_row", "centerline_poly", "centerline_spline"] = Field(
        default="fixed_row", description="`fixed_row`: one row; `centerline_poly`, `centerline_spline`: through the centres of the columns"
    )
    trace: TraceLine = TraceLine()
    window: Window = Window()
    profile: Profile = Profile()
    robust: PixelClip = PixelClip()

    @property
    def straight(self) -> bool:
        """Whether the spectrum is taken to lie along one row."""
        return self.trace_model == "fixed_row"


class NoiseModel(Section):
    """What enters the variances and the noise budget.

    `flat_error` enters no variance: a constant error becomes noise only as the star moves over it.
    """

    flat_error: float | None = Field(
        default=None, ge=0, description="relative 1-sigma error of the flat of one pixel, for the noise budget alone; null: not known"
    )
    read_noise: float | None = Field(default=None, gt=0, description="e- of one read; null: the dataset's read map")
    include_shot_noise: bool = Field(default=True, description="photons of star, background and dark in the variance")
    include_background_var: bool = Field(default=True, description="the background's photons and the error of its estimate")


class OutlierReplace(Section):
    """Single samples of a light curve off both neighbours."""

    enabled: bool = Field(default=True, description="repair single outlying samples")
    threshold_sigma: float = Field(default=8.0, gt=0, description="limit for a single pair off both neighbours to the same side")


class Save(Section):
    """Which variables the stored product keeps."""

    flux: bool = Field(default=True, description="keep photometry")
    variance: bool = Field(default=True, description="keep photometry_var and photometry_var_rnoise")
    background: bool = Field(default=True, description="keep background")
    centroids: bool = Field(default=True, description="keep x_position and y_position")


class PhotometryOutput(Section):
    """Units and variables of the product."""

    flux_units: Literal["e", "e_per_s", "ADU"] = Field(
        default="e",
        description="units of photometry, its variances and background; `e`, `ADU`: per pair; `e_per_s`: of the time between the reads",
    )
    save: Save = Save()


class FlagThresholds(Section):
    """Thresholds beyond which samples are flagged; null: no check. Nothing is changed but the flags."""

    saturation: bool = Field(default=True, description="SATURATED of pairs with a saturated pixel in use")
    excessive_bkg: float | None = Field(default=None, gt=0, description="OUTLIER: sigma of a pair's background above its median")
    off_center: float | None = Field(default=None, gt=0, description="OUTLIER: px off the visit's median position")
    too_many_replaced: float | None = Field(default=None, ge=0, description="DO_NOT_USE: share of a channel's light in estimated pixels")
    low_snr: float | None = Field(default=None, gt=0, description="DO_NOT_USE: median signal-to-noise of a channel's pairs")


class PhotometryQuality(SeriesQualityChecks):
    """Bounds of the light curves."""

    max_outlier_fraction: float = Field(default=0.01, ge=0, le=1, description="largest share of samples that were repaired")
    max_saturated_fraction: float = Field(default=0.01, ge=0, le=1, description="largest share of samples that are saturated")
    max_drift_px: float = Field(default=2.0, gt=0, description="largest drift of the star, from the visit's first tenth to its last")


class PhotometryConfig(SeriesStageConfig):
    """Flux of each pair, and of each wavelength for a spectrograph."""

    io: _Io = Field(default={}, validate_default=True)
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
